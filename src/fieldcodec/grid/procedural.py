"""Volumes made from formulas: level sets, fog and velocity, repeatable from a seed.

Nothing is ever dense: blocks of 64^3 voxels, then leaves, are dropped by a bound at their centre,
and voxel values are computed for the remaining leaves only, some hundred leaves at a time.
World space is index space times `voxel_size`.
"""

from collections.abc import Callable, Iterator

import numpy as np

from fieldcodec.errors import UsageError
from fieldcodec.grid import masks
from fieldcodec.grid.build import grid_of_leaves
from fieldcodec.grid.level_set import level_set_of_leaves
from fieldcodec.grid.noise import FractalNoise
from fieldcodec.grid.sparse_grid import FOG_VOLUME, STAGGERED, SparseGrid
from fieldcodec.grid.transform import GridTransform

ScalarFunction = Callable[[np.ndarray], np.ndarray]
"""[q, 3] float64 points in index space -> [q] values."""

_BLOCK = 64  # voxels
_BATCH = 128  # leaves, about 65,000 voxels: their numbers stay in the cache
_GYROID_SLOPE = 1.7321  # at least the largest gradient of the gyroid's formula, which is sqrt(3)
_SMALLEST = 16  # resolution


def level_set_of_function(
    name: str,
    distance: ScalarFunction,
    low: np.ndarray,
    high: np.ndarray,
    *,
    bound: ScalarFunction | None = None,
    half_width: float = 3.0,
    voxel_size: float = 1.0,
) -> SparseGrid:
    """A narrow-band level set of a signed distance function.

    Args:
        distance: signed distance in voxels, negative inside.
        low, high: [3] a box of voxels (`high` exclusive) around the band.
        bound: a function of the same sign, nowhere larger in size and of slope 1 at most; None takes `distance`.
    """
    lower_bound = bound or distance
    origins = _leaves(low, high, lambda centres, radius: np.abs(lower_bound(centres)) < half_width + radius)
    values = np.empty((len(origins), masks.LEAF_SLOTS), np.float32)
    background = float(np.float32(half_width * voxel_size))
    for rows, voxels in _batches(origins):
        values[rows] = np.clip(distance(voxels) * voxel_size, -background, background).reshape(-1, masks.LEAF_SLOTS)
    return level_set_of_leaves(
        name, origins, values, background=background, is_inside=lambda voxels: lower_bound(voxels.astype(float)) < 0,
        transform=GridTransform.uniform(voxel_size),
    )  # fmt: skip


def sphere_level_set(
    radius_voxels: float = 61.0,
    *,
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
    half_width: float = 3.0,
    voxel_size: float = 1.0,
    name: str = "sphere",
) -> SparseGrid:
    """A sphere; `centre` in voxels."""
    _check_positive(radius_voxels=radius_voxels, half_width=half_width, voxel_size=voxel_size)
    middle = np.asarray(centre, np.float64)
    reach = radius_voxels + half_width + 1
    return level_set_of_function(
        name, lambda p: np.linalg.norm(p - middle, axis=1) - radius_voxels, middle - reach, middle + reach,
        half_width=half_width, voxel_size=voxel_size,
    )  # fmt: skip


def torus_level_set(
    major_voxels: float = 44.0,
    minor_voxels: float = 17.0,
    *,
    half_width: float = 3.0,
    voxel_size: float = 1.0,
    name: str = "torus",
) -> SparseGrid:
    """A ring around the y axis: `major_voxels` from the origin to the middle of the tube of radius `minor_voxels`."""
    _check_positive(major_voxels=major_voxels, minor_voxels=minor_voxels, half_width=half_width, voxel_size=voxel_size)

    def distance(p: np.ndarray) -> np.ndarray:
        return np.hypot(np.hypot(p[:, 0], p[:, 2]) - major_voxels, p[:, 1]) - minor_voxels

    across, along = major_voxels + minor_voxels + half_width + 1, minor_voxels + half_width + 1
    reach = np.array([across, along, across])
    return level_set_of_function(name, distance, -reach, reach, half_width=half_width, voxel_size=voxel_size)


def gyroid_level_set(
    radius_voxels: float = 61.0,
    *,
    periods: float = 3.0,
    half_width: float = 3.0,
    voxel_size: float = 1.0,
    name: str = "gyroid",
) -> SparseGrid:
    """A ball with the channels of a gyroid cut out, `periods` of them across it: thin walls, high genus.

    The distance to the gyroid is its formula over its slope: exact to first order near the surface.
    """
    _check_positive(radius_voxels=radius_voxels, periods=periods, half_width=half_width, voxel_size=voxel_size)
    k = np.pi * periods / radius_voxels

    def formula(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sin, cos = np.sin(k * p), np.cos(k * p)
        value = np.einsum("qi,qi->q", sin, np.roll(cos, -1, axis=1))
        slope = cos * np.roll(cos, -1, axis=1) - sin * np.roll(sin, 1, axis=1)
        return value, np.linalg.norm(slope, axis=1)

    def ball(p: np.ndarray) -> np.ndarray:
        return np.linalg.norm(p, axis=1) - radius_voxels

    def distance(p: np.ndarray) -> np.ndarray:
        value, slope = formula(p)
        return np.maximum(value / (k * np.maximum(slope, 1e-3)), ball(p))

    def bound(p: np.ndarray) -> np.ndarray:
        return np.maximum(formula(p)[0] / (k * _GYROID_SLOPE), ball(p))

    reach = np.full(3, radius_voxels + half_width + 1)
    return level_set_of_function(
        name, distance, -reach, reach, bound=bound, half_width=half_width, voxel_size=voxel_size
    )


def blobs_level_set(
    radius_voxels: float = 61.0,
    *,
    seed: int = 0,
    num_blobs: int = 24,
    half_width: float = 3.0,
    voxel_size: float = 1.0,
    name: str = "blobs",
) -> SparseGrid:
    """Spheres at random places of a ball of `radius_voxels`, melted together by a soft minimum of their distances."""
    _check_positive(radius_voxels=radius_voxels, num_blobs=num_blobs, half_width=half_width, voxel_size=voxel_size)
    rng = np.random.default_rng(seed)
    sizes = radius_voxels * rng.uniform(0.1, 0.3, num_blobs)
    ways = rng.normal(size=(num_blobs, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    melt = 0.02 * radius_voxels
    room = radius_voxels - sizes - melt * np.log(num_blobs)  # so that the soft minimum stays inside the ball
    centres = ways * (room * rng.uniform(0.2, 1.0, num_blobs))[:, None]

    def distance(p: np.ndarray) -> np.ndarray:
        each = np.stack([np.linalg.norm(p - c, axis=1) - r for c, r in zip(centres, sizes, strict=True)])
        nearest = each.min(axis=0)
        return nearest - melt * np.log(np.exp((nearest - each) / melt).sum(axis=0))

    reach = np.full(3, radius_voxels + half_width + 1)
    return level_set_of_function(name, distance, -reach, reach, half_width=half_width, voxel_size=voxel_size)


def smoke_fog(resolution: int = 96, seed: int = 0, *, voxel_size: float = 1.0, name: str = "density") -> SparseGrid:
    """A rising plume (y is up) in resolution x 2 resolution x resolution voxels; density in (0.01, 1] is active."""
    _check_resolution(resolution)
    wind, detail = FractalNoise(seed, octaves=1), FractalNoise(seed + 1, octaves=5)
    phases = np.array([seed % 7, 1.3 * (seed % 5)])
    warp = 0.08  # how far the wind carries, as a share of the width

    def plume(unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance from the axis of the plume, and height as a share of the box."""
        height = unit[:, 1] / 2
        sway = 0.10 * height[:, None] * np.sin(np.outer(height, (9.0, 7.0)) + phases)
        return np.hypot(unit[:, 0] - 0.5 - sway[:, 0], unit[:, 2] - 0.5 - sway[:, 1]), height

    def radius_at(height: np.ndarray) -> np.ndarray:
        return 0.06 + 0.24 * np.sqrt(np.clip(height, 0, 1))

    def may_be_near(centres: np.ndarray, radius: float) -> np.ndarray:
        # Any voxel of the block is looked up at most this far from the centre, in which the axis
        # sways by 0.71 of it at most, and the plume is widest at the top.
        away = radius / resolution + warp * wind.largest * 3**0.5
        distance, height = plume(centres / resolution)
        return distance - 1.71 * away < 1.3 * radius_at(height + away / 2)

    def density(p: np.ndarray) -> np.ndarray:
        unit = p / resolution
        warped = unit + warp * np.stack([wind(unit * 3 + shift) for shift in (0.0, 17.3, 41.9)], axis=1)
        distance, height = plume(warped)
        body = np.clip(1.3 - distance / radius_at(height), 0, 1)
        height = unit[:, 1] / 2
        fade = np.clip(height / 0.03, 0, 1) * np.clip((1 - height) / 0.25, 0, 1)
        result, some = np.zeros(len(p)), (body > 0) & (fade > 0)
        wisps = detail(warped[some] * (9.0, 6.0, 9.0))
        result[some] = np.clip((1.5 * body[some] + 1.3 * wisps - 0.45) * fade[some], 0, 1)
        return result

    high = np.array([resolution, 2 * resolution, resolution])
    return _fog_of_function(name, density, np.zeros(3), high, may_be_near, voxel_size)


def cloud_fog(resolution: int = 128, seed: int = 0, *, voxel_size: float = 1.0, name: str = "density") -> SparseGrid:
    """A heap cloud in resolution x 0.6 resolution x 0.7 resolution voxels; density in (0.01, 1] is active."""
    _check_resolution(resolution)
    rng = np.random.default_rng(seed)
    detail = FractalNoise(seed + 1, octaves=6)
    size = np.array([1.0, 0.6, 0.7])
    radii = rng.uniform(0.08, 0.17, 18)
    place = rng.uniform(-1, 1, (18, 3)) * (0.5 * size - radii[:, None] - 0.04)
    centres = 0.5 * size + place * (1.0, 0.7, 0.8)

    def shell(unit: np.ndarray) -> np.ndarray:
        return np.min([np.linalg.norm(unit - c, axis=1) - r for c, r in zip(centres, radii, strict=True)], axis=0)

    def density(p: np.ndarray) -> np.ndarray:
        unit = p / resolution
        depth = 0.02 - shell(unit)
        some = depth > -0.10 * detail.largest
        depth[some] += 0.10 * detail(unit[some] * 8)
        return np.where(some, np.clip(depth * 12, 0, 1), 0.0)

    def may_be_near(centres: np.ndarray, radius: float) -> np.ndarray:
        return shell(centres / resolution) < 0.02 + 0.10 * detail.largest + radius / resolution

    return _fog_of_function(name, density, np.zeros(3), np.ceil(size * resolution), may_be_near, voxel_size)


def vortex_velocity(
    resolution: int = 64, seed: int = 0, *, voxel_size: float = 1.0, num_vortices: int = 12, name: str = "velocity"
) -> SparseGrid:
    """A staggered vec3s field of Gaussian vortices in a ball `resolution` voxels across, free of divergence.

    Each vortex at c with axis a and size r adds a x (p - c) exp(-|p - c|^2 / r^2). Component i of voxel p is
    the velocity at the middle of its lower face along axis i, p - e_i / 2.
    """
    _check_resolution(resolution)
    rng = np.random.default_rng(seed)
    radius = resolution / 2
    axes = rng.normal(size=(num_vortices, 3))
    centres = rng.uniform(-0.5, 0.5, (num_vortices, 3)) * radius
    sizes = radius * rng.uniform(0.2, 0.5, num_vortices)
    origins = _leaves(
        np.full(3, -radius), np.full(3, radius + 1), lambda p, reach: np.linalg.norm(p, axis=1) < radius + reach
    )
    values = np.zeros((len(origins), masks.LEAF_SLOTS, 3), np.float32)
    active = np.zeros((len(origins), masks.LEAF_SLOTS), bool)
    for rows, voxels in _batches(origins):
        active[rows] = (np.linalg.norm(voxels, axis=1) <= radius).reshape(-1, masks.LEAF_SLOTS)
        speed = np.zeros((len(voxels), 3))
        for i in range(3):
            for axis, centre, size in zip(axes, centres, sizes, strict=True):
                away = voxels - 0.5 * np.eye(3)[i] - centre
                decay = np.exp(-np.einsum("qj,qj->q", away, away) / size**2)
                j, k = (i + 1) % 3, (i + 2) % 3
                speed[:, i] += (axis[j] * away[:, k] - axis[k] * away[:, j]) / size * decay
        values[rows] = (speed * active[rows].reshape(-1, 1)).reshape(-1, masks.LEAF_SLOTS, 3)
    keep = active.any(axis=1)
    return grid_of_leaves(
        name, origins[keep], masks.pack(active[keep]), values[keep], value_type="vec3s",
        transform=GridTransform.uniform(voxel_size), grid_class=STAGGERED,
    )  # fmt: skip


def _fog_of_function(
    name: str,
    density: ScalarFunction,
    low: np.ndarray,
    high: np.ndarray,
    may_be_near: Callable[[np.ndarray, float], np.ndarray],
    voxel_size: float,
) -> SparseGrid:
    """A fog volume of the voxels of a box (`high` exclusive) whose density is over 0.01."""
    _check_positive(voxel_size=voxel_size)
    origins = _leaves(low, high, may_be_near)
    values = np.zeros((len(origins), masks.LEAF_SLOTS), np.float32)
    for rows, voxels in _batches(origins):
        some = density(voxels).astype(np.float32)
        some[(some <= 0.01) | np.any((voxels < low) | (voxels >= high), axis=1)] = 0
        values[rows] = some.reshape(-1, masks.LEAF_SLOTS)
    active = values > 0
    keep = active.any(axis=1)
    return grid_of_leaves(
        name, origins[keep], masks.pack(active[keep]), values[keep, :, None],
        transform=GridTransform.uniform(voxel_size), grid_class=FOG_VOLUME,
    )  # fmt: skip


def _leaves(low: np.ndarray, high: np.ndarray, may_be_near: Callable[[np.ndarray, float], np.ndarray]) -> np.ndarray:
    """[n, 3] int64 origins of the leaves of a box that pass `may_be_near(centres, radius)`, by blocks first."""
    origins = np.zeros((0, 3), np.int64)
    for step, around in ((_BLOCK, None), (masks.LEAF_DIM, _BLOCK)):
        if around is None:
            first, last = np.floor(low / step).astype(int), np.ceil(high / step).astype(int)
            origins = np.stack(np.meshgrid(*map(np.arange, first, last), indexing="ij"), -1).reshape(-1, 3) * step
        else:
            inner = masks.slot_offsets(masks.LEAF_LOG2).astype(np.int64) * step
            origins = (origins[:, None] + inner).reshape(-1, 3)
            origins = origins[np.all((origins < high) & (origins + step > low), axis=1)]
        middle = (step - 1) / 2
        origins = origins[may_be_near(origins + middle, middle * 3**0.5)]
    return origins


def _batches(origins: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of some leaves, and their voxels as [q, 3] float64, a bounded number at a time."""
    offsets = masks.slot_offsets(masks.LEAF_LOG2)
    for first in range(0, len(origins), _BATCH):
        rows = slice(first, first + _BATCH)
        yield rows, (origins[rows, None] + offsets).reshape(-1, 3).astype(np.float64)


def _check_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not (np.isfinite(number) and number > 0):
            raise UsageError(f"{name} is {number}; it must be a positive number")


def _check_resolution(resolution: int) -> None:
    if resolution < _SMALLEST:
        raise UsageError(f"resolution is {resolution}; it counts voxels and must be {_SMALLEST} at least")


def _radius(resolution: int) -> float:
    """Radius of a level set whose active voxels, 3 beyond the surface, are `resolution` across."""
    _check_resolution(resolution)
    return resolution / 2 - 3


PROCEDURALS: dict[str, Callable[[int, int], SparseGrid]] = {
    "sphere": lambda resolution, seed: sphere_level_set(_radius(resolution)),
    "torus": lambda resolution, seed: torus_level_set(0.7 * _radius(resolution), 0.3 * _radius(resolution)),
    "gyroid": lambda resolution, seed: gyroid_level_set(_radius(resolution)),
    "blobs": lambda resolution, seed: blobs_level_set(_radius(resolution), seed=seed),
    "smoke": lambda resolution, seed: smoke_fog(resolution, seed),
    "cloud": lambda resolution, seed: cloud_fog(resolution, seed),
    "vortex": lambda resolution, seed: vortex_velocity(resolution, seed),
}
"""Makers by name: (resolution, seed) -> grid. Resolution counts voxels across (smoke: half its height)."""
