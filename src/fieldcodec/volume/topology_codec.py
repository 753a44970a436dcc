"""Topology <-> sections: explicit masks, or classifiers with coded corrections (NeuralVDB 3.3).

The tree is coded from the top: root table, upper masks, lower masks, leaf masks. Each level's masks tell
where the nodes of the next level are. With a classifier its prediction, computed in integers, enters the mask
coder as a hint; what the coder then spends is the price of the classifier's mistakes, and decoding is exact.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import xxhash

from fieldcodec.coding.arrays import pack_array, unpack_array
from fieldcodec.coding.masks import decode_leaf_masks, encode_leaf_masks
from fieldcodec.coding.node_masks import decode_node_masks, encode_node_masks
from fieldcodec.errors import FormatError
from fieldcodec.grid import masks
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.topology import Topology
from fieldcodec.volume.fields import (
    ACTIVE_TILE,
    CHILD,
    INACTIVE_TILE,
    ExpertField,
    FieldEvaluator,
    OnBlock,
    active_points,
    leaf_blocks,
    level0_hints,
    level1_hints,
    said_active,
    said_class,
)
from fieldcodec.volume.normalise import Normalisation

MAX_NODES = {"root_tiles": 1 << 24, "upper_nodes": 1 << 20, "lower_nodes": 1 << 22, "leaves": 1 << 25}


LeafDecoder = Callable[[bytes, np.ndarray], np.ndarray]
"""Coded masks and origins [N, 3] of leaves -> [N, 64] uint8 masks."""

SlotHinter = Callable[[np.ndarray], np.ndarray]
"""Origins [L, 3] of lower nodes -> [L, 4096] uint8 hints of their slots."""


def topology_hash(topology: Topology) -> str:
    """Fingerprint of every node, tile and active state."""
    digest = xxhash.xxh3_128()
    for name in topology.__dataclass_fields__:
        array = np.ascontiguousarray(getattr(topology, name))
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def node_counts(topology: Topology) -> dict[str, int]:
    """Sizes that a decoder checks before it allocates anything."""
    return {
        "root_tiles": len(topology.root_tile_active),
        "upper_nodes": len(topology.upper_child),
        "lower_nodes": len(topology.lower_child),
        "leaves": topology.num_leaves,
    }


def encode_tables(topology: Topology) -> dict[str, bytes]:
    """Root table and upper nodes, always explicit."""
    numbers = np.concatenate([topology.root_tile_origins.reshape(-1), topology.upper_origins.reshape(-1)])
    active = topology.root_tile_active.astype(np.int32)
    return {
        "root": pack_array(np.concatenate([numbers, active]).astype("<i4")),
        "upper masks": encode_node_masks(
            topology.upper_child, topology.upper_active, masks.UPPER_LOG2, topology.upper_origins, None
        ),
    }


def encode_lower_masks(topology: Topology, hints: np.ndarray | None) -> bytes:
    """Masks of all lower nodes; `hints` [L, 4096] uint8 of the level-1 classifier."""
    return encode_node_masks(
        topology.lower_child, topology.lower_active, masks.LOWER_LOG2, topology.lower_origins, hints
    )


def encode_leaves(topology: Topology, hints: np.ndarray | None) -> bytes:
    """Active masks of all leaves; `hints` [N, 512] uint8 of the level-0 classifier."""
    return encode_leaf_masks(topology.leaf_active, topology.leaf_origins, hints)


def explicit_masks(topology: Topology) -> dict[str, bytes]:
    """Masks of lower nodes and leaves by themselves."""
    return {"lower masks": encode_lower_masks(topology, None), "leaf masks": encode_leaves(topology, None)}


def decode_topology(
    sections: Mapping[str, bytes], counts: dict[str, int], slot_hints: SlotHinter | None, decode_leaves: LeafDecoder
) -> Topology:
    """The inverse of the functions above.

    Args:
        slot_hints: what is thought of the slots of lower nodes; None where nothing is.

    Raises:
        FormatError: a count exceeds its limit, or the sections do not agree with the counts.
    """
    for name, limit in MAX_NODES.items():
        if type(counts.get(name)) is not int or not 0 <= counts[name] <= limit:
            raise FormatError(f"topology: {name} is {counts.get(name)!r}, allowed are 0 to {limit}")
    tiles, uppers = counts["root_tiles"], counts["upper_nodes"]
    numbers = unpack_array(sections.get("root", b""), np.dtype("<i4"), (tiles * 4 + uppers * 3,))
    upper_origins = numbers[tiles * 3 : tiles * 3 + uppers * 3].reshape(uppers, 3).astype(np.int32)
    _check_origins(numbers[: tiles * 3].reshape(-1, 3), upper_origins)
    upper_child, upper_active = decode_node_masks(
        sections.get("upper masks", b""), masks.UPPER_LOG2, upper_origins, None
    )
    above = _placeholder(numbers, tiles, upper_origins, upper_child, upper_active, counts["lower_nodes"])
    lower_origins = above.lower_origins
    hints = None if slot_hints is None else slot_hints(lower_origins)
    lower_child, lower_active = decode_node_masks(
        sections.get("lower masks", b""), masks.LOWER_LOG2, lower_origins, hints
    )
    leaves = masks.count(lower_child)
    if leaves != counts["leaves"]:
        raise FormatError(f"topology: masks give {leaves} leaves, the meta section {counts['leaves']}")
    above = replace(
        above, lower_child=lower_child, lower_active=lower_active, leaf_active=np.zeros((leaves, 64), np.uint8)
    )
    leaf_active = decode_leaves(sections.get("leaf masks", b""), above.leaf_origins)
    return replace(above, leaf_active=leaf_active)


def slot_hinter(level1: ExpertField | None) -> SlotHinter | None:
    """Of the level-1 classifier, where there is one."""
    return None if level1 is None else partial(level1_hints, level1)


def leaf_decoder(level0: ExpertField | None, on_block: OnBlock | None = None) -> LeafDecoder:
    """For explicit masks, or those with hints of the level-0 classifier."""

    def decode(data: bytes, leaf_origins: np.ndarray) -> np.ndarray:
        hints = None if level0 is None else level0_hints(level0, leaf_origins, on_block)
        return decode_leaf_masks(data, leaf_origins, hints)

    return decode


def _check_origins(tiles: np.ndarray, uppers: np.ndarray) -> None:
    """Nodes lie on their lattice, and upper nodes are sorted, so that each is there once."""
    if (tiles % masks.UPPER_DIM).any() or (uppers % masks.UPPER_DIM).any():
        raise FormatError(f"topology: origins of root tiles and upper nodes must be multiples of {masks.UPPER_DIM}")
    rising = np.array_equal(np.unique(uppers, axis=0), uppers)
    if not rising:
        raise FormatError("topology: upper nodes are not in rising order")


def _placeholder(
    numbers: np.ndarray, tiles: int, upper_origins: np.ndarray, child: np.ndarray, active: np.ndarray, lowers: int
) -> Topology:
    """A topology down to the upper nodes; its lower nodes are still empty."""
    found = masks.count(child)
    if found != lowers:
        raise FormatError(f"topology: masks give {found} lower nodes, the meta section {lowers}")
    return Topology(
        root_tile_origins=numbers[: tiles * 3].reshape(tiles, 3).astype(np.int32),
        root_tile_active=numbers[len(numbers) - tiles :].astype(bool),
        upper_origins=upper_origins,
        upper_child=child,
        upper_active=active,
        lower_child=np.zeros((lowers, masks.LOWER_SLOTS // 8), np.uint8),
        lower_active=np.zeros((lowers, masks.LOWER_SLOTS // 8), np.uint8),
        leaf_active=np.zeros((0, 64), np.uint8),
    )


def count_corrections(topology: Topology, hints0: np.ndarray, hints1: np.ndarray) -> int:
    """Slots and voxels whose state the classifiers got wrong (the paper's patches)."""
    child = masks.unpack(topology.lower_child)
    active = masks.unpack(topology.lower_active)
    classes = np.where(child, CHILD, np.where(active, ACTIVE_TILE, INACTIVE_TILE))
    return int((said_class(hints1) != classes).sum()) + int((said_active(hints0) != topology.leaf_active_bits).sum())


def relax_topology(
    grid: SparseGrid, hints: np.ndarray, evaluator: FieldEvaluator, normalisation: Normalisation, tolerance: float
) -> tuple[SparseGrid, int]:
    """Leaves the level-0 classifier's mistakes where they do not matter (section 3.3.2).

    A voxel matters when its value would change by more than `tolerance` times the value range: an active voxel
    taken for inactive gets the nearest inactive value (the background, or for level sets minus it), an inactive
    one taken for active gets the regressor's value.

    Returns:
        The grid whose topology is to be stored, and the number of voxels given up.
    """
    topology = grid.topology
    truth, said = topology.leaf_active_bits, said_active(hints)
    allowed = tolerance * np.max(normalisation.high - normalisation.low)
    rest = _inactive_value(grid)
    leaf_values, leaf_active = grid.leaf_values.copy(), truth.copy()
    for block in leaf_blocks(topology.num_leaves):
        values = leaf_values[block].astype(np.float64)
        lost = truth[block] & ~said[block] & (np.abs(values - rest(values)) <= allowed).all(axis=-1)
        gained = ~truth[block] & said[block]
        points = active_points(topology.leaf_origins[block], masks.pack(gained))
        guess = normalisation.invert(evaluator.values(points), grid.value_type.dtype, grid.save_as_half)
        near = (np.abs(guess.astype(np.float64) - values[gained]) <= allowed).all(axis=-1)
        gained[gained] = near
        leaf_values[block][gained] = guess[near]
        leaf_values[block][lost] = rest(values)[lost].astype(grid.value_type.dtype)
        leaf_active[block] = (truth[block] & ~lost) | gained
    changed = int((leaf_active != truth).sum())
    relaxed = replace(topology, leaf_active=masks.pack(leaf_active))
    return replace(grid, topology=relaxed, leaf_values=leaf_values), changed


def _inactive_value(grid: SparseGrid) -> Callable[[np.ndarray], np.ndarray]:
    """Function that gives the value a voxel takes when it is no longer active."""
    background = grid.background.astype(np.float64)
    if grid.is_level_set:
        return lambda values: np.where(values < 0, -background, background)
    return lambda values: np.broadcast_to(background, values.shape)
