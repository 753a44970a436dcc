"""Groups of frames whose grids are predicted from the frame before: all that lattices can have, and networks."""

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
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.volume import lattice_refinement, lattice_search, network_encode, values_codec
from fieldcodec.volume.lattice_choice import Candidate
from fieldcodec.volume.lattice_encode import Attempt, LatticeFitter
from fieldcodec.volume.quality import Quality
from fieldcodec.volume.sequence.compressed import CompressedSequence
from fieldcodec.volume.sequence.group import CompressedGroup
from fieldcodec.volume.sequence.group_encode import encode_frames

_CANDIDATES = ("_SURFACE", "_OTHER", "_BOUNDED", "_PREDICTED_SURFACE", "_PREDICTED_OTHER")
NUMBERS = (3, 4, 7)
NETWORKS = fc.VolumeSettings(
    method="network", tree="neural", epochs=40, level1_width=6, level0_width=8, value_width=8, fourier_size=6,
    fourier_scale=2.0, batch_size=512, level1_depth=1, level0_depth=2, value_depth=2, target_rmse=0.0,
    subdomain_size=64,
)  # fmt: skip
MOTION = Candidate(())
_NUM_BYTES = LatticeFitter.num_bytes
RESIDUAL = Candidate((), residual=True)


@cache
def ball(frame: int) -> SparseGrid:
    """A level set that grows and crosses from one lower node to the next."""
    middle = np.array([125.3 + 1.3 * frame, 12.2 + 0.4 * frame, 8.1])
    return _level_set(middle, lambda away: away - 3.5 - 0.3 * frame)


@cache
def walls(frame: int) -> SparseGrid:
    """Two thin shells, whose signs are hard to tell."""
    return _level_set(np.array([12.3 + 0.8 * frame, 12.2, 12.1]), lambda away: np.abs(away - 4) - 0.5)


def _level_set(middle: np.ndarray, distance: Callable[[np.ndarray], np.ndarray]) -> SparseGrid:
    def at(points: np.ndarray) -> np.ndarray:
        return distance(np.linalg.norm(points - middle, axis=1))

    return level_set_of_function("surface", at, middle - 8, middle + 8, voxel_size=0.5)


@cache
def fog(frame: int, kind: str = "float", *, as_half: bool = False) -> SparseGrid:
    """A turning cloud of any value type, active where there is any."""
    points = np.stack(np.meshgrid(*[np.arange(16.0)] * 3, indexing="ij"), axis=-1) - 7.5
    angle = 0.15 * frame
    turned = points @ np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    away = np.square((turned - [0.4 * frame, 0, 0]) / [6, 3, 4]).sum(axis=-1)
    density = np.maximum(np.exp(-away) * (1 + 0.3 * np.sin(turned[..., 1])) - 0.05, 0)
    channels = 3 if kind.startswith("vec3") else 1
    values = np.stack([density * (c + 1) for c in range(channels)], axis=-1)
    if kind.startswith(("int", "uint", "vec3i")):
        values = np.rint(values * 4000)
    grid = grid_of_dense(kind, values, density > 0, origin=(8, 0, 8), value_type=kind, grid_class="fog volume")
    return replace(grid, save_as_half=as_half)


@cache
def drop(frame: int) -> SparseGrid:
    """A small ball that goes on in a few leaves."""
    middle = np.array([8.3 + 0.4 * frame, 7.9, 8.1])
    return level_set_of_function(
        "drop", lambda points: np.linalg.norm(points - middle, axis=1) - 2.5, np.full(3, 2), np.full(3, 14),
        half_width=2.0,
    )  # fmt: skip


@cache
def smoke(frame: int) -> SparseGrid:
    """Values in a row of leaves, of two subdomains: the second, both, the first."""
    x, y, z = np.meshgrid(np.arange((80, 32, 0)[frame], (104, 88, 24)[frame]), *[np.arange(8)] * 2, indexing="ij")
    density = np.sin(x / 9 + y / 7 + 0.5 * frame) + 0.05 * z + 0.5
    return grid_of_dense("smoke", density[..., None], density > 0, origin=(int(x[0, 0, 0]), 0, 0), value_type="float")


@dataclass(frozen=True)
class Case:
    """A grid of every frame, what is asked of it, and the one candidate that the search may choose.

    Attributes:
        expected: entries that the description of later frames' values must have.
        sections: names of sections that later frames must have.
        frames: how many there are.
    """

    make: Callable[[int], SparseGrid]
    quality: Quality
    candidate: Candidate
    expected: dict[str, Any] = field(default_factory=dict)
    sections: tuple[str, ...] = ()
    frames: int = 2

    def encoded(self) -> CompressedGroup:
        """All later frames are predicted."""
        with only(self.candidate):
            frames = [VolumeFile((self.make(frame),)) for frame in range(self.frames)]
            return group(frames, fc.VolumeSettings(quality=self.quality))


def group(frames: list[VolumeFile], settings: fc.VolumeSettings) -> CompressedGroup:
    numbers = NUMBERS[: len(frames)]
    labels = [str(number) for number in numbers]
    return CompressedGroup(numbers, tuple(encode_frames(frames, settings, labels=labels, device="cpu")))


@contextmanager
def small_grids() -> Iterator[None]:
    """Takes grids of a few voxels for large ones, for which lattices are worth while whatever they cost."""
    with patch.object(values_codec, "SMALL_GRID", 16), patch.object(values_codec, "HOPELESS", 0.01):
        yield


@contextmanager
def only(candidate: Candidate) -> Iterator[None]:
    """Encodes with one candidate, predicted wherever there is an earlier frame; networks are fitted in few steps."""
    with ExitStack() as patches:
        patches.enter_context(small_grids())
        for name in _CANDIDATES:
            patches.enter_context(patch.object(lattice_search, name, (candidate,)))
        patches.enter_context(patch.object(LatticeFitter, "num_bytes", _many_bytes_alone))
        options = partial(RefinementOptions, steps=200, again=30)
        patches.enter_context(patch.object(lattice_refinement, "RefinementOptions", options))
        yield


def _many_bytes_alone(fitter: LatticeFitter, attempt: Attempt) -> int:
    return _NUM_BYTES(fitter, attempt) + (10**6 if fitter.motion is None else 0)


@cache
def several() -> bytes:
    """A file of three frames with a level set, fog and vectors, encoded as any other."""
    frames = [VolumeFile((ball(frame), fog(frame), fog(frame, "vec3s"))) for frame in range(3)]
    with small_grids():
        whole = group(frames, fc.VolumeSettings(quality=Quality(rmse="2%")))
    return CompressedSequence.of_groups([whole]).to_bytes()


@cache
def renamed() -> bytes:
    """A file of three frames, each with the state of the frame before under another name."""
    frames = [VolumeFile((fog(frame + 1), replace(fog(frame), name="before"))) for frame in range(3)]
    with small_grids():
        whole = group(frames, fc.VolumeSettings(quality=Quality(rmse="2%")))
    return CompressedSequence.of_groups([whole]).to_bytes()


@cache
def networks() -> bytes:
    """A file of three frames held by networks: smoke with classifiers, and a level set whose values guide its masks."""
    guiding = replace(NETWORKS, tree="explicit", epochs=100)
    with small_grids(), patch.object(network_encode, "_GAIN", 100.0):
        clouds = group([VolumeFile((smoke(frame),)) for frame in range(3)], NETWORKS)
        drops = group([VolumeFile((drop(frame),)) for frame in range(3)], guiding)
    pairs = zip(clouds.volumes, drops.volumes, strict=True)
    volumes = tuple(replace(cloud, grids=cloud.grids + other.grids) for cloud, other in pairs)
    return CompressedSequence.of_groups([CompressedGroup(NUMBERS, volumes)]).to_bytes()


def _levels(*levels: tuple[int, int, float], residual: bool = False, **other: Any) -> Candidate:
    return Candidate(levels, residual=residual, **other)


CASES: dict[str, Case] = {
    "surface": Case(ball, Quality(iou=0.5), _levels((4, 3, 1.0)), {"banded": True, "residual": 0}, frames=3),
    "surface_residual": Case(ball, Quality(mcd=0.05), RESIDUAL, {"levels": []}, ("voxel residuals",)),
    "surface_exact": Case(ball, Quality(lossless=True), MOTION, {"exact": "f4", "banded": True}),
    "signs": Case(
        walls, Quality(iou=0.98), _levels((4, 3, 1.0), refined=True, signs=True), {"refined": True, "signs": True},
        ("refinement", "signs"),
    ),
    "fog": Case(fog, Quality(rmse="3%"), RESIDUAL, {"banded": False}, ("voxel residuals",), frames=3),
    "fog_half": Case(
        partial(fog, as_half=True), Quality(rmse="3%"), _levels((8, 3, 4.0), residual=True), {}, ("voxel residuals",)
    ),
    "fog_exact": Case(fog, Quality(lossless=True), MOTION, {"exact": "f4", "residual": 1}),
    "vectors": Case(partial(fog, kind="vec3s"), Quality(rmse="3%"), _levels((4, 3, 1.0)), {"residual": 0}),
    "integers": Case(partial(fog, kind="int32"), Quality(max_error=60), RESIDUAL, {"exact": ""}),
    "integers_exact": Case(partial(fog, kind="int64"), Quality(lossless=True), MOTION, {"exact": "i8"}),
    "doubles": Case(partial(fog, kind="double"), Quality(rmse="3%"), RESIDUAL, {"exact": ""}),
}  # fmt: skip


@cache
def encoded(name: str) -> CompressedGroup:
    return CASES[name].encoded()
