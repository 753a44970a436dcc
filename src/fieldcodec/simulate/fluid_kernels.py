"""Loops over the cells of a staggered grid (compiled by numba).

Places are in cells: cell (i, j, k) goes from (i, j, k) to (i + 1, j + 1, k + 1). Fields are [c, nx, ny, nz], their
sample (i, j, k) at (i, j, k) + offset. Each kernel writes the rows `first` to `last` (exclusive) along x only, so
that rows can be given to threads.
"""

import numpy as np

from fieldcodec.jit import kernel

_TINY = 1e-20

# The functions below are compiled; numba infers their types, so they carry none.


@kernel
def _corner(place, offset, count):  # type: ignore[no-untyped-def]
    """The sample at or below a place along one axis of two samples or more, and the share of the next one."""
    at = min(max(place - offset, 0.0), count - 1.0)
    low = min(np.uint64(at), np.uint64(count - 2))  # unsigned: no code for indices counted from the end
    return low, np.float32(at - low)


@kernel
def _mix(part, i, j, k, s, t, r):  # type: ignore[no-untyped-def]
    """Trilinear mean of eight samples."""
    one = np.uint64(1)
    i1, j1, k1 = i + one, j + one, k + one
    a = part[i, j, k] + r * (part[i, j, k1] - part[i, j, k])
    b = part[i, j1, k] + r * (part[i, j1, k1] - part[i, j1, k])
    c = part[i1, j, k] + r * (part[i1, j, k1] - part[i1, j, k])
    d = part[i1, j1, k] + r * (part[i1, j1, k1] - part[i1, j1, k])
    a += t * (b - a)
    return a + s * (c + t * (d - c) - a)


@kernel
def _sample(part, x, y, z, ox, oy, oz):  # type: ignore[no-untyped-def]
    i, s = _corner(x, ox, part.shape[0])
    j, t = _corner(y, oy, part.shape[1])
    k, r = _corner(z, oz, part.shape[2])
    return _mix(part, i, j, k, s, t, r)


@kernel
def _velocity(u, v, w, x, y, z):  # type: ignore[no-untyped-def]
    a = _sample(u, x, y, z, 0.0, 0.5, 0.5)
    b = _sample(v, x, y, z, 0.5, 0.0, 0.5)
    return a, b, _sample(w, x, y, z, 0.5, 0.5, 0.0)


@kernel
def _trace(u, v, w, x, y, z, step):  # type: ignore[no-untyped-def]
    """Where the flow takes a place in `step` cells per unit of velocity, by the midpoint rule."""
    a, b, c = _velocity(u, v, w, x, y, z)
    half = 0.5 * step
    a, b, c = _velocity(u, v, w, x + half * a, y + half * b, z + half * c)
    return x + step * a, y + step * b, z + step * c


@kernel
def carry(fields, offset, u, v, w, step, first, last, places, carried):  # type: ignore[no-untyped-def]
    """Semi-Lagrangian advection: each sample gets the value of where it comes from, which `places` [3, ...] gets."""
    ox, oy, oz = offset
    _, _, ny, nz = fields.shape
    for i in range(first, last):
        for j in range(ny):
            for k in range(nz):
                x, y, z = _trace(u, v, w, i + ox, j + oy, k + oz, -step)
                places[0, i, j, k], places[1, i, j, k], places[2, i, j, k] = x, y, z
                for f in range(len(fields)):
                    carried[f, i, j, k] = _sample(fields[f], x, y, z, ox, oy, oz)


@kernel
def lost(fields, offset, u, v, w, step, first, last, carried, error):  # type: ignore[no-untyped-def]
    """What fields lose when they are carried there, which gave `carried`, and back again."""
    ox, oy, oz = offset
    _, _, ny, nz = fields.shape
    for i in range(first, last):
        for j in range(ny):
            for k in range(nz):
                x, y, z = _trace(u, v, w, i + ox, j + oy, k + oz, step)
                for f in range(len(fields)):
                    error[f, i, j, k] = fields[f, i, j, k] - _sample(carried[f], x, y, z, ox, oy, oz)


@kernel
def correct(fields, offset, places, error, first, last, carried):  # type: ignore[no-untyped-def]
    """Adds half of what was lost to `carried`, in place; values stay among those around the place they come from."""
    ox, oy, oz = offset
    _, nx, ny, nz = fields.shape
    for i in range(first, last):
        for j in range(ny):
            for k in range(nz):
                a, s = _corner(places[0, i, j, k], ox, nx)
                b, t = _corner(places[1, i, j, k], oy, ny)
                c, r = _corner(places[2, i, j, k], oz, nz)
                for f in range(len(fields)):
                    part = fields[f]
                    least = most = part[a, b, c]
                    for corner in range(1, 8):
                        value = part[
                            a + np.uint64(corner >> 2), b + np.uint64(corner >> 1 & 1), c + np.uint64(corner & 1)
                        ]
                        least, most = min(least, value), max(most, value)
                    value = carried[f, i, j, k] + np.float32(0.5) * _mix(error[f], a, b, c, s, t, r)
                    carried[f, i, j, k] = min(max(value, least), most)


@kernel
def _centre(part, axis, i, j, k):  # type: ignore[no-untyped-def]
    """Velocity along one axis in the middle of a cell; beyond the walls that of the cell next to it."""
    i = min(max(i, 0), part.shape[0] - 1 - (axis == 0))
    j = min(max(j, 0), part.shape[1] - 1 - (axis == 1))
    k = min(max(k, 0), part.shape[2] - 1 - (axis == 2))
    return 0.5 * (part[i, j, k] + part[i + (axis == 0), j + (axis == 1), k + (axis == 2)])


@kernel
def curl(u, v, w, first, last, vorticity):  # type: ignore[no-untyped-def]
    """Vorticity [4, nx, ny, nz] in the middle of the cells, its size last, by central differences over two cells."""
    for i in range(first, last):
        for j in range(vorticity.shape[2]):
            for k in range(vorticity.shape[3]):
                wy = _centre(w, 2, i, j + 1, k) - _centre(w, 2, i, j - 1, k)
                vz = _centre(v, 1, i, j, k + 1) - _centre(v, 1, i, j, k - 1)
                uz = _centre(u, 0, i, j, k + 1) - _centre(u, 0, i, j, k - 1)
                wx = _centre(w, 2, i + 1, j, k) - _centre(w, 2, i - 1, j, k)
                vx = _centre(v, 1, i + 1, j, k) - _centre(v, 1, i - 1, j, k)
                uy = _centre(u, 0, i, j + 1, k) - _centre(u, 0, i, j - 1, k)
                a, b, c = 0.5 * (wy - vz), 0.5 * (uz - wx), 0.5 * (vx - uy)
                vorticity[0, i, j, k], vorticity[1, i, j, k], vorticity[2, i, j, k] = a, b, c
                vorticity[3, i, j, k] = np.sqrt(a * a + b * b + c * c)


@kernel
def confine(vorticity, first, last, force):  # type: ignore[no-untyped-def]
    """Vorticity confinement, N x vorticity [3, nx, ny, nz]: N points to where the vorticity is larger, of length 1."""
    size = vorticity[3]
    nx, ny, nz = size.shape
    for i in range(first, last):
        for j in range(ny):
            for k in range(nz):
                x = size[min(i + 1, nx - 1), j, k] - size[max(i - 1, 0), j, k]
                y = size[i, min(j + 1, ny - 1), k] - size[i, max(j - 1, 0), k]
                z = size[i, j, min(k + 1, nz - 1)] - size[i, j, max(k - 1, 0)]
                scale = 1.0 / (np.sqrt(x * x + y * y + z * z) + _TINY)
                a, b, c = vorticity[0, i, j, k], vorticity[1, i, j, k], vorticity[2, i, j, k]
                force[0, i, j, k] = scale * (y * c - z * b)
                force[1, i, j, k] = scale * (z * a - x * c)
                force[2, i, j, k] = scale * (x * b - y * a)
