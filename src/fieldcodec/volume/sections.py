"""What a `.fcodec` file holds of one grid: the one table that encode and decode share.

Each stored part is a section of the container (see docs/format.md); its key is (section, grid number).
"""

from fieldcodec.container.format import SectionId

FRAME_BYTES = 512  # of a file beside those of its grids, at most: its table of sections and its settings

# name in reports -> section, in the order in which a decoder needs them
GRID_SECTIONS: dict[str, SectionId] = {
    "root": SectionId.ROOT,
    "upper masks": SectionId.UPPER_MASKS,
    "level-1 classifier": SectionId.LEVEL1_NETWORK,
    "lower masks": SectionId.LOWER_MASKS,
    "level-0 classifier": SectionId.LEVEL0_NETWORK,
    "lattice coefficients": SectionId.LATTICE,
    "mesh": SectionId.MESH,
    "leaf masks": SectionId.LEAF_MASKS,
    "inactive voxels": SectionId.INACTIVE_VOXELS,
    "inactive lower tiles": SectionId.INACTIVE_LOWER_TILES,
    "inactive upper tiles": SectionId.INACTIVE_UPPER_TILES,
    "inactive root tiles": SectionId.INACTIVE_ROOT_TILES,
    "active tiles": SectionId.ACTIVE_TILES,
    "tile regressor": SectionId.TILE_NETWORK,
    "voxel values": SectionId.VOXEL_VALUES,
    "voxel regressor": SectionId.VOXEL_NETWORK,
    "voxel residuals": SectionId.VOXEL_RESIDUALS,
    "refinement": SectionId.REFINEMENT,
    "signs": SectionId.SIGNS,
    "opaque grid": SectionId.OPAQUE_GRID,
}
NETWORK_SECTIONS = {
    "level1": "level-1 classifier",
    "level0": "level-0 classifier",
    "tiles": "tile regressor",
    "values": "voxel regressor",
}
