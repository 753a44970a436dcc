"""Compiled kernel of motion compensation: numbers of an earlier frame's leaves at displaced places, in integers.

For every leaf the numbers around it are gathered into a window, which holds all places that its voxels come from.
What lies in no leaf of the earlier frame is continued there, or filled; then every voxel is interpolated by a
Catmull-Rom spline with weights of 12 bits. Where numbers are distances, they are multiplied by the ratio of the
slopes before and after the displacement, for motion that stretches space stretches distances with it.

All sums are integers below 2^62. The ratio is one quotient, one root and one product of float64, each rounded as
IEEE 754 says, so the result is the same on every machine.
"""

import math

import numpy as np
from numba import njit, prange

from fieldcodec.coding.neighbours import find

PLACE_BITS = 10  # of a displacement behind the point: motion is in 1/1024 voxel
WEIGHT_BITS = 12
SIDE = 24  # of the largest window: displacements of one leaf may differ by 12 voxels
_SPREAD = SIDE - 12  # 8 voxels of a leaf, one tap before them and two after them, and one to spare
_PASSES = 24  # of the continuation, one voxel each
UNKNOWN = np.int32(-(2**31))
_LEAST_RATIO, _LARGEST_RATIO = 0.5, 2.0
_LEAST_SQUARE, _LARGEST_SQUARE = 0.3, 3.0  # of a gradient, against that of a distance
_LEAST_FOOT, _LARGEST_FOOT = 0.5, 6.0  # voxels; feet of one leaf then fit into a window


@njit(cache=True, nogil=True)
def _clamped_spread(motion, lows, highs):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Smallest and largest whole displacement of a leaf along each axis; the largest is cut to what a window holds."""
    for axis in range(3):
        low, high = motion[axis, 0] >> PLACE_BITS, motion[axis, 0] >> PLACE_BITS
        for voxel in range(1, 512):
            whole = motion[axis, voxel] >> PLACE_BITS
            low, high = min(low, whole), max(high, whole)
        lows[axis], highs[axis] = low, min(high, low + _SPREAD)


@njit(cache=True, nogil=True)
def _gather(numbers, cells, table, corner, sizes, window):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the window from the leaves that meet it; True where some voxel lies in none."""
    missing = False
    x0, y0, z0 = corner[0], corner[1], corner[2]
    for lx in range(x0 >> 3, ((x0 + sizes[0] - 1) >> 3) + 1):
        for ly in range(y0 >> 3, ((y0 + sizes[1] - 1) >> 3) + 1):
            for lz in range(z0 >> 3, ((z0 + sizes[2] - 1) >> 3) + 1):
                row = find(table, cells, lx, ly, lz)
                missing |= row < 0
                for x in range(max(lx * 8, x0), min(lx * 8 + 8, x0 + sizes[0])):
                    for y in range(max(ly * 8, y0), min(ly * 8 + 8, y0 + sizes[1])):
                        for z in range(max(lz * 8, z0), min(lz * 8 + 8, z0 + sizes[2])):
                            value = numbers[row, (x & 7) << 6 | (y & 7) << 3 | (z & 7)] if row >= 0 else UNKNOWN
                            window[x - x0, y - y0, z - z0] = value
    return missing


@njit(cache=True, nogil=True)
def _continued(window, sizes, x, y, z, limit):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """What straight lines through two known voxels in a row say of an unknown one: their mean; UNKNOWN without any."""
    total, count = np.int64(0), 0
    for side in range(6):
        step = 1 if side & 1 else -1
        dx, dy, dz = (step, 0, 0) if side < 2 else ((0, step, 0) if side < 4 else (0, 0, step))
        far_x, far_y, far_z = x + 2 * dx, y + 2 * dy, z + 2 * dz
        if min(far_x, far_y, far_z) < 0 or far_x >= sizes[0] or far_y >= sizes[1] or far_z >= sizes[2]:
            continue
        near, far = window[x + dx, y + dy, z + dz], window[far_x, far_y, far_z]
        if near == UNKNOWN or far == UNKNOWN:
            continue
        total += 2 * np.int64(near) - np.int64(far)
        count += 1
    if count == 0:
        return UNKNOWN
    return np.int32(min(max(total // count, -limit), limit))


@njit(cache=True, nogil=True)
def _continue(window, sizes, fill, limit, found):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Continue known numbers into unknown voxels, one voxel a pass; what is unknown in the end gets `fill`."""
    for _ in range(_PASSES):
        count = 0
        for x in range(sizes[0]):
            for y in range(sizes[1]):
                for z in range(sizes[2]):
                    if window[x, y, z] == UNKNOWN:
                        value = _continued(window, sizes, x, y, z, limit)
                        if value != UNKNOWN:
                            found[count, 0], found[count, 1], found[count, 2], found[count, 3] = x, y, z, value
                            count += 1
        if count == 0:
            break
        for i in range(count):
            window[found[i, 0], found[i, 1], found[i, 2]] = found[i, 3]
    _fill(window, sizes, fill)


@njit(cache=True, nogil=True)
def _fill(window, sizes, fill):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    for x in range(sizes[0]):
        for y in range(sizes[1]):
            for z in range(sizes[2]):
                if window[x, y, z] == UNKNOWN:
                    window[x, y, z] = fill


@njit(cache=True, nogil=True)
def _interpolated(window, x, y, z, wx, wy, wz):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The spline from the 4 x 4 x 4 numbers whose first one is at (x, y, z)."""
    half = np.int64(1) << (WEIGHT_BITS - 1)
    total = np.int64(0)
    for i in range(4):
        plane = np.int64(0)
        for j in range(4):
            a, b = np.int64(window[x + i, y + j, z]), np.int64(window[x + i, y + j, z + 1])
            c, d = np.int64(window[x + i, y + j, z + 2]), np.int64(window[x + i, y + j, z + 3])
            plane += wy[j] * ((wz[0] * a + wz[1] * b + wz[2] * c + wz[3] * d + half) >> WEIGHT_BITS)
        total += wx[i] * ((plane + half) >> WEIGHT_BITS)
    return (total + half) >> WEIGHT_BITS


@njit(cache=True, nogil=True)
def _growth(motion, axis, voxel, along):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Change of one component of the motion over two voxels along an axis, one-sided at the faces of the leaf."""
    stride = 64 if along == 0 else (8 if along == 1 else 1)
    place = voxel // stride & 7
    if place == 0:
        return 2 * (np.int64(motion[axis, voxel + stride]) - motion[axis, voxel])
    if place == 7:
        return 2 * (np.int64(motion[axis, voxel]) - motion[axis, voxel - stride])
    return np.int64(motion[axis, voxel + stride]) - motion[axis, voxel - stride]


@njit(cache=True, nogil=True)
def _ratio_of_slopes(motion, voxel, gx, gy, gz):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Slope of the numbers where a voxel comes from over that of the displaced numbers: |g| / |(1 + grad m)^T g|."""
    one = np.int64(2) << PLACE_BITS
    largest = max(abs(gx), abs(gy), abs(gz))
    while largest >= 1 << 20:  # squares of products stay below 2^63
        gx, gy, gz, largest = gx >> 1, gy >> 1, gz >> 1, largest >> 1
    before = float(gx * gx + gy * gy + gz * gz)
    after = 0.0
    for along in range(3):
        own = gx if along == 0 else (gy if along == 1 else gz)
        total = one * own + gx * _growth(motion, 0, voxel, along)
        total += gy * _growth(motion, 1, voxel, along) + gz * _growth(motion, 2, voxel, along)
        total >>= PLACE_BITS - 1  # in quarters of the slope's unit
        after += float(min(max(total, -(1 << 24)), 1 << 24)) ** 2
    if before == 0.0 or after == 0.0:
        return 1.0
    return min(max(math.sqrt(16.0 * before / after), _LEAST_RATIO), _LARGEST_RATIO)


@njit(cache=True, nogil=True)
def _window_of_leaf(numbers, cells, table, origin, motion, fill, extend, limit, window, lows, highs):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the window of a leaf; sets the whole displacements at which it begins and ends."""
    corner, sizes = np.empty(3, np.int64), np.empty(3, np.int64)
    _clamped_spread(motion, lows, highs)
    for axis in range(3):
        corner[axis] = origin[axis] + lows[axis] - 1
        sizes[axis] = 12 + highs[axis] - lows[axis]
    if _gather(numbers, cells, table, corner, sizes, window):
        if extend:
            _continue(window, sizes, fill, limit, np.empty((SIDE * SIDE * SIDE, 4), np.int32))
        else:
            _fill(window, sizes, fill)


@njit(cache=True, nogil=True, parallel=True)
def warp(numbers, cells, table, origins, motion, weights, slopes, fill, extend, stretch, limit, out, gradients):  # type: ignore[no-untyped-def]  # pragma: no cover
    """out[n, 512] = numbers [N, 512] of the leaves at `cells`, interpolated where `motion` [3, n, 512] points.

    `origins` [n, 3] are of the leaves of the result, `weights` and `slopes` [1024, 4] of the spline and of its
    derivative. Where no leaf is, numbers are continued along straight lines if `extend`, else they are `fill`; they are
    stretched as motion stretches space if `stretch`. Results are kept within +-limit.

    `gradients` [3, n, 512], or [3, 0, 512] where they are not wanted, get the derivatives by the displacement.
    """
    mask = (1 << PLACE_BITS) - 1
    wanted = gradients.shape[1] > 0
    for leaf in prange(len(origins)):
        window = np.empty((SIDE, SIDE, SIDE), np.int32)
        lows, highs = np.empty(3, np.int64), np.empty(3, np.int64)
        own = motion[:, leaf]
        _window_of_leaf(
            numbers, cells, table, origins[leaf], own, fill, extend, limit, window, lows, highs
        )  # fmt: skip
        for voxel in range(512):
            mx, my, mz = own[0, voxel], own[1, voxel], own[2, voxel]
            x = (voxel >> 6) + min(mx >> PLACE_BITS, highs[0]) - lows[0]
            y = (voxel >> 3 & 7) + min(my >> PLACE_BITS, highs[1]) - lows[1]
            z = (voxel & 7) + min(mz >> PLACE_BITS, highs[2]) - lows[2]
            wx, wy, wz = weights[mx & mask], weights[my & mask], weights[mz & mask]
            value = _interpolated(window, x, y, z, wx, wy, wz)
            if stretch or wanted:
                gx = _interpolated(window, x, y, z, slopes[mx & mask], wy, wz)
                gy = _interpolated(window, x, y, z, wx, slopes[my & mask], wz)
                gz = _interpolated(window, x, y, z, wx, wy, slopes[mz & mask])
                ratio = _ratio_of_slopes(own, voxel, gx, gy, gz) if stretch else 1.0
                value = np.int64(np.rint(value * ratio))
                if wanted:
                    gradients[0, leaf, voxel] = gx * ratio
                    gradients[1, leaf, voxel] = gy * ratio
                    gradients[2, leaf, voxel] = gz * ratio
            out[leaf, voxel] = min(max(value, -limit), limit)


@njit(cache=True, nogil=True, parallel=True)
def feet(numbers, gradients, slope, motion):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """motion[3, n, 512] = from every voxel with distance numbers[n, 512] to the nearest place of the surface.

    Against the gradient [3, n, 512], as far as the distance says. Nowhere, where the gradient is not about `slope`
    long, as where two sides of the surface are equally far, and where the distance is below half a voxel or too long.
    """
    one = float(1 << PLACE_BITS)
    for leaf in prange(numbers.shape[0]):
        for voxel in range(512):
            # `float` would leave them in single precision, in which products are not exact
            gx, gy = np.float64(gradients[0, leaf, voxel]), np.float64(gradients[1, leaf, voxel])
            gz = np.float64(gradients[2, leaf, voxel])
            square = gx * gx
            square = square + gy * gy
            square = square + gz * gz
            number = float(numbers[leaf, voxel])
            size = abs(number) / slope
            good = _LEAST_SQUARE * slope * slope < square and square < _LARGEST_SQUARE * slope * slope
            if good and _LEAST_FOOT < size < _LARGEST_FOOT:
                step = -number / (slope * math.sqrt(square)) * one
                motion[0, leaf, voxel] = np.int32(np.rint(step * gx))
                motion[1, leaf, voxel] = np.int32(np.rint(step * gy))
                motion[2, leaf, voxel] = np.int32(np.rint(step * gz))
            else:
                motion[0, leaf, voxel], motion[1, leaf, voxel], motion[2, leaf, voxel] = 0, 0, 0
