"""The picture of an original, its copy and the error between them."""

from pathlib import Path

from fieldcodec.cli.console import say
from fieldcodec.cli.outputs import check_output
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.metrics.quality import compare_grids
from fieldcodec.render.compare_image import save_comparison


def save_picture(path: Path, first: VolumeFile, second: VolumeFile, *, overwrite: bool, caption: str = "") -> bool:
    """Write a PNG of the grid with the most active voxels among those that both files have.

    Returns:
        Whether there was such a grid; if not, nothing is written and that is said.
    """
    check_output(path, overwrite=overwrite)
    pair = _largest_pair(first, second)
    if pair is None:
        say("fieldcodec: no picture: no grid with active voxels is in both files")
        return False
    save_comparison(path, *pair, caption=caption or _caption(*pair))
    return True


def _largest_pair(first: VolumeFile, second: VolumeFile) -> tuple[SparseGrid, SparseGrid] | None:
    pairs = []
    for position, grid in enumerate(first):
        same_name = [other for other in second if other.name == grid.name]
        number = sum(earlier.name == grid.name for earlier in first.grids[:position])
        other = same_name[number] if number < len(same_name) else None
        if isinstance(grid, SparseGrid) and isinstance(other, SparseGrid) and grid.channels == other.channels:
            pairs.append((grid, other))
    pairs = [pair for pair in pairs if pair[0].topology.num_active_voxels]
    # values say more than masks: a bool grid is shown only where there is nothing else
    return max(
        pairs, key=lambda pair: (not pair[0].value_type.is_bool, pair[0].topology.num_active_voxels), default=None
    )


def _caption(original: SparseGrid, decoded: SparseGrid) -> str:
    quality = compare_grids(original, decoded)
    parts = [f"{quality.active_voxels:,} active voxels"]
    if quality.rmse_relative is not None:
        parts.append(f"RMSE {quality.rmse_relative * 100:.2g} % of the value range")
    if quality.mcd is not None:
        parts.append(f"mCD {quality.mcd:.3f} voxels")
    parts.append("topology identical" if quality.topology_identical else f"{quality.topology_differs:,} voxels differ")
    return ", ".join(parts)
