"""Flicker: how far the change from frame to frame is from the original's. Definition: docs/metrics.md.

An error that stays where it is from frame to frame cannot be seen to move; one that comes and goes flickers.
With d and o the decoded and the original frame, at the voxels active in o(t) or o(t - 1):

    flicker = rms((d(t) - d(t - 1)) - (o(t) - o(t - 1)))        relative: / rms(o(t) - o(t - 1))
"""

import math
from dataclasses import dataclass

import numpy as np

from fieldcodec.grid.lookup import Blocks, blocks_at
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile

_LEAVES_AT_ONCE = 1024  # half a million voxels of four grids: bounds the memory


@dataclass(frozen=True)
class Flicker:
    """Of one grid from a frame to the next."""

    name: str
    absolute: float
    """Root mean square of the error of the change, in the file's units."""
    change: float
    """Root mean square of the original's change."""

    @property
    def relative(self) -> float | None:
        """The error of the change as a part of the change; None where the original stands still."""
        return self.absolute / self.change if self.change else None


def flicker(before: tuple[SparseGrid, SparseGrid], after: tuple[SparseGrid, SparseGrid]) -> Flicker | None:
    """Of a grid from one frame to the next, each as original and decoded grid.

    Voxels are compared in index space. A voxel that is active in one frame only counts with the value that the other
    frame has in its place, be it of an inactive voxel, a tile or the background. Voxels of active tiles count where
    the other frame has a leaf there. Values that are not finite in any of the four are left out.

    Returns:
        None where no voxel can be compared, or the grids have not the same number of channels.
    """
    first, second = before[0], after[0]
    if len({grid.channels for grid in (*before, *after)}) != 1:
        return None
    origins = np.concatenate([first.topology.leaf_origins, second.topology.leaf_origins])
    origins = np.unique(origins, axis=0)
    blocks = [(blocks_at(pair[0], origins), blocks_at(pair[1], origins)) for pair in (before, after)]
    count, error_squares, change_squares = 0, 0.0, 0.0
    for start in range(0, len(origins), _LEAVES_AT_ONCE):
        part = slice(start, min(start + _LEAVES_AT_ONCE, len(origins)))
        error, change = _changes(blocks[0], blocks[1], part)
        count += len(error)
        error_squares += float(np.dot(error, error))
        change_squares += float(np.dot(change, change))
    if not count:
        return None
    return Flicker(second.name, math.sqrt(error_squares / count), math.sqrt(change_squares / count))


def file_flicker(
    before: tuple[VolumeFile, VolumeFile], after: tuple[VolumeFile, VolumeFile]
) -> list[Flicker | None]:  # fmt: skip
    """Of every grid of the original `after[0]`, in file order; None where it was not there before or has no voxels.

    Grids of one name pair up in file order.

    Args:
        before, after: original and decoded file of each frame.
    """
    files = [_by_name(file) for file in (*before, *after)]
    found = []
    for position, grid in enumerate(after[0]):
        key = (grid.name, sum(other.name == grid.name for other in after[0].grids[:position]))
        grids = [file[key] for file in files if isinstance(file.get(key), SparseGrid)]
        found.append(flicker((grids[0], grids[1]), (grids[2], grids[3])) if len(grids) == 4 else None)
    return found


def _by_name(file: VolumeFile) -> dict[tuple[str, int], SparseGrid]:
    """The grids by name and by how many of that name come before."""
    found: dict[tuple[str, int], SparseGrid | OpaqueGrid] = {}
    for grid in file:
        number = sum(name == grid.name for name, _ in found)
        found[grid.name, number] = grid
    return {key: grid for key, grid in found.items() if isinstance(grid, SparseGrid)}


def _changes(
    before: tuple[Blocks, Blocks], after: tuple[Blocks, Blocks], part: slice
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Error of the change, and the original's change, of all values that count; [n] float64 each."""
    active = before[0].active(part) | after[0].active(part)
    old, old_decoded, new, new_decoded = (
        blocks.values(part)[active].astype(np.float64).ravel() for blocks in (*before, *after)
    )
    with np.errstate(invalid="ignore", over="ignore"):
        change = new - old
        error = (new_decoded - old_decoded) - change
    finite = np.isfinite(change) & np.isfinite(error)
    return error[finite], change[finite]
