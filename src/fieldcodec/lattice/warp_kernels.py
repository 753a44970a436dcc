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

from fieldcodec.coding.neighbours import find
from fieldcodec.jit import inlined, kernel, row_kernel

PLACE_BITS = 10  # of a displacement behind the point: motion is in 1/1024 voxel
WEIGHT_BITS = 12
SIDE = 24  # of the largest window: displacements of one leaf may differ by 12 voxels
_SPREAD = SIDE - 12  # 8 voxels of a leaf, one tap before them and two after them, and one to spare
_PASSES = 24  # of the continuation, one voxel each
_LEAST_RATIO, _LARGEST_RATIO = 0.5, 2.0
_LEAST_SQUARE, _LARGEST_SQUARE = 0.3, 3.0  # of a gradient, against that of a distance
_LEAST_FOOT, _LARGEST_FOOT = 0.5, 6.0  # voxels; feet of one leaf then fit into a window


@kernel
def _clamped_spread(motion, lows, highs):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Smallest and largest whole displacement of a leaf along each axis; the largest is cut to what a window holds."""
    for axis in range(3):
        low, high = motion[axis, 0] >> PLACE_BITS, motion[axis, 0] >> PLACE_BITS
        for voxel in range(1, 512):
            whole = motion[axis, voxel] >> PLACE_BITS
            low, high = min(low, whole), max(high, whole)
        lows[axis], highs[axis] = low, min(high, low + _SPREAD)


@kernel
def _gather(numbers, cells, table, corner, sizes, window, known):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the window from the leaves that meet it, and `known`, rows of bits; True where some voxel lies in none."""
    missing = False
    known[:] = 0
    x0, y0, z0 = corner[0], corner[1], corner[2]
    for lx in range(x0 >> 3, ((x0 + sizes[0] - 1) >> 3) + 1):
        for ly in range(y0 >> 3, ((y0 + sizes[1] - 1) >> 3) + 1):
            for lz in range(z0 >> 3, ((z0 + sizes[2] - 1) >> 3) + 1):
                row = find(table, cells, lx, ly, lz)
                missing |= row < 0
                if row < 0:
                    continue
                first, last = max(lz * 8, z0), min(lz * 8 + 8, z0 + sizes[2])
                bits = ((np.int64(1) << (last - first)) - 1) << (first - z0)
                for x in range(max(lx * 8, x0), min(lx * 8 + 8, x0 + sizes[0])):
                    for y in range(max(ly * 8, y0), min(ly * 8 + 8, y0 + sizes[1])):
                        known[x - x0 + 2, y - y0 + 2] |= bits
                        for z in range(first, last):
                            window[x - x0, y - y0, z - z0] = numbers[row, (x & 7) << 6 | (y & 7) << 3 | (z & 7)]
    return missing


@kernel
def _needed(motion, lows, highs, moving_only, needed):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Fill rows of bits with the voxels of the window that are looked at: a spline looks at 4 x 4 x 4.

    With `moving_only`, voxels at rest look at themselves only.
    """
    needed[:] = 0
    for voxel in range(512):
        mx, my, mz = motion[0, voxel], motion[1, voxel], motion[2, voxel]
        if moving_only and not (mx | my | mz):
            continue
        x = (voxel >> 6) + min(mx >> PLACE_BITS, highs[0]) - lows[0]
        y = (voxel >> 3 & 7) + min(my >> PLACE_BITS, highs[1]) - lows[1]
        z = (voxel & 7) + min(mz >> PLACE_BITS, highs[2]) - lows[2]
        needed[x, y] |= np.int64(15) << z
    for x in range(SIDE):
        for y in range(SIDE - 1, 0, -1):
            for step in range(1, min(y, 3) + 1):
                needed[x, y] |= needed[x, y - step]
    for x in range(SIDE - 1, 0, -1):
        for step in range(1, min(x, 3) + 1):
            for y in range(SIDE):
                needed[x, y] |= needed[x - step, y]
    for voxel in range(512 if moving_only else 0):
        if not (motion[0, voxel] | motion[1, voxel] | motion[2, voxel]):
            x, y, z = (voxel >> 6) - lows[0], (voxel >> 3 & 7) - lows[1], (voxel & 7) - lows[2]
            needed[x + 1, y + 1] |= np.int64(2) << z


@kernel
def _all_known(needed, known):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    unknown = np.int64(0)
    for x in range(SIDE):
        for y in range(SIDE):
            unknown |= needed[x, y] & ~known[x + 2, y + 2]
    return unknown == 0


@kernel
def _continued(window, known, x, y, z, limit):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The mean of what straight lines through two known voxels in a row say of an unknown one; there is such a line."""
    total, count = np.int64(0), 0
    for side in range(6):
        step = 1 if side & 1 else -1
        dx, dy, dz = (step, 0, 0) if side < 2 else ((0, step, 0) if side < 4 else (0, 0, step))
        near, far = known[x + dx + 2, y + dy + 2], known[x + 2 * dx + 2, y + 2 * dy + 2]
        if z + 2 * dz >= 0 and near >> (z + dz) & far >> (z + 2 * dz) & 1:
            total += 2 * np.int64(window[x + dx, y + dy, z + dz]) - window[x + 2 * dx, y + 2 * dy, z + 2 * dz]
            count += 1
    return np.int32(min(max(total // count, -limit), limit))


@kernel
def _continue(window, sizes, fill, limit, needed, known):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Continue known numbers into unknown voxels, one voxel a pass, until all that are needed are known.

    What is unknown in the end gets `fill`. `known` has a margin of two rows without any.
    """
    every = (np.int64(1) << sizes[2]) - 1
    new = np.empty((SIDE, SIDE), np.int64)
    for _ in range(_PASSES):
        if _all_known(needed, known):
            return
        for x in range(sizes[0]):
            for y in range(sizes[1]):
                own = known[x + 2, y + 2]
                reached = (own >> 1 & own >> 2) | (own << 1 & own << 2)
                reached |= (known[x + 3, y + 2] & known[x + 4, y + 2]) | (known[x + 1, y + 2] & known[x, y + 2])
                reached |= (known[x + 2, y + 3] & known[x + 2, y + 4]) | (known[x + 2, y + 1] & known[x + 2, y])
                reached &= every & ~own
                new[x, y] = reached
                z = 0
                while reached:
                    if reached & 1:
                        window[x, y, z] = _continued(window, known, x, y, z, limit)
                    reached >>= 1
                    z += 1
        for x in range(sizes[0]):
            for y in range(sizes[1]):
                known[x + 2, y + 2] |= new[x, y]
    _fill(window, sizes, fill, known)


@kernel
def _fill(window, sizes, fill, known):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    for x in range(sizes[0]):
        for y in range(sizes[1]):
            for z in range(sizes[2]):
                if not known[x + 2, y + 2] >> z & 1:
                    window[x, y, z] = fill


@inlined
def _interpolated(window, x, y, z, wx, wy, wz):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The spline from the 4 x 4 x 4 numbers whose first one is at (x, y, z)."""
    half = np.int64(1) << (WEIGHT_BITS - 1)
    total = np.int64(0)
    for i in range(4):
        plane = np.int64(0)
        for j in range(4):
            plane += wy[j] * _along_z(window, x + i, y + j, z, wz)
        total += wx[i] * ((plane + half) >> WEIGHT_BITS)
    return (total + half) >> WEIGHT_BITS


@inlined
def _along_z(window, x, y, z, wz):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    half = np.int64(1) << (WEIGHT_BITS - 1)
    a, b = np.int64(window[x, y, z]), np.int64(window[x, y, z + 1])
    c, d = np.int64(window[x, y, z + 2]), np.int64(window[x, y, z + 3])
    return (wz[0] * a + wz[1] * b + wz[2] * c + wz[3] * d + half) >> WEIGHT_BITS


@inlined
def _with_slopes(window, x, y, z, wx, wy, wz, sx, sy, sz):  # type: ignore[no-untyped-def]  # pragma: no cover
    """`_interpolated`, and the same with weights of slopes along x, along y and along z, which share their sums."""
    half = np.int64(1) << (WEIGHT_BITS - 1)
    value, along_x, along_y, along_z = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for i in range(4):
        plain, in_y, in_z = np.int64(0), np.int64(0), np.int64(0)
        for j in range(4):
            line = _along_z(window, x + i, y + j, z, wz)
            plain += wy[j] * line
            in_y += sy[j] * line
            in_z += wy[j] * _along_z(window, x + i, y + j, z, sz)
        plain = (plain + half) >> WEIGHT_BITS
        value += wx[i] * plain
        along_x += sx[i] * plain
        along_y += wx[i] * ((in_y + half) >> WEIGHT_BITS)
        along_z += wx[i] * ((in_z + half) >> WEIGHT_BITS)
    return (
        (value + half) >> WEIGHT_BITS, (along_x + half) >> WEIGHT_BITS, (along_y + half) >> WEIGHT_BITS,
        (along_z + half) >> WEIGHT_BITS,
    )  # fmt: skip


@inlined
def _growth(motion, axis, voxel, along):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Change of one component of the motion over two voxels along an axis, one-sided at the faces of the leaf."""
    stride = 64 if along == 0 else (8 if along == 1 else 1)
    place = voxel // stride & 7
    if place == 0:
        return 2 * (np.int64(motion[axis, voxel + stride]) - motion[axis, voxel])
    if place == 7:
        return 2 * (np.int64(motion[axis, voxel]) - motion[axis, voxel - stride])
    return np.int64(motion[axis, voxel + stride]) - motion[axis, voxel - stride]


@inlined
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


@kernel
def _window_of_leaf(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    numbers, cells, table, origin, motion, fill, extend, moving_only, limit, window, lows, highs
):
    """Fill the window of a leaf; sets the whole displacements at which it begins and ends."""
    corner, sizes = np.empty(3, np.int64), np.empty(3, np.int64)
    _clamped_spread(motion, lows, highs)
    for axis in range(3):
        corner[axis] = origin[axis] + lows[axis] - 1
        sizes[axis] = 12 + highs[axis] - lows[axis]
    known = np.empty((SIDE + 4, SIDE + 4), np.int64)
    if _gather(numbers, cells, table, corner, sizes, window, known):
        if extend:
            needed = np.empty((SIDE, SIDE), np.int64)
            _needed(motion, lows, highs, moving_only, needed)
            _continue(window, sizes, fill, limit, needed, known)
        else:
            _fill(window, sizes, fill, known)


@row_kernel(128)
def warp(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    first, last, numbers, cells, table, origins, motion, weights, slopes, fill, extend, stretch, limit, out, gradients
):  # fmt: skip
    """out[n, 512] = numbers [N, 512] of the leaves at `cells`, interpolated where `motion` [3, n, 512] points.

    `origins` [n, 3] are of the leaves of the result, `weights` and `slopes` [1024, 4] of the spline and of its
    derivative. Where no leaf is, numbers are continued along straight lines if `extend`, else they are `fill`; they are
    stretched as motion stretches space if `stretch`. Results are kept within +-limit.

    `gradients` [3, n, 512], or [3, 0, 512] where they are not wanted, get the derivatives by the displacement.
    """
    mask = (1 << PLACE_BITS) - 1
    wanted = gradients.shape[1] > 0
    for leaf in range(first, last):
        window = np.empty((SIDE, SIDE, SIDE), np.int32)
        lows, highs = np.empty(3, np.int64), np.empty(3, np.int64)
        own = motion[:, leaf]
        _window_of_leaf(
            numbers, cells, table, origins[leaf], own, fill, extend, not (stretch or wanted), limit, window, lows, highs
        )
        for voxel in range(512):
            mx, my, mz = own[0, voxel], own[1, voxel], own[2, voxel]
            x = (voxel >> 6) + min(mx >> PLACE_BITS, highs[0]) - lows[0]
            y = (voxel >> 3 & 7) + min(my >> PLACE_BITS, highs[1]) - lows[1]
            z = (voxel & 7) + min(mz >> PLACE_BITS, highs[2]) - lows[2]
            wx, wy, wz = weights[mx & mask], weights[my & mask], weights[mz & mask]
            if not (stretch or wanted or mx | my | mz):  # at rest: the number itself
                value = np.int64(window[x + 1, y + 1, z + 1])
            elif not (stretch or wanted):
                value = _interpolated(window, x, y, z, wx, wy, wz)
            else:
                sx, sy, sz = slopes[mx & mask], slopes[my & mask], slopes[mz & mask]
                value, gx, gy, gz = _with_slopes(window, x, y, z, wx, wy, wz, sx, sy, sz)
                ratio = _ratio_of_slopes(own, voxel, gx, gy, gz) if stretch else 1.0
                value = np.int64(np.rint(value * ratio))
                if wanted:
                    gradients[0, leaf, voxel] = gx * ratio
                    gradients[1, leaf, voxel] = gy * ratio
                    gradients[2, leaf, voxel] = gz * ratio
            out[leaf, voxel] = min(max(value, -limit), limit)


@row_kernel(1024)
def feet(first, last, numbers, gradients, slope, motion):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """motion[3, n, 512] = from every voxel with distance numbers[n, 512] to the nearest place of the surface.

    Against the gradient [3, n, 512], as far as the distance says. Nowhere, where the gradient is not about `slope`
    long, as where two sides of the surface are equally far, and where the distance is below half a voxel or too long.
    """
    one = float(1 << PLACE_BITS)
    for leaf in range(first, last):
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


@row_kernel(1024)
def mend(first, last, numbers, motion, there, most, limit):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """numbers[n, 512] += what is `there`, where a foot [3, n, 512] is and finds less than `most`; within +-limit."""
    for leaf in range(first, last):
        for voxel in range(512):
            foot = motion[0, leaf, voxel] | motion[1, leaf, voxel] | motion[2, leaf, voxel]
            if foot != 0 and abs(there[leaf, voxel]) < most:
                value = np.int64(numbers[leaf, voxel]) + there[leaf, voxel]
                numbers[leaf, voxel] = min(max(value, -limit), limit)
