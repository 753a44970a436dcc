"""Which grids belong together, and when they are decoded."""

from dataclasses import replace

import pytest

from fieldcodec.errors import UnsupportedGridError, UsageError
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.testing.samples import dense
from fieldcodec.view.source import Frame, GridEntry, Source


def _named(*names: str) -> list[SparseGrid]:
    return [replace(dense("float", seed=number), name=name) for number, name in enumerate(names)]


def _frame(grids: list[SparseGrid], originals: VolumeFile | None = None) -> Frame:
    return Frame(tuple(GridEntry(grid.name, "float", "unknown") for grid in grids), lambda row: grids[row], originals)


def test_partners_by_name_then_order_then_place() -> None:
    first, second, third = _named("a", "a", "new")
    points = OpaqueGrid("a", "Tree_ptdataidx32_5_4_3", b"", 224)
    frame = _frame([second, first, third], VolumeFile((first, points, replace(third, name="old"), second)))
    assert frame.open(0).original is first  # equal names in file order
    assert frame.open(1).original is second
    assert frame.open(2).original is not None
    assert frame.open(2).original.name == "old"  # what is left at the same place


def test_grids_without_partner() -> None:
    frame = _frame(_named("a", "b"), VolumeFile((replace(dense("vec3s"), name="a"),)))
    assert frame.open(0).original is None  # its values cannot be compared
    assert not frame.has_original(1)
    assert frame.open(1).original is None


def test_the_last_frame_and_pair_are_kept() -> None:
    asked: list[object] = []

    def open_frame(place: int) -> Frame:
        asked.append(f"frame {place}")
        grids = _named("a", "b")

        def load(row: int) -> SparseGrid:
            asked.append((place, row))
            return grids[row]

        return replace(_frame(grids), load=load)

    source = Source(("1", "2"), open_frame, has_originals=False)
    assert source.pair(0, 0) is source.pair(0, 0)
    assert source.frame(0) is source.frame(0)
    source.pair(0, 1)
    source.pair(0, 0)
    assert source.pair(1, 0) is source.pair(1, 0)
    source.pair(0, 0)
    assert asked == ["frame 0", (0, 0), (0, 1), (0, 0), "frame 1", (1, 0), "frame 0", (0, 0)]
    with pytest.raises(UsageError, match="no frame at 2"):
        source.frame(2)


def test_what_cannot_be_shown() -> None:
    frame = Frame((GridEntry("p", "points", "unknown", is_carried=True),), lambda row: pytest.fail("asked"))
    assert frame.first == -1
    with pytest.raises(UnsupportedGridError, match="carried"):
        frame.open(0)
    with pytest.raises(UsageError, match="no grid number 1"):
        frame.open(1)


def test_numbers_are_shown_first() -> None:
    kinds = [("mask", 900), ("vec3s", 500), ("float", 20), ("float", 30)]
    entries = tuple(GridEntry("", kind, "unknown", active) for kind, active in kinds)
    assert Frame(entries, lambda row: pytest.fail("asked")).first == 3
    assert Frame(entries[:2], lambda row: pytest.fail("asked")).first == 1
