"""Lossless bytes of an array: the smallest of raw, zlib and Blosc.

The bytes are cut into chunks; each chunk is stored by the method that makes it smallest. All sizes
are known before anything is decompressed, because shape and type of the array are.
"""

import math
import zlib
from enum import IntEnum

import blosc
import numpy as np

from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.errors import FormatError

CHUNK_BYTES = 1 << 26
_ZLIB_LIMIT = 1 << 22  # zlib is tried on chunks up to this size; it is slow and wins on small ones only
_WHAT = "packed array"


class Method(IntEnum):
    """How one chunk is stored; append only."""

    RAW = 0
    ZLIB = 1
    BLOSC = 2  # a Blosc 1 buffer: bytes of items shuffled together, then zstd


def pack_array(array: np.ndarray) -> bytes:
    """Bytes of any array of numbers or bools, in C order and little endian; its shape and type are not stored."""
    dtype = array.dtype.newbyteorder("<")
    if dtype.hasobject:
        raise ValueError(f"arrays of {array.dtype} cannot be packed")
    data = np.ascontiguousarray(array, dtype).tobytes()
    writer = ByteWriter()
    for start in range(0, len(data), CHUNK_BYTES):
        chunk = data[start : start + CHUNK_BYTES]
        method, packed = min(_candidates(chunk, dtype.itemsize), key=lambda item: len(item[1]))
        writer.byte(method)
        writer.blob(packed)
    return writer.getvalue()


def unpack_array(data: bytes, dtype: np.dtype | str, shape: tuple[int, ...]) -> np.ndarray:
    """The array that `pack_array` was given; writable.

    Raises:
        FormatError: the bytes are damaged or of another size.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    reader = ByteReader(data, _WHAT)
    chunks = []
    for start in range(0, size, CHUNK_BYTES):
        length = min(CHUNK_BYTES, size - start)
        method = reader.byte()
        chunks.append(_unpacked(reader, method, reader.blob(), length))
    reader.end()
    array = np.frombuffer(bytearray().join(chunks), np.uint8) if size else np.zeros(0, np.uint8)
    if dtype.kind == "b" and size and array.max() > 1:
        raise FormatError(f"{_WHAT}: a bool is neither 0 nor 1; the file is damaged, get it again from its source")
    return array.view(dtype.newbyteorder("<")).reshape(shape)


def _candidates(chunk: bytes, item_size: int) -> list[tuple[Method, bytes]]:
    candidates = [(Method.RAW, chunk)]
    if len(chunk) <= _ZLIB_LIMIT:
        candidates.append((Method.ZLIB, zlib.compress(chunk, 9)))
    if len(chunk) >= 64:
        packed = blosc.compress(chunk, typesize=min(item_size, 255), clevel=9, shuffle=blosc.SHUFFLE, cname="zstd")
        candidates.append((Method.BLOSC, packed))
    return candidates


def _unpacked(reader: ByteReader, method: int, packed: bytes, length: int) -> bytes:
    """One chunk; its size is checked before anything is decompressed."""
    if method == Method.RAW:
        chunk = packed
    elif method == Method.ZLIB:
        stream = zlib.decompressobj()
        try:
            chunk = stream.decompress(packed, length + 1)
        except zlib.error as error:
            raise reader.error(f"zlib says {error}") from error
        if not stream.eof or stream.unused_data:
            raise reader.error("a zlib chunk does not end where its bytes end")
    elif method == Method.BLOSC:
        chunk = _unpacked_blosc(reader, packed, length)
    else:
        raise reader.error(f"method {method} is unknown")
    if len(chunk) != length:
        raise reader.error(f"a chunk has {len(chunk)} bytes where {length} are needed")
    return chunk


def _unpacked_blosc(reader: ByteReader, packed: bytes, length: int) -> bytes:
    # The header's sizes are compared with the expected ones first: the library trusts them.
    if len(packed) < 16 or packed[0] != 2:
        raise reader.error("a chunk is not a Blosc 1 buffer")
    size, block, stored = (int.from_bytes(packed[i : i + 4], "little") for i in (4, 8, 12))
    if size != length or stored != len(packed) or not 0 < block <= max(size, 1):
        raise reader.error(f"a Blosc header announces {size} bytes in {stored}, {length} in {len(packed)} are needed")
    try:
        chunk: bytes = blosc.decompress(packed)
    except Exception as error:  # the library raises its own untyped errors
        raise reader.error(f"Blosc says {error}") from error
    return chunk
