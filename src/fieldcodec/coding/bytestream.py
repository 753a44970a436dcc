"""Reading and writing the small headers of coded sections: bytes, variable-length integers, blobs.

A varint is an unsigned integer in base 128, lowest digit first; the high bit of a byte says that
another one follows. The shortest form is the only one allowed. A blob is a varint and that many bytes.
"""

from collections.abc import Sequence
from typing import final

from fieldcodec.errors import FormatError

VARINT_LIMIT = (1 << 63) - 1


@final
class ByteWriter:
    """Collects bytes."""

    def __init__(self) -> None:
        self._data = bytearray()

    def byte(self, value: int) -> None:
        self._data.append(value)

    def varint(self, value: int) -> None:
        """An integer in 0..2^63-1."""
        if not 0 <= value <= VARINT_LIMIT:
            raise ValueError(f"a varint holds 0..2^63-1, not {value}")
        while value >= 0x80:
            self._data.append(value & 0x7F | 0x80)
            value >>= 7
        self._data.append(value)

    def raw(self, data: bytes) -> None:
        self._data += data

    def blob(self, data: bytes) -> None:
        """A varint with the length, then the bytes."""
        self.varint(len(data))
        self._data += data

    def streams(self, streams: Sequence[bytes]) -> None:
        """The length of every stream as a varint, then the streams."""
        for stream in streams:
            self.varint(len(stream))
        for stream in streams:
            self.raw(stream)

    def getvalue(self) -> bytes:
        return bytes(self._data)


@final
class ByteReader:
    """Takes bytes apart again; every way of running out or over is a FormatError naming `what`."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._position = 0
        self.what = what

    def error(self, problem: str) -> FormatError:
        """A FormatError saying where in `what` it went wrong."""
        return FormatError(
            f"{self.what}: {problem} (at byte {self._position} of {len(self._data)}); "
            "the file is damaged, get it again from its source"
        )

    def byte(self) -> int:
        return self.raw(1)[0]

    def varint(self, limit: int = VARINT_LIMIT) -> int:
        """A varint of at most `limit`."""
        value, shift = 0, 0
        while True:
            digit = self.byte()
            value |= (digit & 0x7F) << shift
            if digit < 0x80:
                break
            shift += 7
            if shift > 56:
                raise self.error("an integer is longer than nine bytes")
        if shift and digit == 0:
            raise self.error("an integer is not in its shortest form")
        if value > limit:
            raise self.error(f"found {value} where at most {limit} is allowed")
        return value

    def raw(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > len(self._data) - self._position:
            raise self.error(f"{count} bytes are announced, {len(self._data) - self._position} are there")
        self._position += count
        return self._data[self._position - count : self._position]

    def blob(self) -> bytes:
        return self.raw(self.varint())

    def streams(self, count: int) -> list[bytes]:
        """What `ByteWriter.streams` wrote of `count` streams."""
        return [self.raw(length) for length in [self.varint() for _ in range(count)]]

    def end(self) -> None:
        """Nothing may be left over."""
        if self._position != len(self._data):
            raise self.error(f"{len(self._data) - self._position} bytes are left over")
