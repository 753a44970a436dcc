"""Whatever a grid holds, its iso-surface is closed, turned outwards, and has every voxel on its right side."""

from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldcodec.grid import masks
from fieldcodec.grid.build import grid_of_leaves
from fieldcodec.grid.iso_surface import IsoSurface, iso_surface
from fieldcodec.grid.lookup import blocks_at
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.testing.surfaces import check_closed

_SAMPLES = 12


@st.composite
def scalar_grids(draw: st.DrawFn) -> tuple[SparseGrid, float]:
    """Leaves of any scalars beside each other, tiles among them, and a value to cut at."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    at = np.array(draw(st.sampled_from([(0, 0, 0), (-16, 112, 4080), (-4104, 8, -136)])))
    places = np.stack(list(np.ndindex(3, 3, 2)))[rng.random(18) < draw(st.sampled_from([0.15, 0.5, 1.0]))]
    origins = at + places * masks.LEAF_DIM
    voxels = origins[:, None] + masks.slot_offsets(masks.LEAF_LOG2)
    kind = draw(st.sampled_from(["noise", "few values", "waves"]))
    if kind == "noise":
        values = rng.normal(size=voxels.shape[:2])
    elif kind == "few values":  # many are equal to each other, and to the value that is cut at
        values = rng.integers(-1, 2, voxels.shape[:2]).astype(float)
    else:
        slopes = rng.normal(size=(3, 3)) * 0.4
        values = np.sin(voxels @ slopes).sum(axis=-1)
    kind = draw(st.sampled_from(["float", "double", "half"]))
    background = draw(st.sampled_from([-2.0, 2.0]))
    grid = grid_of_leaves(
        "any", origins, masks.pack(rng.random(values.shape) < 0.5), values[..., None], value_type=kind,
        background=background, transform=GridTransform.uniform(1.0),
    )  # fmt: skip
    tiles = grid.lower_tile_values.copy()
    tiles[rng.random(len(tiles)) < draw(st.sampled_from([0.0, 0.01]))] = -background
    return replace(grid, lower_tile_values=tiles), draw(st.sampled_from([0.0, 0.25, -1.0]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scalar_grids(), st.integers(0, 2**32 - 1))
def test_the_surface_is_closed_and_parts_inside_from_outside(drawn: tuple[SparseGrid, float], seed: int) -> None:
    grid, iso = drawn
    surface = iso_surface(grid, iso)
    check_closed(surface)
    assert np.isfinite(surface.vertices).all()
    np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=1), 1, atol=1e-4)
    voxels, inside = _some_voxels(grid, iso, surface, np.random.default_rng(seed))
    np.testing.assert_allclose(winding_numbers(surface, voxels), inside, atol=1e-3)


def _some_voxels(
    grid: SparseGrid, iso: float, surface: IsoSurface, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Voxels beside the surface [n, 3], and which are inside."""
    if not len(surface.vertices):
        return np.zeros((0, 3)), np.zeros(0)
    near = surface.vertices[rng.integers(0, len(surface.vertices), _SAMPLES)]
    voxels = np.rint(near + rng.integers(-1, 2, near.shape)).astype(np.int64)
    local = voxels & (masks.LEAF_DIM - 1)
    blocks = blocks_at(grid, voxels - local)
    values = blocks.at(np.arange(len(voxels)), local[:, 0] << 6 | local[:, 1] << 3 | local[:, 2])[:, 0]
    inside_below = grid.background[0] > iso
    return voxels.astype(float), (values.astype(float) < iso) if inside_below else (values.astype(float) > iso)


def winding_numbers(surface: IsoSurface, points: np.ndarray) -> np.ndarray:
    """[n]: how often the surface goes around each point (van Oosterom and Strackee 1983)."""
    corners = surface.vertices[surface.triangles]
    result = np.empty(len(points))
    for row, point in enumerate(points):
        a, b, c = np.moveaxis(corners - point, 1, 0)
        la, lb, lc = (np.linalg.norm(side, axis=1) for side in (a, b, c))
        volume = np.einsum("ij,ij->i", a, np.cross(b, c))
        dots = [np.einsum("ij,ij->i", one, other) for one, other in ((a, b), (b, c), (c, a))]
        result[row] = np.arctan2(volume, la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb).sum() / (2 * np.pi)
    return result
