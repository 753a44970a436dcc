"""Meshes to narrow-band level sets."""

import numpy as np

from fieldcodec.errors import InputError, UsageError
from fieldcodec.grid.level_set import level_set_of_leaves
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.io.mesh.distance import MAX_COORDINATE, leaf_distances, leaves_near
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.io.mesh.repair import oriented, with_holes_closed
from fieldcodec.io.mesh.sign import ColumnWinding, FractionalWinding, Progress, apply_column_signs, apply_signs

_BATCH = 8192  # leaves between two reports


def voxelize(
    mesh: Mesh,
    *,
    resolution: int = 256,
    half_width: float = 3.0,
    voxel_size: float | None = None,
    name: str = "surface",
    close_holes: bool = True,
    on_progress: Progress | None = None,
) -> SparseGrid:
    """The mesh as a level set grid in OpenVDB's convention (see `fieldcodec.grid.level_set`).

    Distances are those to the nearest triangle, exact up to the rounding to 32 bits. Holes are closed by
    fans of triangles, which count as surface; where the triangles hang together too little for that, the
    generalised winding number decides alone. World space is the mesh's own; voxel (0, 0, 0) is at its origin.

    Args:
        resolution: voxels along the longest side of the box of active voxels, band included.
        half_width: half the width of the band in voxels; active is |distance| < half_width * voxel_size.
        voxel_size: world length of a voxel's side; overrides `resolution`.
        close_holes: False leaves holes open: there the sign changes without the values passing zero.

    Raises:
        UsageError: a setting is out of range.
        InputError: the mesh is empty or has no extent.
        MissingPackageError: the mesh cannot be closed, or is turned inconsistently, and libigl is not installed.
    """
    report = on_progress or _silent
    size = _voxel_size(mesh, resolution, half_width, voxel_size)
    report("repair", 0.0)
    mesh = oriented(mesh)
    mesh, is_closed = with_holes_closed(mesh) if close_holes else (mesh, False)
    vertices = mesh.vertices / size
    winding = (ColumnWinding if is_closed else FractionalWinding)(vertices, mesh.triangles)
    origins, distances = _band(vertices[mesh.triangles].reshape(-1, 9), half_width, report)
    report("sign", 0.0)
    if is_closed:
        apply_column_signs(distances, origins, vertices, mesh.triangles)
    else:
        apply_signs(distances, origins, winding, report)
    report("sign", 1.0)
    background = float(np.float32(half_width * size))
    _to_world(distances, half_width, size, background)
    report("tiles", 0.0)
    grid = level_set_of_leaves(
        name, origins, distances, background=background, is_inside=winding.is_inside,
        transform=GridTransform.uniform(size), ask_every_tile=not is_closed,
    )  # fmt: skip
    report("tiles", 1.0)
    return grid


def _voxel_size(mesh: Mesh, resolution: int, half_width: float, voxel_size: float | None) -> float:
    """World length of a voxel; checks all settings."""
    if not 1.0 <= half_width <= 100.0:
        raise UsageError(f"half_width is {half_width}; it counts voxels and must be from 1 to 100 (OpenVDB uses 3)")
    if not len(mesh.triangles):
        raise InputError("the mesh has no triangles; a surface is needed")
    low, high = mesh.bounds
    longest = float(np.max(high - low))
    if longest <= 0:
        raise InputError("all triangles of the mesh are at one point; a surface is needed")
    if voxel_size is None:
        inner = resolution - 2 * half_width
        if inner < 1:
            raise UsageError(
                f"resolution is {resolution}, but the band alone takes {2 * half_width:g} voxels; "
                f"use at least {int(np.ceil(2 * half_width)) + 1}, or a smaller half_width"
            )
        voxel_size = longest / inner
    if not (np.isfinite(voxel_size) and voxel_size > 0):
        raise UsageError(f"voxel_size is {voxel_size}; it must be a positive length")
    farthest = float(np.max(np.abs([low, high]))) / voxel_size + half_width
    if farthest > MAX_COORDINATE:
        raise UsageError(
            f"at a voxel size of {voxel_size:g} the mesh reaches index {farthest:.3g}, but {MAX_COORDINATE} is "
            "the largest; use larger voxels or move the mesh nearer to the origin"
        )
    return float(voxel_size)


def _band(corners: np.ndarray, half_width: float, report: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Origins [n, 3] and distances [n, 512] (float32, voxels) of the leaves near the triangles."""
    report("distance", 0.0)
    origins = leaves_near(corners, half_width)
    distances = np.empty((len(origins), 512), np.float32)
    for first in range(0, len(origins), _BATCH):
        rows = slice(first, first + _BATCH)
        distances[rows] = leaf_distances(corners, origins[rows], half_width)
        report("distance", min(first + _BATCH, len(origins)) / len(origins))
    return origins, distances


def _to_world(distances: np.ndarray, half_width: float, size: float, background: float) -> None:
    """Voxels to world units in place; what lies outside the band becomes +-background exactly."""
    is_far = np.abs(distances) >= np.float32(half_width)
    distances *= np.float32(size)
    np.clip(distances, -background, background, out=distances)
    np.copyto(distances, np.copysign(np.float32(background), distances), where=is_far)


def _silent(stage: str, share: float) -> None:
    """Nobody listens."""
