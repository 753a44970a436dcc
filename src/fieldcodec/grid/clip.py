"""The part of a tree inside a box: leaves and tiles that meet it, cut where they stick out.

As OpenVDB's `clip` has it, voxels outside the box are inactive and have the background's value, and a tile that is
partly inside is broken up into smaller tiles and leaves.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fieldcodec.errors import UsageError
from fieldcodec.grid import masks
from fieldcodec.grid.topology import Topology

Box = tuple[np.ndarray, np.ndarray]  # lowest and highest voxel [3], both inside
_SIDES = (masks.UPPER_DIM, masks.LOWER_DIM, masks.LEAF_DIM, 1)  # of tiles of the root, of upper and of lower nodes


@dataclass(frozen=True, eq=False)
class ClippedTree:
    """A tree cut to a box.

    Attributes:
        topology: with the states of voxels cut as well.
        leaf_values: [N, 512, C].
        tiles: [M + K + T, C], of lower nodes, of upper nodes and of the root.
    """

    topology: Topology
    leaf_values: np.ndarray
    tiles: np.ndarray


@dataclass(frozen=True, eq=False)
class _Tiles:
    origins: np.ndarray  # [n, 3] int64
    values: np.ndarray  # [n, C]
    active: np.ndarray  # [n] bool

    def __getitem__(self, rows: np.ndarray) -> "_Tiles":
        return _Tiles(self.origins[rows], self.values[rows], self.active[rows])

    def and_others(self, others: "_Tiles") -> "_Tiles":
        pairs = zip(vars(self).values(), vars(others).values(), strict=True)
        return _Tiles(*(np.concatenate(pair) for pair in pairs))


def box_of(bounds: object) -> Box:
    """Six numbers, or two corners of three, as a box in index space.

    Raises:
        UsageError: they are something else, or the second corner is below the first.
    """
    try:
        given = np.asarray(bounds).reshape(2, 3)
        with np.errstate(invalid="ignore"):
            numbers = given.astype(np.int64)
        is_box = np.array_equal(numbers, given)
    except (TypeError, ValueError, OverflowError):
        is_box = False
    if not is_box:
        raise UsageError(f"a box is x0, y0, z0, x1, y1, z1 in whole voxels, got {bounds!r}")
    if np.any(numbers[1] < numbers[0]):
        raise UsageError(f"the box ends at {numbers[1].tolist()}, before it begins at {numbers[0].tolist()}")
    return numbers[0], numbers[1]


def clip_tree(
    topology: Topology, tiles: np.ndarray, background: np.ndarray, leaves: Callable[[np.ndarray], np.ndarray], box: Box
) -> ClippedTree:
    """The part of a tree inside a box.

    Args:
        tiles: [M + K + T, C] values of lower nodes', upper nodes' and the root's tiles.
        background: [C].
        leaves: rows [n] of leaves, rising -> their values [n, 512, C]; asked for those that meet the box only.
    """
    levels, kept = _tiles_by_level(topology, tiles, background), []
    parts = levels[0]
    for level, side in enumerate(_SIDES[:3]):
        whole, cut = _by_coverage(parts, side, box)
        kept.append(parts[whole])
        parts = _broken(parts[cut], side, _SIDES[level + 1], box) if level < 2 else parts[cut]
        if level < 2:
            parts = parts.and_others(levels[level + 1])
    rows = np.flatnonzero(_meets(topology.leaf_origins, masks.LEAF_DIM, box))
    origins = np.concatenate([topology.leaf_origins[rows].astype(np.int64), parts.origins])
    values = np.concatenate([leaves(rows), np.repeat(parts.values[:, None], masks.LEAF_SLOTS, axis=1)])
    states = np.repeat(parts.active[:, None], masks.LEAF_SLOTS, axis=1)
    active = np.concatenate([masks.unpack(topology.leaf_active[rows]), states])
    inside = _voxels_inside(origins, box)
    values[~inside] = background
    return _tree(origins, active & inside, values, kept, background)


def _tiles_by_level(topology: Topology, tiles: np.ndarray, background: np.ndarray) -> list[_Tiles]:
    """Of the root, upper and lower nodes: tiles that differ from what is outside the tree."""
    states, upper = topology.tile_states(), topology.num_lower_tiles
    root = upper + topology.num_upper_tiles
    upper_rows, upper_slots = masks.set_slots(~topology.upper_child)
    lower_rows, lower_slots = masks.set_slots(~topology.lower_child)
    upper_origins = topology.upper_origins[upper_rows] + masks.slot_offsets(masks.UPPER_LOG2)[upper_slots] * 128
    lower_origins = topology.lower_origins[lower_rows] + masks.slot_offsets(masks.LOWER_LOG2)[lower_slots] * 8
    levels = (
        (topology.root_tile_origins, slice(root, None)), (upper_origins, slice(upper, root)),
        (lower_origins, slice(0, upper)),
    )  # fmt: skip
    result = []
    for origins, part in levels:
        told = states[part] | np.any(tiles[part] != background, axis=1)
        result.append(_Tiles(origins[told].astype(np.int64), tiles[part][told], states[part][told]))
    return result


def _meets(origins: np.ndarray, side: int, box: Box) -> np.ndarray:
    """[n] bool: which cubes have a voxel in the box."""
    result: np.ndarray = np.all((origins + (side - 1) >= box[0]) & (origins <= box[1]), axis=1)
    return result


def _by_coverage(tiles: _Tiles, side: int, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """[n] bool each: tiles that lie inside the box, and those that lie inside partly."""
    whole = np.all((tiles.origins >= box[0]) & (tiles.origins + (side - 1) <= box[1]), axis=1)
    return whole, _meets(tiles.origins, side, box) & ~whole


def _broken(tiles: _Tiles, side: int, smaller: int, box: Box) -> _Tiles:
    """Tiles of a smaller side in the place of larger ones, where they meet the box."""
    origins, owner = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    for row, origin in enumerate(tiles.origins):
        low = np.maximum(origin, box[0]) // smaller
        high = np.minimum(origin + (side - 1), box[1]) // smaller
        axes = (np.arange(a, b + 1) * smaller for a, b in zip(low, high, strict=True))
        cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        origins.append(cells)
        owner.append(np.full(len(cells), row))
    owners = np.concatenate(owner)
    return _Tiles(np.concatenate(origins), tiles.values[owners], tiles.active[owners])


def _voxels_inside(origins: np.ndarray, box: Box) -> np.ndarray:
    """[n, 512] bool: which voxels of leaves lie in the box."""
    inside = np.ones((len(origins), 8, 8, 8), bool)
    for axis, shape in enumerate(((-1, 8, 1, 1), (-1, 1, 8, 1), (-1, 1, 1, 8))):
        along = origins[:, axis, None] + np.arange(masks.LEAF_DIM)
        inside &= ((along >= box[0][axis]) & (along <= box[1][axis])).reshape(shape)
    return inside.reshape(-1, masks.LEAF_SLOTS)


def _tree(
    leaf_origins: np.ndarray, active: np.ndarray, values: np.ndarray, kept: list[_Tiles], background: np.ndarray
) -> ClippedTree:
    """A tree of these leaves and tiles (of the root, of upper, of lower nodes), in their order."""
    root, upper_tiles, lower_tiles = kept
    lower_cells = _cells([leaf_origins, lower_tiles.origins], masks.LOWER_DIM)
    upper_cells = _cells([lower_cells, upper_tiles.origins], masks.UPPER_DIM)
    upper = _Nodes.of(upper_cells, masks.UPPER_LOG2)
    lower = _Nodes.of(lower_cells[np.argsort(upper.slots_of(lower_cells))], masks.LOWER_LOG2)
    order = np.argsort(lower.slots_of(leaf_origins))
    upper_child, upper_active, upper_values = upper.filled(lower_cells, upper_tiles, background)
    lower_child, lower_active, lower_values = lower.filled(leaf_origins, lower_tiles, background)
    topology = Topology(
        root_tile_origins=root.origins.astype(np.int32), root_tile_active=root.active,
        upper_origins=upper_cells.astype(np.int32), upper_child=upper_child, upper_active=upper_active,
        lower_child=lower_child, lower_active=lower_active, leaf_active=masks.pack(active[order]),
    )  # fmt: skip
    return ClippedTree(topology, values[order], np.concatenate([lower_values, upper_values, root.values]))


def _cells(origins: list[np.ndarray], side: int) -> np.ndarray:
    """[n, 3]: origins of the cubes that hold other cubes, each once, rising."""
    result: np.ndarray = np.unique(np.concatenate(origins) // side * side, axis=0)
    return result


@dataclass(frozen=True, eq=False)
class _Nodes:
    """The nodes of one level, in any order: `rows` maps an origin to its place in that order."""

    rows: dict[tuple[int, ...], int]
    log2: int
    side: int
    count: int

    @staticmethod
    def of(origins: np.ndarray, log2: int) -> "_Nodes":
        side = masks.LOWER_DIM if log2 == masks.LOWER_LOG2 else masks.UPPER_DIM
        return _Nodes({tuple(origin): row for row, origin in enumerate(origins.tolist())}, log2, side, len(origins))

    def slots_of(self, origins: np.ndarray) -> np.ndarray:
        """[n] int64: slots that cubes have, counted over all nodes."""
        nodes = origins // self.side * self.side
        rows = np.array([self.rows[tuple(node)] for node in nodes.tolist()], np.int64)
        at = (origins - nodes) // (self.side >> self.log2)
        return rows << (3 * self.log2) | at[:, 0] << (2 * self.log2) | at[:, 1] << self.log2 | at[:, 2]

    def filled(
        self, children: np.ndarray, tiles: _Tiles, background: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Packed child and active masks, and values of the slots without child [m, C]."""
        slots = self.count << (3 * self.log2)
        child, active = np.zeros(slots, bool), np.zeros(slots, bool)
        child[self.slots_of(children)] = True
        places = self.slots_of(tiles.origins)
        active[places] = tiles.active
        values = np.repeat(background[None], slots - int(child.sum()), axis=0)
        values[places - np.cumsum(child)[places]] = tiles.values
        shape = (self.count, 1 << (3 * self.log2))
        return masks.pack(child.reshape(shape)), masks.pack(active.reshape(shape)), values
