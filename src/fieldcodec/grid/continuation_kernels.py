"""Compiled kernels of `fieldcodec.grid.continuation`: one leaf at a time, with two voxels of its neighbours around it.

A leaf is solved in a copy of 12^3 voxels: its own in the middle, two layers of each face neighbour, NaN where there
is none (edges and corners are never read). Leaves of one parity share no face, so they are solved at the same time
and in place, and the result does not depend on the number of threads.
"""

import math

import numpy as np

from fieldcodec.jit import kernel, row_kernel

_HALO = 2  # layers of the neighbours a second-order difference reaches into
_DIM = 8 + 2 * _HALO
_STEP_X, _STEP_Y = _DIM * _DIM, _DIM
_FIRST = _HALO * (_STEP_X + _STEP_Y + 1)  # place of voxel (0, 0, 0) of the leaf
_FIXED, _SETTLED, _PENDING = 0, 1, 2  # known or outside; needs no update; must be solved again
_WAYS = (0, 7, 1, 6, 2, 5, 4, 3)  # directions of the sweeps, bit k set: down axis k; seen from the first one
_MAX_SWEEPS = 32  # a distance settles within 8 or so; a field that is none might never
_STEEPEST = 1.5  # voxels: a steeper step between two voxels is a jump, which no difference may cross


@row_kernel(1 << 11)
def start(first, last, stored, active, result, stats):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Active voxels take their value, the others infinity with the sign of theirs; smallest and largest active value.

    stored [n, 512], active [n, 64] packed -> result [n, 512] float32, stats [n, 2] (inf, -inf without active voxel).
    """
    for leaf in range(first, last):
        low, high = np.inf, -np.inf
        for slot in range(512):
            value = stored[leaf, slot]
            if active[leaf, slot >> 3] >> (slot & 7) & 1:
                result[leaf, slot] = value
                low, high = min(low, value), max(high, value)
            else:
                result[leaf, slot] = -np.inf if value < 0 else np.inf
        stats[leaf, 0], stats[leaf, 1] = low, high


@row_kernel(1 << 11)
def finish(first, last, stored, active, least, fill, result):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Inactive voxels not reached take their stored value, of size `least` or more; +-`fill` if it is not finite."""
    for leaf in range(first, last):
        for slot in range(512):
            if math.isinf(result[leaf, slot]) and not active[leaf, slot >> 3] >> (slot & 7) & 1:
                size = abs(np.float32(stored[leaf, slot]))
                size = max(size, least) if math.isfinite(size) else fill
                result[leaf, slot] = math.copysign(size, result[leaf, slot])


@row_kernel(64)
def solve_leaves(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    first, last, rows, neighbours, active, rates, lowest, background, tolerance, is_first, result, changed
):  # fmt: skip
    """Solve the leaves `rows`, all of one parity, that have a changed neighbour, or all where `is_first`.

    Args:
        rows: [m] leaves.
        neighbours: [n, 6] leaves across the faces -x, +x, -y, +y, -z, +z; -1 where there is none.
        active: [n, 64] packed: the voxels that are known.
        rates: [3] voxels along each axis over which the distance grows by 1.
        lowest: neighbours nearer than this, opposite sign included, are no base for an unknown voxel.
        background: no unknown voxel comes nearer than this.
        tolerance: a voxel that changes by less counts as unchanged.
        result: [n, 512] float32 signed distances, infinite where not reached yet; solved in place.
        changed: [n] bool, of both parities: read for the neighbours, set for the leaves `rows`.
    """
    for i in range(first, last):
        leaf = rows[i]
        wanted = is_first
        for face in range(6):
            wanted |= neighbours[leaf, face] >= 0 and changed[neighbours[leaf, face]]
        changed[leaf] = wanted and _solve_leaf(
            leaf, neighbours, active, rates, lowest, background, tolerance, is_first, result
        )


@kernel
def _solve_leaf(leaf, neighbours, active, rates, lowest, background, tolerance, is_first, result):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Locking fast sweeping of one leaf: True when a voxel of it changed."""
    state = np.zeros(_DIM**3, np.uint8)
    unknown = 0
    for row in range(64):
        bits = active[leaf, row]
        place = _FIRST + (row >> 3) * _STEP_X + (row & 7) * _STEP_Y
        for z in range(8):
            if not bits >> z & 1:
                state[place + z] = _PENDING if is_first else _SETTLED
                unknown += 1
    if unknown == 0:
        return False
    values = np.empty(_DIM**3, np.float32)
    _gather(leaf, neighbours, result, values)
    pending = unknown if is_first else _wake_border(values, state, lowest)
    is_changed = False
    first_way = _uphill(values, state)
    for sweep in range(_MAX_SWEEPS):
        if pending == 0:
            break
        way = first_way ^ _WAYS[sweep & 7]
        for i in range(8):
            x = 7 - i if way & 1 else i
            for j in range(8):
                y = 7 - j if way & 2 else j
                place, step = _FIRST + x * _STEP_X + y * _STEP_Y, 1
                if way & 4:
                    place, step = place + 7, -1
                for _ in range(8):
                    if state[place] == _PENDING:
                        state[place] = _SETTLED
                        pending -= 1
                        sign = np.float32(-1 if values[place] < 0 else 1)
                        old = sign * values[place]
                        new = max(_solve(values, place, sign, rates, lowest), background)
                        if abs(new - old) > tolerance:  # false for two infinities, whose difference is NaN
                            values[place] = sign * new
                            pending += _wake_around(values, state, place, sign, min(old, new))
                            is_changed = True
                    place += step
    if is_changed:
        for row in range(64):
            place = _FIRST + (row >> 3) * _STEP_X + (row & 7) * _STEP_Y
            for z in range(8):
                result[leaf, row * 8 + z] = values[place + z]
    return is_changed


@kernel
def _uphill(values, state):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The way of `_WAYS` along which the known values of a leaf rise, by their covariance with the coordinates."""
    count, total = 0, 0.0
    x_total, y_total, z_total = 0, 0, 0
    x_moment, y_moment, z_moment = 0.0, 0.0, 0.0
    for row in range(64):
        x, y = row >> 3, row & 7
        place = _FIRST + x * _STEP_X + y * _STEP_Y
        for z in range(8):
            if state[place + z] == _FIXED:
                value = values[place + z]
                count += 1
                total += value
                x_total += x
                y_total += y
                z_total += z
                x_moment += x * value
                y_moment += y * value
                z_moment += z * value
    way = 1 if x_moment * count < x_total * total else 0
    way |= 2 if y_moment * count < y_total * total else 0
    return way | (4 if z_moment * count < z_total * total else 0)


@kernel
def _gather(leaf, neighbours, result, values):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The voxels of a leaf and two layers of its face neighbours."""
    for row in range(64):
        place = _FIRST + (row >> 3) * _STEP_X + (row & 7) * _STEP_Y
        for z in range(8):
            values[place + z] = result[leaf, row * 8 + z]
    steps, strides = (_STEP_X, _STEP_Y, 1), (64, 8, 1)
    for face in range(6):
        other, axis = neighbours[leaf, face], face >> 1
        b, c = (axis + 1) % 3, (axis + 2) % 3
        for layer in range(_HALO):
            inner = layer if face & 1 else 8 - _HALO + layer
            outer = 8 + layer if face & 1 else layer - _HALO
            for i in range(8):
                for j in range(8):
                    place = _FIRST + outer * steps[axis] + i * steps[b] + j * steps[c]
                    slot = inner * strides[axis] + i * strides[b] + j * strides[c]
                    values[place] = result[other, slot] if other >= 0 else np.nan


@kernel
def _wake_border(values, state, lowest):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Mark the unknown voxels that lie behind a voxel of a neighbour, seen from the surface; their number."""
    steps = (_STEP_X, _STEP_Y, 1)
    woken = 0
    for axis in range(3):
        b, c = (axis + 1) % 3, (axis + 2) % 3
        for side in range(2):
            out = steps[axis] if side else -steps[axis]
            for i in range(8):
                for j in range(8):
                    place = _FIRST + 7 * side * steps[axis] + i * steps[b] + j * steps[c]
                    sign = np.float32(-1 if values[place] < 0 else 1)
                    if state[place] == _SETTLED and lowest < sign * values[place + out] < sign * values[place]:
                        state[place] = _PENDING
                        woken += 1
    return woken


@kernel
def _wake_around(values, state, place, sign, nearest):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Mark the neighbours of a changed voxel that lie further out than `nearest`; their number."""
    woken = 0
    for step in (_STEP_X, -_STEP_X, _STEP_Y, -_STEP_Y, 1, -1):
        near = place + step
        if state[near] == _SETTLED and sign * values[near] > nearest:
            state[near] = _PENDING
            woken += 1
    return woken


@kernel
def _solve(values, place, sign, rates, lowest):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Distance of a voxel from its neighbours: sum over the axes of (slope_k (u - base_k))^2 = 1, upwind.

    Axes come in by the nearness of their neighbour, for as long as it is nearer than u. A neighbour that is
    no base counts as infinitely far.
    """
    near0, base0, slope0 = _upwind(values, place, np.int64(_STEP_X), sign, rates[0], lowest)
    near1, base1, slope1 = _upwind(values, place, np.int64(_STEP_Y), sign, rates[1], lowest)
    near2, base2, slope2 = _upwind(values, place, np.int64(1), sign, rates[2], lowest)
    if near1 < near0:
        near0, base0, slope0, near1, base1, slope1 = near1, base1, slope1, near0, base0, slope0
    if near2 < near1:
        near1, base1, slope1, near2, base2, slope2 = near2, base2, slope2, near1, base1, slope1
        if near1 < near0:
            near0, base0, slope0, near1, base1, slope1 = near1, base1, slope1, near0, base0, slope0
    if near0 == np.inf:
        return np.inf
    u = base0 + 1 / slope0
    if u <= near1:
        return u
    a = slope0 * slope0 + slope1 * slope1
    b = slope0 * slope0 * base0 + slope1 * slope1 * base1
    c = slope0 * slope0 * base0 * base0 + slope1 * slope1 * base1 * base1 - 1
    if b * b < a * c:
        return u
    u = (b + math.sqrt(b * b - a * c)) / a
    if u <= near2:
        return u
    a += slope2 * slope2
    b += slope2 * slope2 * base2
    c += slope2 * slope2 * base2 * base2
    if b * b < a * c:
        return u
    return (b + math.sqrt(b * b - a * c)) / a


@kernel
def _upwind(values, place, step, sign, rate, lowest):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Nearer neighbour along an axis, and base and slope of the difference slope (u - base) to it.

    Second order, (3 u - 4 v + w) / 2, where the voxel behind the neighbour is nearer still; else first, u - v.
    """
    below, above = sign * values[place - step], sign * values[place + step]
    if not below > lowest:  # NaN where there is no leaf
        below = np.float32(np.inf)
    if above > lowest and above < below:
        near, behind = above, sign * values[place + 2 * step]
    else:
        near, behind = below, sign * values[place - 2 * step]
    if behind <= near and (near - behind) * rate <= _STEEPEST:
        return np.float64(near), (4.0 * near - behind) * (1.0 / 3.0), 1.5 * rate
    return np.float64(near), np.float64(near), rate
