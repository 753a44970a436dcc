"""The surface of a sparse grid at a value, as a closed mesh of triangles.

    SparseGrid -> iso_blocks: where it can be -> iso_kernels: cells of some blocks at a time -> IsoSurface
               -> iso_tiles: root tiles by themselves ------------^

Marching cubes over the blocks of the tree (`iso_cases`), with vertices named by the edge they lie on, so that blocks
are joined exactly and not by distance. Libraries that were looked at: scikit-image's and PyMCubes' marching cubes want
one dense box, whose seams would have to be welded by position; OpenVDB's mesher has no wheel for every platform and
lets an edge have four triangles, as other dual methods do.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import final

import numpy as np

from fieldcodec.errors import UnsupportedGridError, UsageError
from fieldcodec.grid import iso_kernels
from fieldcodec.grid.iso_blocks import AHEAD, crossed_blocks
from fieldcodec.grid.iso_cases import Cases, all_cases
from fieldcodec.grid.iso_tiles import LoneTiles, without_lone_tiles
from fieldcodec.grid.lookup import blocks_at
from fieldcodec.grid.origin_table import OriginTable
from fieldcodec.grid.sparse_grid import SparseGrid

_BLOCKS_AT_ONCE = 4096  # 44 MB with their margins
_MAX_BLOCKS = 1 << 20  # a flat surface through them has 130 million triangles, 7 GB
_ROBUST_SHARE = 0.999  # of the active voxels lie at or below the robust maximum
_AROUND = np.stack(list(np.ndindex(3, 3, 3))) - 1


@final
@dataclass(frozen=True, eq=False)
class IsoSurface:
    """Triangles, counter-clockwise seen from outside; every edge of a closed surface has exactly two of them."""

    vertices: np.ndarray  # [n, 3] float64: positions in world or index space
    normals: np.ndarray  # [n, 3] float32: unit vectors towards the outside, from the gradient of the field
    triangles: np.ndarray  # [m, 3] int64: rows of `vertices`
    iso: float  # the value the surface was taken at


@dataclass(frozen=True, eq=False)
class _Pieces:
    """The surface in some blocks; see `iso_kernels.extract` for keys, places, slopes and corners."""

    num_vertices: np.ndarray  # [b]
    num_triangles: np.ndarray  # [b]
    keys: np.ndarray
    places: np.ndarray  # in index space
    slopes: np.ndarray
    corners: np.ndarray


def default_iso(grid: SparseGrid) -> float:
    """0 for level sets; otherwise half of the value that 99.9 % of the active voxels do not exceed (0 without any).

    Active tiles count with all their voxels. A few very bright voxels do not change it much.
    """
    if grid.is_level_set:
        return 0.0
    topology = grid.topology
    tiles = [
        (grid.lower_tile_values[grid.lower_tile_mask()], 8**3),
        (grid.upper_tile_values[grid.upper_tile_mask()], 128**3),
        (grid.root_tile_values[topology.root_tile_active], 4096**3),
    ]
    parts = [(grid.active_values(), 1), *tiles]
    values = np.concatenate([part[:, 0].astype(np.float64) for part, _ in parts])
    weights = np.concatenate([np.full(len(part), float(weight)) for part, weight in parts])
    finite = np.isfinite(values)
    values, weights = values[finite], weights[finite]
    if not len(values):
        return 0.0
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return 0.5 * float(values[order[np.searchsorted(below, _ROBUST_SHARE * below[-1])]])


def iso_surface(grid: SparseGrid, iso: float | None = None, *, in_world_space: bool = True) -> IsoSurface:
    """The surface where a scalar grid has the value `iso`, linear between neighbouring voxels.

    Outside is the side of `iso` on which the background is: inside, level sets have smaller values and fog has larger
    ones. The tree says what each voxel holds, active or not: leaves, then tiles, then the background; NaN is outside.
    So the surface is closed, and a band has no walls at its ends. It is empty where no value is inside.
    Memory grows with the surface, not with the box around it.

    Args:
        iso: `default_iso(grid)` where None.
        in_world_space: False keeps positions in index space: voxel (i, j, k) is at (i, j, k).

    Raises:
        UnsupportedGridError: the grid has vectors; or its transform is no linear one and world space is wanted; or the
            surface is too large, as that of tiles of 4096^3 voxels which touch others.
        UsageError: `iso` is not finite, or outside the band of a level set.
    """
    iso = default_iso(grid) if iso is None else float(iso)
    _check(grid, iso, in_world_space)
    inside_below = grid.is_level_set or bool(grid.background[0] > iso)
    sign = 1.0 if inside_below else -1.0
    rest, lone = without_lone_tiles(grid)
    origins = crossed_blocks(rest, iso, inside_below)
    _check_size(grid, len(origins))
    background = float(grid.background[0])
    found = [*_pieces(rest, origins, sign, sign * iso), *_pieces_of_tiles(lone, background, sign, sign * iso)]
    pieces = _joined(found)
    triangles = _triangles(np.concatenate([origins, lone.blocks]), pieces)
    vertices, slopes = pieces.places, pieces.slopes
    if in_world_space:
        matrix = grid.transform.matrix[:3, :3]
        vertices, slopes = grid.transform.to_world(vertices), slopes @ np.linalg.inv(matrix).T
        if np.linalg.det(matrix) < 0:  # a mirror turns triangles over
            triangles = np.ascontiguousarray(triangles[:, ::-1])
    slopes = slopes / np.abs(slopes).max(axis=1, keepdims=True, initial=0)
    normals = (slopes / np.linalg.norm(slopes, axis=1, keepdims=True)).astype(np.float32)
    return IsoSurface(vertices, normals, triangles, iso)


def _check(grid: SparseGrid, iso: float, in_world_space: bool) -> None:
    if grid.channels != 1:
        raise UnsupportedGridError(
            f"grid {grid.name!r} holds {grid.value_type.name}; a surface needs one number to a voxel"
        )
    if in_world_space and not grid.transform.is_linear:
        raise UnsupportedGridError(
            f"grid {grid.name!r} has a {grid.transform.map_type}, which is carried but not evaluated; "
            "ask for index space"
        )
    if not np.isfinite(iso):
        raise UsageError(f"the iso value is {iso}; it must be a finite number")
    band = abs(float(grid.background[0]))
    if grid.is_level_set and abs(iso) >= band > 0:
        raise UsageError(
            f"the iso value {iso:g} is outside the band of the level set {grid.name!r}, whose distances end at "
            f"{band:g}; use one between -{band:g} and {band:g}"
        )


def _check_size(grid: SparseGrid, num_blocks: int) -> None:
    if num_blocks > _MAX_BLOCKS:
        raise UnsupportedGridError(
            f"the surface of grid {grid.name!r} crosses {num_blocks:,} blocks of 8^3 voxels; at most {_MAX_BLOCKS:,} "
            "are meshed, so cut a box out of the grid or take a coarser level"
        )


def _pieces(grid: SparseGrid, origins: np.ndarray, sign: float, iso: float) -> Iterator[_Pieces]:
    """The surface in the blocks at `origins` [n, 3], some at a time; `sign` makes values grow towards the outside."""
    leaf_values = grid.leaf_values
    if leaf_values.dtype == np.float16:  # numba has no 16-bit floats
        leaf_values = leaf_values.astype(np.float32)
    for first in range(0, len(origins), _BLOCKS_AT_ONCE):
        part = origins[first : first + _BLOCKS_AT_ONCE]
        found = blocks_at(grid, (part[:, None] + _AROUND * 8).reshape(-1, 3))
        fill = found.fill[:, 0].astype(np.float64).reshape(-1, 27)
        values = np.empty((len(part), 11, 11, 11))
        iso_kernels.gather(leaf_values, found.rows.reshape(-1, 27), fill, values)
        pieces = _extracted(sign * values, iso)
        pieces.places[:] += np.repeat(part, pieces.num_vertices, axis=0)
        yield pieces


def _pieces_of_tiles(tiles: LoneTiles, background: float, sign: float, iso: float) -> Iterator[_Pieces]:
    """The surfaces of root tiles with nothing around them."""
    for first in range(0, len(tiles), _BLOCKS_AT_ONCE):
        part = slice(first, first + _BLOCKS_AT_ONCE)
        pieces = _extracted(sign * tiles.voxels(part, background), iso)
        pieces.places[:] = tiles.stretched(pieces.places) + np.repeat(tiles.origins[part], pieces.num_vertices, axis=0)
        yield pieces


def _extracted(values: np.ndarray, iso: float) -> _Pieces:
    """The surface in blocks with their margins [n, 11, 11, 11], positions relative to their first voxels."""
    cases = tuple(getattr(all_cases(), field.name) for field in fields(Cases))
    num_vertices, num_triangles = np.empty(len(values), np.int64), np.empty(len(values), np.int64)
    iso_kernels.count(values, iso, cases, num_vertices, num_triangles)
    total, faces = int(num_vertices.sum()), int(num_triangles.sum())
    keys, corners = np.empty(total, np.int16), np.empty((faces, 3), np.int16)
    places, slopes = np.empty((total, 3)), np.empty((total, 3))
    iso_kernels.extract(values, iso, cases, keys, places, slopes, corners)
    return _Pieces(num_vertices, num_triangles, keys, places, slopes, corners)


def _joined(pieces: list[_Pieces]) -> _Pieces:
    if not pieces:
        none, points = np.zeros(0, np.int64), np.zeros((0, 3))
        return _Pieces(none, none, np.zeros(0, np.int16), points, points, np.zeros((0, 3), np.int16))
    return _Pieces(*(np.concatenate([getattr(piece, name) for piece in pieces]) for name in _Pieces.__annotations__))


def _triangles(origins: np.ndarray, pieces: _Pieces) -> np.ndarray:
    """[m, 3] rows of vertices: corners are looked up in their own block and in those ahead of it."""
    table = OriginTable(origins)
    ahead = np.stack([table.find(origins + step * 8) for step in AHEAD], axis=1)
    starts = np.concatenate([[0], np.cumsum(pieces.num_vertices)])
    blocks = np.repeat(np.arange(len(origins)), pieces.num_triangles)
    triangles = np.empty(pieces.corners.shape, np.int64)
    complete = iso_kernels.resolve(pieces.corners, blocks, ahead, starts, pieces.keys, triangles)
    assert complete, "a vertex belongs to a block that was left out"
    return triangles
