"""The codec against the oracle: levels that a file keeps beside its grids."""

from pathlib import Path
from typing import Any

import pytest

import fieldcodec as fc
from fieldcodec.container.container import Container, Section
from fieldcodec.container.format import SectionId
from fieldcodec.errors import FormatError
from fieldcodec.grid.coarsen import coarsened
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.testing.forged import replaced
from fieldcodec.testing.modules import load_module
from fieldcodec.testing.oracle.levels import decode_levels
from fieldcodec.testing.oracle.volume import decode_volume
from fieldcodec.volume.quality import Quality

levels = load_module(Path(__file__).with_name("oracle_levels.py"))


@pytest.mark.parametrize(
    ("level", "quality", "stored"), [(1, Quality(psnr=34.0), [0, 1]), (2, Quality(lossless=True), [0, 1, 2])]
)
def test_stored_levels(level: int, quality: Quality, stored: list[int]) -> None:
    data = levels.encoded(level, quality)
    compressed, theirs = fc.CompressedVolume.from_bytes(data), decode_levels(data)
    assert list(theirs) == stored  # the ball is held by a lattice alone, unless it is lossless
    for number, other in theirs.items():
        mine = compressed.to_grids([number], level=level, device="cpu")[0]
        assert isinstance(mine, SparseGrid)
        assert mine.topology.equals(other.topology)
        for name in ("name", "value_type", "transform", "metadata", "save_as_half"):
            assert getattr(mine, name) == getattr(other, name)
        for values in ("leaf_values", "lower_tile_values", "upper_tile_values", "root_tile_values", "background"):
            assert getattr(mine, values).tobytes() == getattr(other, values).tobytes()
        original = coarsened(levels.several()[number], level)
        assert other.topology.equals(original.topology)
        if quality.lossless:
            active = original.topology.leaf_active_bits
            assert other.leaf_values[active].tobytes() == original.leaf_values[active].tobytes()


def _forged(data: bytes, changes: dict[tuple[Any, ...], Any], more: list[Section]) -> bytes:
    opened = Container.from_bytes(data)
    meta = opened.meta()
    for place, value in changes.items():
        meta = replaced(meta, place, value)
    taken = {(section.id, section.grid) for section in more}
    rest = [Section(key.id, opened.read(*key), key.grid) for key in opened if key.id != SectionId.META]
    return Container([Section.meta(meta), *(s for s in rest if (s.id, s.grid) not in taken), *more]).to_bytes()


def test_forged_levels_are_refused() -> None:
    data = levels.encoded()
    inner = Container.from_bytes(data).read(SectionId.STORED_LEVEL, 0)
    nested = _forged(inner, {}, [Section(SectionId.STORED_LEVEL, inner, 0)])
    said, refers = (_forged(inner, {("grids", 0, key): 1}, []) for key in ("stored_level", "reference"))
    for number, level in enumerate((nested, said, refers, inner[:-1], b"", _forged(inner, {("grids",): []}, []), data)):
        forged = _forged(data, {}, [Section(SectionId.STORED_LEVEL, level, 0)])
        assert number or len(decode_volume(forged)) == 3  # which takes seconds
        with pytest.raises(FormatError):
            decode_levels(forged)
        with pytest.raises(FormatError):
            fc.CompressedVolume.from_bytes(forged).to_grids([0], level=1)
    for value in (5, -1, True, "1"):
        with pytest.raises(FormatError):
            decode_levels(_forged(data, {("grids", 0, "stored_level"): value}, []))
