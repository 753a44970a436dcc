"""Damaged and crafted files of collections: a named error, never another exception, a hang or a huge allocation."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fieldcodec.collection.compressed import CompressedCollection
from fieldcodec.collection.sections import Details
from fieldcodec.container.container import Container, Section
from fieldcodec.container.format import SectionId
from fieldcodec.errors import FormatError
from fieldcodec.grid.octree import Octree
from fieldcodec.testing.collections import TINY, random_collection
from fieldcodec.testing.forged import MISSING, places_of, replaced
from fieldcodec.volume.compressed import CompressedVolume

HOSTILE = [None, True, -1, 0, 3, 2**31, 2**63, 10**400, 0.5, 1e308, "", "cup", "../x", [], [1], [[]], {}, {"a": 1}]


@pytest.fixture(scope="module")
def data() -> bytes:
    tree = Octree.of_cells(np.random.default_rng(1).integers(0, 8, (20, 3)), 3)
    details = Details(2, 900, np.random.default_rng(2).integers(-9, 10, (tree.num_cells[2], 6)).astype(np.int32))
    return random_collection(octrees=[tree, None, None], details=[details, None, None], settings={"lods": 3}).to_bytes()


def _decode(data: bytes) -> CompressedCollection:
    opened = CompressedCollection.from_bytes(data)
    for position in range(len(opened)):
        opened.unfold(position)
    opened.network()
    return opened


def test_every_flipped_byte_is_noticed(data: bytes) -> None:
    assert len(_decode(data)) == 3
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x41
        with pytest.raises(FormatError):
            _decode(bytes(damaged))


def test_every_prefix_is_noticed(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(FormatError):
            _decode(data[:length])
    with pytest.raises(FormatError):
        _decode(data + b"\0")


def _forged(data: bytes, id: int, content: bytes) -> bytes:
    """The same file with another section and right checksums: what a forger would write."""
    opened = Container.from_bytes(data)
    sections = [Section(key.id, content if key.id == id else opened.read(*key), key.grid) for key in opened]
    return Container(sections).to_bytes()


def test_forged_descriptions_raise_nothing_but_format_errors(data: bytes) -> None:
    meta = Container.from_bytes(data).meta()
    paths = [path for path in places_of(meta) if path[:1] not in (("settings",), ("metadata",))]
    assert len(paths) > 45
    refused, wrong = 0, []
    for path in paths:
        for value in [*HOSTILE, *([MISSING] if path else [])]:
            try:
                _decode(_forged(data, SectionId.META, Section.meta(replaced(meta, path, value)).data))
            except FormatError:
                refused += 1
            except Exception as error:
                wrong.append(f"{'/'.join(map(str, path))} = {value!r} raised {error!r}"[:400])
    assert not wrong, "\n".join(wrong)
    assert refused > len(paths) * (len(HOSTILE) - 4)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("kind",), "volume", "a collection is needed"),
        (("network", "lods"), 10, "lods is 10"),
        (("network", "base_width"), 1 << 15, "base_width"),
        (("items", 1, "name"), "cup", "two objects"),
        (("items", 0, "name"), "a/b", "no file can be named"),
        (("items", 0, "scale"), 0, "not above 0"),
        (("items", 0, "centre"), [0, 0], "not three numbers"),
        (("items", 0, "cells"), [9, 64, 64], "9 cells of level 1, at most 8"),
        (("items", 0, "cells"), [8, 64], "needed is a number for each of 3 levels"),
        (("items", 0, "tree"), "0" * 15, "16 hexadecimal digits"),
        (("items", 0, "tree"), "0" * 16, "does not unfold to the octree"),
        (("items", 2, "cells"), [1, 0, 0], "unfolds to more than 1 cells of level 1"),
        (("items", 2, "cells"), [8, 64, 512], "does not unfold"),
        (("items",), [{}] * 65537, "more than 65536"),
        (("items", 0, "kind"), "radiance", "of kind 'radiance'; the networks are for coloured, distance"),
        (("items", 0, "kind"), ["distance"], "of kind"),
        (("network", "colour"), "rgb+radiance", "network weights"),
        (("network", "colour"), ["rgb"], "unknown fusion or colour"),
    ],
)
def test_messages_say_what_is_wrong(data: bytes, path: tuple[Any, ...], value: Any, problem: str) -> None:
    meta = Container.from_bytes(data).meta()
    with pytest.raises(FormatError, match=problem):
        _decode(_forged(data, SectionId.META, Section.meta(replaced(meta, path, value)).data))


def test_directions_upwards_that_are_none_are_refused() -> None:
    forms = {"spec": replace(TINY, colour="radiance"), "ups": [(0.0, 1.0, 0.0)] * 3}
    data = random_collection(**forms).to_bytes()
    meta = Container.from_bytes(data).meta()
    nothing = [[0, 0, 0], [1e-7, 0, 0], [1, 0], [1, 0, 0, 0], [1, 0, True], [1, 0, "0"]]
    for value in [*nothing, [1e31, 0, 0], *HOSTILE]:
        with pytest.raises(FormatError, match="direction upwards"):
            _decode(_forged(data, SectionId.META, Section.meta(replaced(meta, ("items", 1, "up"), value)).data))
    left_out = _forged(data, SectionId.META, Section.meta(replaced(meta, ("items", 1, "up"), MISSING)).data)
    assert [item.up for item in _decode(left_out).listing.items] == [(0, 1, 0), (0, 0, 1), (0, 1, 0)]


def test_forged_sections_raise_nothing_but_format_errors(data: bytes) -> None:
    opened = Container.from_bytes(data)
    rng = np.random.default_rng(1)
    noticed = 0
    for id in (
        SectionId.RECURSIVE_NETWORKS, SectionId.LATENTS, SectionId.TREE_CORRECTIONS, SectionId.LATENT_DETAILS,
    ):  # fmt: skip
        content = opened.read(id)
        forged = [b"", content[: len(content) // 2], rng.bytes(len(content)), content + b"\0"]
        for flip in rng.integers(0, len(content), 60):
            forged.append(content[:flip] + bytes([content[flip] ^ 0x10]) + content[flip + 1 :])
        for bad in forged:
            try:
                _decode(_forged(data, id, bad))
            except FormatError:
                noticed += 1
            except Exception as error:
                raise AssertionError(f"section {id.name} as {bad[:20]!r}... raised {error!r}") from error
    assert noticed > 100  # what changes colours or distances alone, only checksums notice


def test_missing_sections_are_named(data: bytes) -> None:
    opened = Container.from_bytes(data)
    for id, problem in ((SectionId.RECURSIVE_NETWORKS, "networks"), (SectionId.LATENTS, "latents")):
        sections = [Section(key.id, opened.read(*key), key.grid) for key in opened if key.id != id]
        with pytest.raises(FormatError, match=problem):
            _decode(Container(sections).to_bytes())


def test_files_of_other_kinds_are_named(data: bytes) -> None:
    with pytest.raises(FormatError, match="open_collection opens it"):
        CompressedVolume.from_bytes(data)
    with pytest.raises(FormatError, match="a collection is needed"):
        CompressedCollection.from_bytes(Container([Section.meta({"kind": "volume", "grids": []})]).to_bytes())
