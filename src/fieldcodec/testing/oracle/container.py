"""The container: preamble, table, checksummed sections."""

import struct
import zlib

import xxhash

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.meta_words import WORDS

WHOLE_FILE = 0xFFFFFFFF
KNOWN_IDS = range(1, 30)
MAX_META = 1 << 24


def read_sections(data: bytes) -> dict[tuple[int, int], bytes]:
    """(grid, id) -> bytes of every section of a file that this reader knows, checked."""
    if len(data) < 32 or data[:8] != bytes.fromhex("89 46 43 44 0D 0A 1A 0A"):
        raise FormatError("no .fcodec file")
    major, _minor, count, length, checksum = struct.unpack("<HHIQQ", data[8:32])
    if major != 1 or count > 65536 or length != len(data) or 32 + 32 * count > length:
        raise FormatError("the preamble is wrong")
    table = data[32 : 32 + 32 * count]
    if xxhash.xxh3_64_intdigest(data[:24] + bytes(8) + table) != checksum:
        raise FormatError("the checksum of the table is wrong")
    sections: dict[tuple[int, int], bytes] = {}
    position, last = 32 + 32 * count, (-2, 0)
    for entry in range(count):
        id, flags, grid, offset, size, checksum = struct.unpack_from("<HHIQQQ", table, 32 * entry)
        order = (-1 if grid == WHOLE_FILE else grid, id)
        if order <= last or id == 0 or offset != position or offset + size > length:
            raise FormatError(f"entry {entry} of the table is wrong")
        if flags & 1 and id not in KNOWN_IDS:
            raise FormatError(f"section {id} must be understood")
        content = data[offset : offset + size]
        if xxhash.xxh3_64_intdigest(content) != checksum:
            raise FormatError(f"the checksum of section {id} is wrong")
        if id in KNOWN_IDS:
            sections[grid, id] = content
        position, last = offset + size, order
    if position != length:
        raise FormatError("bytes behind the last section")
    return sections


def meta_json(section: bytes) -> bytes:
    """The JSON of the section META, which may be packed."""
    if len(section) > MAX_META:
        raise FormatError("META is too large")
    if section[:1] == b"{":
        return section
    if section[:1] != b"\0":
        raise FormatError("META is neither plain nor packed")
    stream = zlib.decompressobj(-15, WORDS)
    try:
        data = stream.decompress(section[1:], MAX_META + 1)
    except zlib.error as error:
        raise FormatError(f"META is damaged: {error}") from error
    if not stream.eof or stream.unused_data or len(data) > MAX_META:
        raise FormatError("META is cut, too large, or followed by other bytes")
    return data
