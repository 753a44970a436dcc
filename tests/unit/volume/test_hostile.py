"""Damaged and crafted files: a named error, never another exception, a hang or a huge allocation."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.container.container import Container, Section
from fieldcodec.container.format import SectionId
from fieldcodec.errors import FormatError
from fieldcodec.grid.sparse_grid import OpaqueGrid, VolumeFile
from fieldcodec.testing.forged import MISSING, places_of, replaced
from fieldcodec.testing.samples import dense, sphere

TINY = fc.VolumeSettings(
    tree="neural", epochs=2, level1_width=8, level0_width=8, value_width=8, fourier_size=4, batch_size=64,
    level1_depth=1, level0_depth=1, value_depth=1, target_rmse=0.0, method="network",
)  # fmt: skip


@pytest.fixture(scope="module")
def plain_file() -> bytes:
    """A file of a few hundred bytes: two small grids and some opaque bytes."""
    volumes = VolumeFile((dense("int32", side=4), dense("bool", side=4), OpaqueGrid("p", "Tree_x", b"abc" * 5, 224)))
    return fc.encode_volume(volumes, TINY, device="cpu").to_bytes()


@pytest.fixture(scope="module")
def neural_file() -> bytes:
    """A file with classifiers and regressor."""
    return fc.encode_volume(replace(sphere(), name="s"), TINY, device="cpu").to_bytes()


def _decode(data: bytes) -> VolumeFile:
    return fc.CompressedVolume.from_bytes(data).to_grids(device="cpu")


def test_every_flipped_byte_is_noticed(plain_file: bytes) -> None:
    _decode(plain_file)
    for position in range(len(plain_file)):
        damaged = bytearray(plain_file)
        damaged[position] ^= 0x41
        with pytest.raises(FormatError):
            _decode(bytes(damaged))


def test_every_prefix_is_noticed(plain_file: bytes) -> None:
    for length in range(len(plain_file)):
        with pytest.raises(FormatError):
            _decode(plain_file[:length])
    with pytest.raises(FormatError):
        _decode(plain_file + b"\0")


HOSTILE = [None, True, -1, 0, 3, 2**31, 2**63, 10**30, 0.5, 1e308, "", "AAAA", "float", [], [1], [[]], {}, {"a": 1}]


def _with_meta(data: bytes, meta: Any) -> bytes:
    """The same file with another description and right checksums: what a forger would write."""
    opened = Container.from_bytes(data)
    sections = [Section.meta(meta)]
    sections += [Section(key.id, opened.read(*key), key.grid) for key in opened if key.id != SectionId.META]
    return Container(sections).to_bytes()


@pytest.mark.parametrize("which", ["plain_file", "neural_file"])
def test_forged_descriptions_raise_nothing_but_format_errors(which: str, request: pytest.FixtureRequest) -> None:
    data = request.getfixturevalue(which)
    meta = Container.from_bytes(data).meta()
    paths = [path for path in places_of(meta, most_of_list=3) if path[:1] != ("settings",)]
    assert len(paths) > 30
    rng = np.random.default_rng(0)
    refused, wrong = 0, []
    for path in paths:
        picks = rng.choice(len(HOSTILE), 4, replace=False)
        for value in [*(HOSTILE[pick] for pick in picks), *([MISSING] if path else [])]:
            try:
                _decode(_with_meta(data, replaced(meta, path, value)))
            except FormatError:
                refused += 1
            except Exception as error:
                wrong.append(f"{'/'.join(map(str, path))} = {value!r} raised {error!r}"[:400])
    assert not wrong, "\n".join(wrong)
    assert refused > len(paths)


@pytest.mark.parametrize("which", ["plain_file", "neural_file"])
def test_forged_sections_raise_nothing_but_format_errors(which: str, request: pytest.FixtureRequest) -> None:
    data = request.getfixturevalue(which)
    opened = Container.from_bytes(data)
    rng = np.random.default_rng(1)
    for victim in opened:
        if victim.id == SectionId.META:
            continue
        content = opened.read(*victim)
        forged = [b"", content[: len(content) // 2], rng.bytes(len(content)), content + b"\0"]
        for flip in rng.integers(0, max(len(content), 1), 4):
            forged.append(content[:flip] + bytes([content[flip] ^ 0x10]) + content[flip + 1 :])
        for bad in forged:
            sections = [Section(key.id, bad if key == victim else opened.read(*key), key.grid) for key in opened]
            try:
                _decode(Container(sections).to_bytes())
            except FormatError:
                pass
            except Exception as error:
                raise AssertionError(f"section {victim} as {bad[:20]!r}... raised {error!r}") from error
