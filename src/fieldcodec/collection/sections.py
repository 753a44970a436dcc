"""What a `.fcodec` file holds of a collection, section by section (docs/format.md). No torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.integers import decode_integers, encode_integers
from fieldcodec.coding.weights import MAX_WEIGHT, decode_weights, encode_weights
from fieldcodec.container.format import SectionId
from fieldcodec.errors import FormatError, UsageError

# name in reports -> section
SECTIONS: dict[str, SectionId] = {
    "networks": SectionId.RECURSIVE_NETWORKS,
    "latents": SectionId.LATENTS,
    "latent details": SectionId.LATENT_DETAILS,
    "tree corrections": SectionId.TREE_CORRECTIONS,
}
MAX_LATENT_NUMBERS = 1 << 26
MAX_FLIPS = 1 << 24  # of one object
_FREE_NUMBERS = 1 << 20  # may come from any number of bytes; of more, there are at most
_NUMBERS_OF_A_BYTE = 256

Flips = tuple[np.ndarray, ...]
"""Of each level from 1 on: [n] int64, rising places among all children of the level above, where the octree differs
from what the networks say."""


def encode_networks(tensors: Sequence[np.ndarray], steps: np.ndarray) -> bytes:
    """Steps of the tensors as float32, then their entropy-coded integers.

    Raises:
        UsageError: the weights are so much alike that a reader would take the bytes for a forged file.
    """
    data = steps.astype("<f4").tobytes() + encode_weights(tensors)
    if not _is_plausible(sum(tensor.size for tensor in tensors), data):
        raise UsageError(f"almost all weights are equal: they take {len(data)} bytes; train with smaller networks")
    return data


def decode_networks(data: bytes, shapes: Sequence[tuple[int, ...]]) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """The inverse of `encode_networks`.

    Raises:
        FormatError: the bytes are damaged or of other shapes.
    """
    size = 4 * len(shapes)
    if len(data) < size:
        raise FormatError(f"the networks' section has {len(data)} bytes, the steps alone need {size}")
    _check_plausible(sum(math.prod(shape) for shape in shapes), data, "networks")
    return tuple(decode_weights(data[size:], shapes)), np.frombuffer(data[:size], "<f4").astype(np.float32)


def encode_latents(latents: np.ndarray, step: int) -> bytes:
    """[objects, D] integers, and their step in units of the fixed point."""
    writer = ByteWriter()
    writer.varint(step)
    writer.blob(encode_integers(latents))
    return writer.getvalue()


def decode_latents(data: bytes, objects: int, size: int, most_step: int, limit: int) -> tuple[np.ndarray, int]:
    """The inverse of `encode_latents`.

    Args:
        most_step: largest step that is allowed.
        limit: largest magnitude of a product of integer and step.

    Raises:
        FormatError: the bytes are damaged, or a number is beyond its limit.
    """
    reader = ByteReader(data, "latents")
    if objects * size > MAX_LATENT_NUMBERS:
        raise reader.error(f"{objects} latents of {size} numbers are more than {MAX_LATENT_NUMBERS}")
    step = reader.varint(most_step)
    if step == 0:
        raise reader.error("the step is 0")
    _check_plausible(objects * size, data, reader.what)
    coded = reader.blob()
    reader.end()
    latents = decode_integers(coded, objects * size, reader.what)
    largest = int(np.abs(latents).max(initial=0))
    if largest > min(MAX_WEIGHT, limit // step):
        raise reader.error(f"a number is {largest} steps, at most {min(MAX_WEIGHT, limit // step)} are allowed")
    return latents.astype(np.int32).reshape(objects, size), step


@final
@dataclass(frozen=True, eq=False)
class Details:
    """What is added to the latents that phi gives the cells of one level of an object.

    `numbers` [cells, D] int32 in steps, `step` in units of the fixed point.
    """

    level: int
    step: int
    numbers: np.ndarray


def encode_details(details: Sequence[Details | None]) -> bytes:
    """One stream for each object; no bytes at all where no object has details."""
    if not any(details):
        return b""
    writer = ByteWriter()
    writer.streams([b"" if each is None else encode_latents(each.numbers, each.step) for each in details])
    return writer.getvalue()


def decode_details(data: bytes, sizes: Sequence[tuple[int, int] | None], latent: int) -> list["StoredDetails | None"]:
    """The inverse of `encode_details`.

    Args:
        sizes: of each object level and number of cells, where it has details.
        latent: D.

    Raises:
        FormatError: the bytes are damaged.
    """
    reader = ByteReader(data, "latent details")
    streams = reader.streams(len(sizes)) if data else [b""] * len(sizes)
    reader.end()
    found: list[StoredDetails | None] = []
    for stream, size in zip(streams, sizes, strict=True):
        if (size is None) != (not stream):
            raise reader.error("an object has details that its description does not know, or the other way round")
        found.append(None if size is None else StoredDetails(stream, *size, latent))
    return found


@final
@dataclass(frozen=True)
class StoredDetails:
    """The details of one object, decoded when asked for."""

    data: bytes
    level: int
    cells: int
    latent: int

    def decode(self, most_step: int, limit: int) -> Details:
        """Arguments and errors as of `decode_latents`."""
        numbers, step = decode_latents(self.data, self.cells, self.latent, most_step, limit)
        return Details(self.level, step, numbers)


def encode_corrections(corrections: Sequence[Flips]) -> bytes:
    """One stream for each object; no bytes at all where no object has corrections."""
    if not any(len(places) for flips in corrections for places in flips):
        return b""
    writer = ByteWriter()
    writer.streams([_encode_flips(flips) for flips in corrections])
    return writer.getvalue()


def decode_corrections(data: bytes, cells: Sequence[Sequence[int]]) -> list["StoredFlips"]:
    """The inverse of `encode_corrections`; cells: of each object, those of each level from 1 on.

    Raises:
        FormatError: the bytes are damaged.
    """
    if not data:
        return [StoredFlips(b"", counts) for counts in cells]
    reader = ByteReader(data, "tree corrections")
    streams = reader.streams(len(cells))
    reader.end()
    return [StoredFlips(stream, counts) for stream, counts in zip(streams, cells, strict=True)]


class StoredFlips:
    """The corrections of one object, decoded when asked for."""

    def __init__(self, data: bytes, cells: Sequence[int]) -> None:
        self._data, self._cells = data, cells

    @property
    def num_bytes(self) -> int:
        return len(self._data)

    def decode(self) -> Flips:
        """Raises FormatError where the bytes are damaged."""
        if not self._data:
            return tuple(np.zeros(0, np.int64) for _ in self._cells)
        reader = ByteReader(self._data, "tree corrections of an object")
        children = [8 * above for above in (1, *self._cells[:-1])]
        counts = [reader.varint(most) for most in children]
        if sum(counts) > MAX_FLIPS:
            raise reader.error(f"{sum(counts)} corrections of one object, at most {MAX_FLIPS} are allowed")
        _check_plausible(sum(counts), self._data, reader.what)
        coded = reader.blob()
        reader.end()
        gaps = decode_integers(coded, sum(counts), reader.what)
        flips, start = [], 0
        for count, most in zip(counts, children, strict=True):
            part = gaps[start : start + count]
            if count and (part.min() < 0 or int(part.max()) >= most or int(part.sum()) + count > most):
                raise reader.error(f"a place is not among {most} children")
            flips.append(np.cumsum(part + 1) - 1)
            start += count
        return tuple(flips)


def _is_plausible(numbers: int, data: bytes) -> bool:
    return numbers <= _FREE_NUMBERS + _NUMBERS_OF_A_BYTE * len(data)


def _check_plausible(numbers: int, data: bytes, what: str) -> None:
    """So that no small file asks for much memory."""
    if not _is_plausible(numbers, data):
        raise FormatError(
            f"{what}: {numbers} numbers in {len(data)} bytes are more than {_NUMBERS_OF_A_BYTE} a byte; the file is "
            "damaged, get it again from its source"
        )


def _encode_flips(flips: Flips) -> bytes:
    """How many there are in each level, then how many children lie between one and the next."""
    if not any(len(places) for places in flips):
        return b""
    writer = ByteWriter()
    for places in flips:
        writer.varint(len(places))
    writer.blob(encode_integers(np.concatenate([np.diff(places, prepend=-1) - 1 for places in flips])))
    return writer.getvalue()
