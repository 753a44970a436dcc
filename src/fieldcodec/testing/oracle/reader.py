"""Fields of a section: bytes, varints, blobs, streams, packed arrays."""

import zlib
from typing import final

import blosc
import numpy as np

from fieldcodec.errors import FormatError

CHUNK = 1 << 26


@final
class Reader:
    """Takes the bytes of a section apart from front to back."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def take(self, count: int) -> bytes:
        if count > len(self._rest):
            raise FormatError(f"{count} bytes are needed, {len(self._rest)} are left")
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value, shift, digit = 0, 0, 0x80
        while digit & 0x80:
            if shift == 63:
                raise FormatError("a varint has more than nine digits")
            digit = self.byte()
            value |= (digit & 0x7F) << shift
            shift += 7
        if digit == 0 and shift > 7:
            raise FormatError("a varint is not in its shortest form")
        return value

    def blob(self) -> bytes:
        return self.take(self.varint())

    def streams(self, count: int) -> list[bytes]:
        lengths = [self.varint() for _ in range(count)]
        return [self.take(length) for length in lengths]

    def end(self) -> None:
        if self._rest:
            raise FormatError(f"{len(self._rest)} bytes are left over")

    def packed_array(self, dtype: np.dtype | str, count: int) -> np.ndarray:
        """[count] numbers; the rest of the section must hold nothing else."""
        kind = np.dtype(dtype).newbyteorder("<")
        missing, data = count * kind.itemsize, b""
        while missing:
            size = min(missing, CHUNK)
            method = self.byte()
            data += _unpack(method, self.blob(), size)
            missing -= size
        self.end()
        if kind.kind == "b" and any(value > 1 for value in data):
            raise FormatError("a bool is neither 0 nor 1")
        return np.frombuffer(data, kind).copy()


def _unpack(method: int, packed: bytes, size: int) -> bytes:
    try:
        chunk = {0: bytes, 1: zlib.decompress, 2: blosc.decompress}[method](packed)
    except Exception as error:  # an unknown method, or what the two libraries raise
        raise FormatError(f"a chunk of method {method} is damaged: {error}") from error
    if len(chunk) != size:
        raise FormatError(f"a chunk has {len(chunk)} bytes, {size} are needed")
    return bytes(chunk)
