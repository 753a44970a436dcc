"""Pressure projection: the part of a velocity field that has divergence taken out, exactly, in one go.

On a staggered grid (see `fieldcodec.simulate.fluid`) with walls at all sides, or with air of no pressure above the top,
Poisson's equation falls apart into one tridiagonal system along y for each pair of waves along x and z:

    divergence -> cosine transform along x, z -> tridiagonal systems along y -> back -> pressure -> velocity - gradient

The cosine transforms are numpy's FFTs of the values in another order: J. Makhoul, "A fast cosine transform in one and
two dimensions", 1980.
"""

import numpy as np

from fieldcodec.jit import kernel
from fieldcodec.threads import map_threads

Faces = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Velocity along x [nx + 1, ny, nz], y [nx, ny + 1, nz], z [nx, ny, nz + 1] at the faces between cells."""

_SLAB = 8  # rows of an array that are transformed at once


def divergence(velocity: Faces) -> np.ndarray:
    """[nx, ny, nz] float64: what flows out of each cell, in faces' areas times velocity."""
    x, y, z = (part.astype(np.float64, copy=False) for part in velocity)
    return np.asarray((x[1:] - x[:-1]) + (y[:, 1:] - y[:, :-1]) + (z[:, :, 1:] - z[:, :, :-1]))


def close_walls(velocity: Faces, *, open_top: bool) -> None:
    """Nothing flows through the walls; in place."""
    for axis, part in enumerate(velocity):
        ends = np.moveaxis(part, axis, 0)
        ends[0] = 0.0
        if not (open_top and axis == 1):
            ends[-1] = 0.0


def project(velocity: Faces, *, open_top: bool) -> None:
    """Takes the divergence out of a velocity field by subtracting a gradient, in place.

    Args:
        open_top: the pressure is 0 at the last face along y, and air goes in and out there; otherwise it is a wall.
    """
    close_walls(velocity, open_top=open_top)
    pressure = solve_poisson(divergence(velocity), open_top=open_top)
    x, y, z = velocity
    x[1:-1] -= np.diff(pressure, axis=0)
    y[:, 1:-1] -= np.diff(pressure, axis=1)
    z[:, :, 1:-1] -= np.diff(pressure, axis=2)
    if open_top:
        y[:, -1] += 2.0 * pressure[:, -1]  # the pressure beyond the face is the opposite


def solve_poisson(right: np.ndarray, *, open_top: bool) -> np.ndarray:
    """p [nx, ny, nz] float64 whose sum of differences to its six neighbours is `right`.

    Walls reflect p. Where all sides are walls the sum of `right` must be 0, and p is one of many solutions.
    """
    waves = _cosines(_cosines(right, 0), 2)
    along_x, along_z = _eigenvalues(right.shape[0]), _eigenvalues(right.shape[2])
    map_threads(lambda row: _solve_columns(waves[row], along_x[row] + along_z, open_top), range(len(waves)), None)
    return _values(_values(waves, 2), 0)


def _eigenvalues(count: int) -> np.ndarray:
    """Of the second difference between reflecting walls, one to a cosine."""
    return np.asarray(-4.0 * np.sin(np.pi * np.arange(count) / (2 * count)) ** 2)


def _cosines(values: np.ndarray, axis: int) -> np.ndarray:
    """Cosine transform (type II): sum_n 2 x_n cos(pi k (2 n + 1) / (2 N)) along an axis."""
    lines = np.ascontiguousarray(np.moveaxis(values, axis, -1))
    count, result = lines.shape[-1], np.empty_like(lines)
    twist = 2.0 * np.exp(-0.5j * np.pi * np.arange(count // 2 + 1) / count)

    def transform(rows: slice) -> None:
        part = lines[rows]
        half = np.fft.rfft(np.concatenate([part[..., ::2], part[..., 1::2][..., ::-1]], axis=-1)) * twist
        result[rows][..., : count // 2 + 1] = half.real
        result[rows][..., count // 2 + 1 :] = -half.imag[..., (count - 1) // 2 : 0 : -1]

    map_threads(transform, _slabs(len(lines)), None)
    return np.ascontiguousarray(np.moveaxis(result, -1, axis))


def _values(waves: np.ndarray, axis: int) -> np.ndarray:
    """The inverse of `_cosines`."""
    lines = np.ascontiguousarray(np.moveaxis(waves, axis, -1))
    count, result = lines.shape[-1], np.empty_like(lines)
    twist = 0.5 * np.exp(0.5j * np.pi * np.arange(count // 2 + 1) / count)

    def transform(rows: slice) -> None:
        part = lines[rows]
        half = part[..., : count // 2 + 1].astype(np.complex128)
        half[..., 1:] -= 1j * part[..., : (count - 1) // 2 : -1]
        ordered = np.fft.irfft(half * twist, count)
        result[rows][..., ::2] = ordered[..., : (count + 1) // 2]
        result[rows][..., 1::2] = ordered[..., (count + 1) // 2 :][..., ::-1]

    map_threads(transform, _slabs(len(lines)), None)
    return np.ascontiguousarray(np.moveaxis(result, -1, axis))


def _slabs(count: int) -> list[slice]:
    return [slice(first, first + _SLAB) for first in range(0, count, _SLAB)]


@kernel
def _solve_columns(waves, eigenvalues, open_top):  # type: ignore[no-untyped-def]
    """Solves waves [ny, nz] in place: the second difference along y plus eigenvalues [nz], walls at both ends of y.

    Thomas's elimination; the systems are diagonally dominant. Where one is singular its last value is set to 0.
    """
    ny, nz = waves.shape
    ratio = np.empty((ny, nz))  # of each value to the next
    for z in range(nz):
        for y in range(ny):
            below, above = y > 0, y < ny - 1
            pivot = eigenvalues[z] - below - above - (2.0 if open_top and not above else 0.0)
            if below:
                pivot += ratio[y - 1, z]
                waves[y, z] -= waves[y - 1, z]
            if not above and not open_top and eigenvalues[z] == 0.0:
                waves[y, z] = 0.0
                pivot = 1.0
            ratio[y, z] = -1.0 / pivot
            waves[y, z] /= pivot
    for y in range(ny - 2, -1, -1):
        for z in range(nz):
            waves[y, z] += ratio[y, z] * waves[y + 1, z]
