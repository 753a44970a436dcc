"""Hypothesis strategies for grids; needs the package `hypothesis`."""

import numpy as np
from hypothesis import strategies as st

from fieldcodec.grid import masks
from fieldcodec.grid.build import topology_of_leaves
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.grid.value_type import VALUE_TYPES


@st.composite
def sparse_grids(draw: st.DrawFn, *, max_leaves: int = 4, finite: bool = True) -> SparseGrid:
    """Small grids of any type: leaves anywhere, tiles on all levels, few or many inactive values."""
    kind = VALUE_TYPES[draw(st.sampled_from(sorted(VALUE_TYPES)))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    reach = draw(st.sampled_from([2, 40, 5000]))
    origins = np.unique(rng.integers(-reach, reach, (draw(st.integers(0, max_leaves)), 3)) * 8, axis=0)
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    leaf_active = masks.pack(rng.random((len(origins), masks.LEAF_SLOTS)) < density)
    topology, _ = topology_of_leaves(origins, leaf_active)
    fields = {name: getattr(topology, name) for name in topology.__dataclass_fields__}
    for level in ("lower", "upper"):
        child = masks.unpack(fields[f"{level}_child"])
        fields[f"{level}_active"] = masks.pack(~child & (rng.random(child.shape) < draw(st.sampled_from([0, 0.01]))))
    tiles = draw(st.integers(0, 2))
    fields["root_tile_origins"] = (np.arange(tiles * 3, dtype=np.int32).reshape(tiles, 3) + 100) * masks.UPPER_DIM
    fields["root_tile_active"] = rng.random(tiles) < 0.5
    topology = type(topology)(**fields)
    few = draw(st.booleans())
    largest = 60_000 if kind.name == "half" else 10**6  # beyond 65,504 a half is infinite

    def values(*shape: int) -> np.ndarray:
        shape = (*shape, kind.channels)
        if kind.is_bool:
            return rng.random(shape) < 0.5
        numbers = rng.integers(0, 3, shape) if few else rng.integers(0, largest, shape)
        cast = numbers.astype(kind.dtype)
        return -cast / kind.dtype.type(7) if kind.is_float and finite else cast

    leaf_values = values(len(origins), masks.LEAF_SLOTS)
    lower = masks.LOWER_SLOTS * len(topology.lower_child) - masks.count(topology.lower_child)
    upper = masks.UPPER_SLOTS * len(topology.upper_child) - masks.count(topology.upper_child)
    lower_tiles, upper_tiles, root_tiles = values(lower), values(upper), values(tiles)
    background = values(1)[0]
    if kind.name == "mask":  # the values of a mask grid are its active states
        leaf_values = topology.leaf_active_bits[..., None].copy()
        states = topology.tile_states()[:, None]
        lower_tiles, upper_tiles, root_tiles = states[:lower], states[lower : lower + upper], states[lower + upper :]
        background = np.zeros(1, bool)
    return SparseGrid(
        name=draw(st.text(max_size=6)),
        value_type=kind,
        topology=topology,
        leaf_values=leaf_values,
        lower_tile_values=lower_tiles,
        upper_tile_values=upper_tiles,
        root_tile_values=root_tiles,
        background=background,
        transform=GridTransform.uniform(
            draw(st.sampled_from([1.0, 0.1])), (0.0, draw(st.sampled_from([0.0, 2.5])), 0.0)
        ),
        metadata=Metadata((MetaEntry.of("class", draw(st.sampled_from(["unknown", "fog volume", "level set"]))),)),
    )
