"""The codec against the oracle: grids predicted from earlier frames, bit for bit."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fieldcodec.errors import FormatError
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.testing.oracle.sequence import decode_group, decode_sequence
from fieldcodec.volume.sequence.compressed import CompressedSequence


def _load(name: str) -> ModuleType:
    if name in sys.modules:  # with what other tests have encoded
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


sequences = _load("oracle_sequences")


def _assert_same(ours: VolumeFile, theirs: VolumeFile) -> None:
    assert [grid.name for grid in ours] == [grid.name for grid in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert isinstance(mine, SparseGrid)
        assert isinstance(other, SparseGrid)
        assert mine.topology.equals(other.topology)
        for values in ("leaf_values", "lower_tile_values", "upper_tile_values", "root_tile_values", "background"):
            assert getattr(mine, values).dtype == getattr(other, values).dtype
            assert getattr(mine, values).tobytes() == getattr(other, values).tobytes()


@pytest.mark.parametrize("name", ["surface", "surface_exact", "signs", "fog", "fog_half", "vectors", "integers_exact"])
def test_groups_of_predicted_grids(name: str) -> None:
    case, group = sequences.CASES[name], sequences.encoded(name)
    data = CompressedSequence.of_groups([group]).to_bytes()
    ours, theirs = CompressedSequence.from_bytes(data), decode_sequence(data)
    assert tuple(ours) == tuple(theirs) == sequences.NUMBERS[: case.frames]
    for frame, number in enumerate(ours):
        volume = ours.frame(number)
        values = volume.grids[0].meta["values"]
        assert (volume.grids[0].reference is not None, "motion" in values) == (frame > 0, frame > 0)
        if frame > 0:
            assert case.expected.items() <= values.items()
            assert {"motion", *case.sections} <= set(volume.grids[0].sections)
        _assert_same(volume.to_grids(device="cpu"), theirs[number])


def test_both_kinds_of_masks_are_there() -> None:
    """With margins of predicted values, and with hints of the earlier frame's states."""
    guided = [
        volume.grids[0].meta["values"]["guided"]
        for name in ("fog", "fog_half", "vectors")
        for volume in sequences.encoded(name).volumes[1:]
    ]
    assert set(guided) == {True, False}


def test_damage_is_refused() -> None:
    data = sequences.encoded("surface").to_bytes()
    for position in range(0, len(data), 97):
        damaged = bytearray(data)
        damaged[position] ^= 4
        with pytest.raises(FormatError):
            decode_group(bytes(damaged))
