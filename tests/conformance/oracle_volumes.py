"""Volumes of a few leaves in one upper node that together use everything the format has."""

from dataclasses import replace

import numpy as np

import fieldcodec as fc
from fieldcodec.grid import masks
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.procedural import level_set_of_function
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.grid.transform import GridTransform
from fieldcodec.testing.samples import dense

TINY = fc.VolumeSettings(
    tree="neural", epochs=30, level1_width=6, level0_width=8, value_width=8, tile_width=6, fourier_size=6,
    fourier_scale=2.0, batch_size=512, level1_depth=1, level0_depth=2, value_depth=2, tile_depth=1, target_rmse=0.0,
    method="network",
)  # fmt: skip
GUIDING = replace(TINY, tree="explicit", epochs=300)
HASH = replace(TINY, feature_map="hash", hash_levels=3, hash_log2_table=6, hash_base=2, hash_finest=8)


def level_set() -> SparseGrid:
    """A ball of radius 4.5 in 8 leaves."""
    middle = np.array([16.3, 15.8, 16.1])
    return level_set_of_function(
        "ball", lambda points: np.linalg.norm(points - middle, axis=1) - 4.5, np.full(3, 8), np.full(3, 24)
    )


def rod() -> SparseGrid:
    """Eleven leaves in a row around a rod, nothing active in the first two: two subdomains of 64, none at the first."""

    def distance(points: np.ndarray) -> np.ndarray:
        along = np.clip(points[:, 0], 13.2, 90.7)
        away = points - np.stack([along, 12.1 + 0.4 * np.sin(points[:, 0] / 5), np.full(len(points), 11.8)], axis=1)
        result: np.ndarray = np.linalg.norm(away, axis=1) - 1 - 0.6 * np.sin(along / 4)
        return result

    grid = level_set_of_function("rod", distance, np.full(3, 8), np.array([96, 16, 16]), half_width=2.0)
    active = grid.topology.leaf_active.copy()
    active[:2] = 0
    return replace(grid, topology=replace(grid.topology, leaf_active=active))


def box(kind: str, side: int = 14) -> SparseGrid:
    """A grid of any value type in up to 8 leaves, off the corner of its first leaf."""
    return dense(kind, side=side, origin=(9, 17, 25))


def long_fog() -> SparseGrid:
    """Ten leaves in a row: two subdomains of 64 voxels."""
    x, y, z = np.meshgrid(np.arange(80), np.arange(8), np.arange(8), indexing="ij")
    density = np.clip(np.sin(x / 7 + y / 9) + 0.05 * z, 0, None).astype(np.float32)
    return grid_of_dense("smoke", density, density > 0, origin=(8, 8, 8), grid_class="fog volume")


def with_tiles() -> SparseGrid:
    """Active and inactive tiles of all levels with many values."""
    grid = replace(box("float", side=9), name="tiles")
    topology = grid.topology
    rng = np.random.default_rng(4)
    child = masks.unpack(topology.lower_child)
    wanted = np.zeros_like(child)
    wanted.reshape(-1, 16, 16, 16)[:, 2:10, 3:9, 1:9] = True
    lower_active = wanted & ~child
    upper_active = np.zeros((1, masks.UPPER_SLOTS), bool)
    upper_active[0, [5, 900]] = True
    topology = replace(
        topology,
        root_tile_origins=np.array([[4096, 0, 0], [-8192, 4096, 0], [8192, 0, 4096]], np.int32),
        root_tile_active=np.array([True, False, False]),
        lower_active=masks.pack(lower_active),
        upper_active=masks.pack(upper_active),
    )
    lower = np.where(rng.random(len(grid.lower_tile_values)) < 0.5, -1, 2).astype(np.float32)
    active = lower_active[~child]
    lower[active] = np.sin(np.arange(active.sum()) / 40) + 2
    upper = grid.upper_tile_values.copy()
    upper[-3:] = 7
    root = np.array([[3.5], [-0.0], [np.nan]], np.float32)
    return replace(
        grid, topology=topology, lower_tile_values=lower[:, None], upper_tile_values=upper, root_tile_values=root
    )


def several_grids() -> VolumeFile:
    """A grid, an instance of it, opaque bytes and an instance of them; metadata and transforms."""
    first = replace(box("int32", side=5), transform=GridTransform.uniform(0.25, (1.0, 2.0, 3.0)))
    metadata = Metadata((MetaEntry.of("note", "ä"), MetaEntry("odd", "my_type", bytes(range(5)))))
    second = replace(first, name="again", transform=GridTransform.uniform(2.0), metadata=metadata)
    points = OpaqueGrid("points", "Tree_ptdataidx32_5_4_3", bytes(range(256)) * 2, 224, True, 17)
    more = OpaqueGrid("more points", points.type_name, b"abc", 224, False, 0, points)
    return VolumeFile((points, first, second, more), Metadata((MetaEntry.of("creator", "a test"),)))
