"""Any tree of any value type comes back from a `.vdb` file bit for bit, under every compression setting."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.grid import masks
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.grid.topology import Topology
from fieldcodec.grid.transform import GridTransform
from fieldcodec.grid.value_type import VALUE_TYPES, ValueType
from fieldcodec.io.vdb import read_vdb, write_vdb


def _special(kind: ValueType, rng: np.random.Generator, count: int, background: np.ndarray) -> np.ndarray:
    """[count, C] values among which are the background, its negative and a few odd ones."""
    raw = rng.integers(0, 256, (count, kind.channels * kind.dtype.itemsize), dtype=np.uint8)
    if kind.is_bool:
        raw &= 1
    values = raw.view(kind.dtype).reshape(count, kind.channels).copy()
    few = values[: rng.integers(1, 4)]
    if kind.is_float:
        few = np.concatenate([few, np.array([0.0, -0.0, np.nan, np.inf], kind.dtype)[:, None].repeat(kind.channels, 1)])
    pool = np.concatenate([few, background[None], ~background[None] if kind.is_bool else np.negative(background)[None]])
    pool = pool[rng.permutation(len(pool))[: rng.integers(1, len(pool) + 1)]]
    chosen = rng.random(count) < 0.8
    values[chosen] = pool[rng.integers(0, len(pool), int(chosen.sum()))]
    return values


def _mask(rng: np.random.Generator, rows: int, slots: int, density: float) -> np.ndarray:
    return masks.pack(rng.random((rows, slots)) < density)


def _tree(rng: np.random.Generator, uppers: int, root_tiles: int) -> Topology:
    places = rng.permutation(27)[: uppers + root_tiles]
    origins = ((np.stack(np.unravel_index(places, (3, 3, 3)), -1) - 1) * 4096).astype(np.int32)
    upper_child = _mask(rng, uppers, masks.UPPER_SLOTS, 1e-4)
    lowers = masks.count(upper_child)
    lower_child = _mask(rng, lowers, masks.LOWER_SLOTS, 3e-4)
    leaves = masks.count(lower_child)
    return Topology(
        root_tile_origins=origins[uppers:],
        root_tile_active=rng.random(root_tiles) < 0.5,
        upper_origins=origins[:uppers],
        upper_child=upper_child,
        upper_active=_mask(rng, uppers, masks.UPPER_SLOTS, 0.01) & ~upper_child,
        lower_child=lower_child,
        lower_active=_mask(rng, lowers, masks.LOWER_SLOTS, 0.1) & ~lower_child,
        leaf_active=masks.pack(rng.random((leaves, 512)) < rng.random((leaves, 1)).round(1)),
    )


def _grid(seed: int, kind: ValueType, half: bool, uppers: int, root_tiles: int) -> SparseGrid:
    rng = np.random.default_rng(seed)
    topology = _tree(rng, uppers, root_tiles)
    background = _special(kind, rng, 1, np.zeros(kind.channels, kind.dtype))[0]

    def values(count: int, exact: bool = False) -> np.ndarray:
        found = _special(kind, rng, count, background)
        return found if exact or not half else _rounded(found)

    if half:
        background = _rounded(background)
    leaf_values = values(topology.num_leaves * 512).reshape(-1, 512, kind.channels)
    if kind.name == "mask":
        leaf_values = topology.leaf_active_bits[..., None]
    return SparseGrid(
        name=rng.choice(["", "density", "grün"]).item(),
        value_type=kind,
        topology=topology,
        leaf_values=leaf_values,
        lower_tile_values=values(topology.lower_child.size * 8 - masks.count(topology.lower_child)),
        upper_tile_values=values(topology.upper_child.size * 8 - masks.count(topology.upper_child)),
        root_tile_values=values(root_tiles, exact=True),
        background=background,
        transform=GridTransform.uniform(0.25, (1.0, 2.0, 3.0)),
        metadata=Metadata((MetaEntry("odd", "unknown type", rng.bytes(7)),)),
        save_as_half=half,
    )


def _rounded(values: np.ndarray) -> np.ndarray:
    """What storing as half makes of values; other types than floats stay as they are."""
    if values.dtype.kind != "f" or values.dtype == np.float16:
        return values
    with np.errstate(all="ignore"):
        return values.astype(np.float32).astype(np.float16).astype(values.dtype)


def _bits(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return array.shape, array.tobytes()


@pytest.mark.parametrize("compression", ["blosc", "zip", "none"])
@pytest.mark.parametrize("active_mask", [True, False])
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(sorted(VALUE_TYPES)),
    half=st.booleans(),
    uppers=st.integers(0, 2),
    root_tiles=st.integers(0, 3),
)
def test_a_written_grid_is_read_back_bit_for_bit(
    compression: str, active_mask: bool, seed: int, kind: str, half: bool, uppers: int, root_tiles: int
) -> None:
    grid = _grid(seed, VALUE_TYPES[kind], half, uppers, root_tiles)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grid.vdb"
        write_vdb(path, VolumeFile((grid,)), compression=compression, active_mask=active_mask)
        back = read_vdb(path)[0]
    assert isinstance(back, SparseGrid)
    assert back.topology.equals(grid.topology)
    for name in ("leaf_values", "lower_tile_values", "upper_tile_values", "root_tile_values", "background"):
        assert _bits(getattr(back, name)) == _bits(getattr(grid, name)), name
    assert (back.name, back.value_type, back.transform) == (grid.name, grid.value_type, grid.transform)
    assert back.save_as_half == grid.save_as_half
    assert back.metadata.get("odd") == grid.metadata.get("odd")
