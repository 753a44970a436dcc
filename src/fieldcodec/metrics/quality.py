"""The quality of a decoded grid against its original. Definitions: docs/metrics.md."""

import dataclasses
import math
from dataclasses import dataclass

from fieldcodec.errors import UnsupportedGridError
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.metrics.surface import interior_overlap, surface_distance
from fieldcodec.metrics.values import value_errors


@dataclass(frozen=True)
class GridQuality:
    """What a decoded grid keeps of its original; None wherever a number makes no sense.

    Errors are in the units of the values, over voxels active in both grids.
    """

    active_voxels: int
    """Active voxels of the original, active tiles counted with all their voxels."""
    effective_resolution: tuple[int, int, int]
    """Size of the box around the original's active voxels."""
    topology_differs: int
    """0 exactly when nodes, tiles and active states are the same (see `Topology.differs_from`)."""
    iou: float | None
    """Level sets: intersection over union of the interiors."""
    mcd: float | None
    """Level sets: modified Chamfer distance in voxels, equation 4 of the paper."""
    rmse: float | None
    max_error: float | None
    """Largest absolute error of leaf voxels and active tiles."""
    value_range: float | None
    """Largest minus smallest active value of the original, over all components."""
    psnr: float | None
    """20 log10(value_range / rmse) in dB; None where either is 0."""
    tile_max_error: float | None
    """Largest absolute error of active tiles; None where no active tile was compared."""
    compared_voxels: int
    """Leaf voxels active in both grids."""
    inactive_differs: int
    """Voxels and tiles that are inactive in both grids and do not have the same value, bit for bit."""
    nonfinite_differs: int
    """Values that are NaN or infinite in one grid and not the same in the other; left out of the errors."""

    @property
    def topology_identical(self) -> bool:
        return self.topology_differs == 0

    @property
    def rmse_relative(self) -> float | None:
        """RMSE divided by the value range."""
        return _relative(self.rmse, self.value_range)

    @property
    def max_error_relative(self) -> float | None:
        """Largest error divided by the value range."""
        return _relative(self.max_error, self.value_range)

    @property
    def is_exact(self) -> bool:
        """True when topology and all values, inactive ones included, are the same."""
        return not (self.topology_differs or self.max_error or self.inactive_differs or self.nonfinite_differs)

    def to_json(self) -> dict[str, object]:
        """Plain values for `json.dumps`, derived ones included."""
        fields = dataclasses.asdict(self)
        derived = ("topology_identical", "rmse_relative", "max_error_relative")
        fields.update({name: getattr(self, name) for name in derived})
        fields["effective_resolution"] = list(self.effective_resolution)
        return fields


def compare_grids(original: SparseGrid, decoded: SparseGrid) -> GridQuality:
    """Measure a decoded grid against its original, voxel by voxel in index space.

    The trees may differ: those voxels are counted in `topology_differs`, and errors are taken over voxels
    active in both. Transforms are not compared; the voxels are taken to be the same.

    Raises:
        UnsupportedGridError: the values do not have the same number of components.
    """
    if original.channels != decoded.channels:
        raise UnsupportedGridError(
            f"grids of {original.value_type.name} and {decoded.value_type.name} cannot be compared: their values "
            f"have {original.channels} and {decoded.channels} components; give two grids of the same kind"
        )
    errors = value_errors(original, decoded)
    surfaces = original.is_level_set and original.channels == 1 and original.value_type.is_float
    value_range = None if errors.low is None or errors.high is None else errors.high - errors.low
    rmse = errors.rmse
    return GridQuality(
        active_voxels=original.topology.num_active_voxels,
        effective_resolution=effective_resolution(original),
        topology_differs=original.topology.differs_from(decoded.topology),
        iou=interior_overlap(original, decoded) if surfaces else None,
        mcd=surface_distance(original, decoded) if surfaces else None,
        rmse=rmse,
        max_error=errors.max_error,
        value_range=value_range,
        psnr=20 * math.log10(value_range / rmse) if value_range and rmse else None,
        tile_max_error=errors.max_tile,
        compared_voxels=errors.count // original.channels,
        inactive_differs=errors.inactive_differs,
        nonfinite_differs=errors.nonfinite_differs,
    )


def effective_resolution(grid: SparseGrid) -> tuple[int, int, int]:
    """Size in voxels of the box around the active voxels and tiles; zeros for an empty grid."""
    bounds = grid.topology.active_bounds
    if bounds is None:
        return 0, 0, 0
    size = bounds[1] - bounds[0] + 1
    return int(size[0]), int(size[1]), int(size[2])


def _relative(error: float | None, value_range: float | None) -> float | None:
    return error / value_range if error is not None and value_range else None
