"""Short descriptions of grids, for people and programs. No torch."""

from typing import Any

from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid


def grid_summary(grid: SparseGrid | OpaqueGrid) -> dict[str, Any]:
    """What `info` and `voxelize` say of a grid in memory; None where a number makes no sense."""
    if isinstance(grid, OpaqueGrid):
        head = {"name": grid.name, "value_type": grid.type_name, "grid_class": "unknown", "active_voxels": None}
        return {
            **head,
            "bounds": None,
            "effective_resolution": None,
            "leaves": None,
            "transform": None,
            "voxel_size": None,
        }
    bounds = grid.topology.active_bounds
    return {
        "name": grid.name,
        "value_type": grid.value_type.name,
        "grid_class": grid.grid_class,
        "active_voxels": grid.topology.num_active_voxels,
        "bounds": [bounds[0].tolist(), bounds[1].tolist()] if bounds is not None else None,
        "effective_resolution": (bounds[1] - bounds[0] + 1).tolist() if bounds is not None else [0, 0, 0],
        "leaves": grid.topology.num_leaves,
        "transform": grid.transform.map_type,
        "voxel_size": grid.transform.voxel_size.tolist() if grid.transform.is_linear else None,
    }


def summary_line(summary: dict[str, Any]) -> str:
    """One line of a summary."""
    size = " x ".join(str(side) for side in summary["effective_resolution"] or ())
    active = summary["active_voxels"]
    numbers = f"{active:,} active voxels" if active is not None else "carried unchanged"
    name = summary["name"] or "(unnamed)"
    return f"{name}: {summary['value_type']}, {summary['grid_class']}, {numbers}" + (f", {size}" if size else "")
