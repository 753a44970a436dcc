"""Small volumes whose values are lattices, residuals or a mesh: everything that method has, a few leaves each."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any
from unittest.mock import patch

import numpy as np

import fieldcodec as fc
from fieldcodec.fit.refinement import RefinementOptions
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.procedural import level_set_of_function
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.io.mesh.voxelize import voxelize
from fieldcodec.volume import lattice_refinement, lattice_search, values_codec
from fieldcodec.volume.lattice_choice import Candidate
from fieldcodec.volume.quality import Quality

NOTHING = Candidate((), residual=True)


@dataclass(frozen=True)
class Case:
    """A grid, what is asked of it, and the one candidate that the search may choose.

    Attributes:
        expected: entries that the description of the values must have.
        sections: names of sections that must be there.
    """

    make: Callable[[], SparseGrid]
    quality: Quality
    candidate: Candidate
    expected: dict[str, Any] = field(default_factory=dict)
    sections: tuple[str, ...] = ()
    mesh: Callable[[], Mesh] | None = None

    def encoded(self) -> bytes:
        """The file."""
        settings = fc.VolumeSettings(quality=self.quality)
        with _only(self.candidate):
            mesh = None if self.mesh is None else self.mesh()
            volume = fc.encode_volume(self.make(), settings, mesh=mesh, device="cpu")
        return volume.to_bytes()


@contextmanager
def _only(candidate: Candidate) -> Iterator[None]:
    """Encodes with one candidate, and takes grids of a few voxels for large ones; networks are fitted in few steps."""
    with ExitStack() as patches:
        for name in ("_SURFACE", "_OTHER", "_BOUNDED"):
            patches.enter_context(patch.object(lattice_search, name, (candidate,)))
        patches.enter_context(patch.object(values_codec, "SMALL_GRID", 16))
        options = partial(RefinementOptions, steps=300, again=50)
        patches.enter_context(patch.object(lattice_refinement, "RefinementOptions", options))
        yield


@cache
def ball() -> SparseGrid:
    """A level set in leaves of 8 lower nodes."""
    middle = np.array([128.313, -128.237, 130.071])
    return level_set_of_function("ball", lambda p: np.linalg.norm(p - middle, axis=1) - 3.5, middle - 8, middle + 8)


@cache
def walls() -> SparseGrid:
    """A level set of two thin shells, whose signs are hard to tell."""
    middle = np.array([12.3, 12.2, 12.1])

    def distance(points: np.ndarray) -> np.ndarray:
        away: np.ndarray = np.linalg.norm(points - middle, axis=1)
        return np.abs(away - 5) - 0.5

    return level_set_of_function("walls", distance, middle - 9, middle + 9)


@cache
def wave(kind: str, noise: float = 0.01, side: int = 14, low: float = -0.3) -> SparseGrid:
    """A grid of any value type in up to 27 leaves, partly active."""
    rng = np.random.default_rng(3)
    axes = np.meshgrid(*[np.linspace(0, 3, side)] * 3, indexing="ij")
    waves = np.sin(axes[0] + 0.5) * np.cos(axes[1]) + 0.3 * np.sin(2 * axes[2])
    channels = 3 if kind.startswith("vec3") else 1
    values = np.stack([waves * (c + 1) + noise * rng.normal(size=waves.shape) for c in range(channels)], axis=-1)
    if kind.startswith(("int", "uint", "vec3i")):
        values = np.rint((values + 3) * 1000)
    return grid_of_dense(kind, values, waves > low, origin=(-134, 5, 121), value_type=kind, grid_class="fog volume")


@cache
def smoke(as_half: bool = False) -> SparseGrid:
    """Fog whose values repeat: its background and the end of its range."""
    grid = wave("float", 0.02, low=-2)
    values = np.clip(grid.leaf_values, 0, 0.6).astype(np.float32)
    return replace(grid, leaf_values=values, save_as_half=as_half, name="smoke")


@cache
def cloud() -> SparseGrid:
    """Fog that is active where there is any."""
    coarse = np.random.default_rng(2).uniform(-1, 1, (6, 6, 6))
    points = np.stack(np.meshgrid(*[np.arange(16)] * 3, indexing="ij"), axis=-1)
    density = np.zeros((16, 16, 16))
    for corner in np.ndindex(2, 2, 2):  # linear between points every four voxels
        share = np.prod(np.where(corner, points % 4, 4 - points % 4) / 4, axis=-1)
        density += share * coarse[tuple(np.moveaxis(points // 4 + corner, -1, 0))]
    return grid_of_dense("cloud", np.maximum(density, 0), density > 0, origin=(8, 8, 8), grid_class="fog volume")


@cache
def positive(kind: str) -> SparseGrid:
    """Values above 0.5, some of them in steps."""
    grid = wave(kind, side=10)
    values = np.abs(grid.leaf_values) + 0.5
    values[..., 0] = np.where(values[..., 0] > 1, np.round(values[..., 0] * 4) / 4, values[..., 0])
    return replace(grid, leaf_values=values.astype(grid.leaf_values.dtype), name=f"positive {kind}")


@cache
def octahedron() -> Mesh:
    """Eight triangles."""
    corners = np.array([[5, 0, 0], [-5, 0, 0], [0, 5, 0], [0, -5, 0], [0, 0, 5], [0, 0, -5]], np.float64)
    triangles = [(x, 2 + y, 4 + z) if (x + y + z) % 2 == 0 else (2 + y, x, 4 + z)
                 for x in (0, 1) for y in (0, 1) for z in (0, 1)]  # fmt: skip
    return Mesh.of(corners * [1.0, 0.9, 1.1] + [128.31, -128.27, 8.2], np.array(triangles))


@cache
def voxelized() -> SparseGrid:
    return voxelize(octahedron(), voxel_size=1.0, half_width=3.0)


def _levels(*levels: tuple[int, int, float], residual: bool = False, **other: Any) -> Candidate:
    return Candidate(levels, residual=residual, **other)


CASES: dict[str, Case] = {
    "lattice_surface": Case(
        ball, Quality(mcd=0.2), _levels((4, 3, 1.0)), {"guided": True, "banded": True, "residual": 0}
    ),
    "lattice_two_levels": Case(ball, Quality(mcd=0.2), _levels((8, 3, 1.0), (4, 3, 0.7)), {"residual": 0}),
    "lattice_stride_six": Case(ball, Quality(mcd=0.3), _levels((6, 3, 1.0)), {"banded": True, "residual": 0}),
    "lattice_linear": Case(lambda: wave("float"), Quality(rmse="5%"), _levels((4, 1, 1.0), (3, 1, 0.5)), {"exact": ""}),
    "lattice_residual": Case(
        ball, Quality(mcd=0.02), _levels((4, 3, 1.6), residual=True), {"exact": "", "banded": True}
    ),
    "lattice_guided_fog": Case(cloud, Quality(rmse="8%"), _levels((4, 1, 1.0)), {"guided": True, "banded": False}),
    "lattice_fog": Case(smoke, Quality(rmse="2%"), NOTHING, {"levels": []}, ("voxel residuals",)),
    "lattice_fog_half": Case(lambda: smoke(True), Quality(rmse="4%"), _levels((8, 3, 4.0), residual=True)),
    "lattice_bounded": Case(lambda: wave("float"), Quality(max_error="1%"), _levels((4, 1, 3.0), residual=True)),
    "lattice_vectors": Case(lambda: wave("vec3s", side=11), Quality(rmse="2%"), _levels((4, 3, 1.6), residual=True)),
    "lattice_int32": Case(lambda: wave("int32"), Quality(max_error=20), _levels((8, 3, 4.0), residual=True)),
    "lattice_exact_f4": Case(
        lambda: wave("float", side=11), Quality(lossless=True), _levels((4, 1, 3.0)), {"exact": "f4", "residual": 1}
    ),
    "lattice_exact_f2": Case(lambda: wave("half"), Quality(lossless=True), NOTHING, {"exact": "f2"}),
    "lattice_exact_f8": Case(
        lambda: positive("double"), Quality(lossless=True), _levels((8, 3, 4.0)), {"exact": "f8"}
    ),
    "lattice_exact_i4": Case(lambda: wave("int32"), Quality(lossless=True), NOTHING, {"exact": "i4"}),
    "lattice_exact_u4": Case(lambda: wave("uint32", side=11), Quality(lossless=True), NOTHING, {"exact": "u4"}),
    "lattice_exact_i8": Case(lambda: wave("int64", side=11), Quality(lossless=True), NOTHING, {"exact": "i8"}),
    "lattice_signs": Case(
        walls, Quality(iou=0.98), _levels((4, 3, 1.0), signs=True), {"signs": True}, ("signs",)
    ),
    "lattice_refined_surface": Case(
        ball, Quality(mcd=0.2), _levels((4, 3, 1.0), refined=True), {"refined": True, "residual": 0}, ("refinement",)
    ),
    "lattice_refined_fog": Case(
        cloud, Quality(rmse="4%"), _levels((8, 3, 4.0), residual=True, refined=True),
        {"refined": True, "banded": False}, ("refinement", "voxel residuals"),
    ),
    "lattice_refined_vectors": Case(
        lambda: wave("vec3s", side=10), Quality(rmse="4%"), _levels((4, 3, 1.0), refined=True), {"refined": True},
        ("refinement",),
    ),
    "lattice_refined_signs": Case(
        walls, Quality(iou=0.98), _levels((4, 3, 1.0), refined=True, signs=True), {"refined": True, "signs": True},
        ("refinement", "signs"),
    ),
    "lattice_mesh": Case(voxelized, Quality(mcd=0.08), _levels((2, 3, 1.0)), {"levels": []}, ("mesh",), octahedron),
}  # fmt: skip
