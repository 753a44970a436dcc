"""Compiled kernel: slopes of a frame's own distances, without the detour of a displacement by nothing.

`warp_kernels.warp` with no motion gives the numbers themselves and half the difference of the two neighbours along
each axis. That is what is computed here, to the last bit, but from seven numbers a voxel instead of a window's 256.
"""

import numpy as np

from fieldcodec.coding.neighbours import find
from fieldcodec.jit import kernel, row_kernel


@kernel
def _on_line(numbers, row, near, step):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """What the straight line through two voxels of a leaf, `near` and one `step` behind it, says of the one before."""
    return 2 * np.int64(numbers[row, near]) - np.int64(numbers[row, near + step])


@kernel
def _beyond(numbers, rows, axis, side, voxel, limit):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The number next to a voxel at a face of its leaf, where no leaf is; see `warp_kernels` for its continuation.

    It continues the leaf's own line, and lines of leaves diagonally above it, as far as the window there holds them.
    """
    own, stride = rows[13], 1 << 3 * (2 - axis)
    total, count = _on_line(numbers, own, voxel, -stride if side > 0 else stride), 1
    across = voxel - 7 * stride if side > 0 else voxel + 7 * stride  # the place in the leaf that is missing
    for other in range(3):
        shift = 3 * (2 - other)
        if other == axis or voxel >> shift & 7 != 7:
            continue
        row = rows[13 + side * 3 ** (2 - axis) + 3 ** (2 - other)]
        if row >= 0:
            total += _on_line(numbers, row, across - (7 << shift), 1 << shift)
            count += 1
    return min(max(total // count, -limit), limit)


@kernel
def _next(numbers, rows, axis, side, voxel, limit):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The number of the voxel before (side -1) or after (1) one of a leaf along an axis; rows [27] are around it."""
    shift = 3 * (2 - axis)
    place = voxel >> shift & 7
    if 0 <= place + side < 8:
        return np.int64(numbers[rows[13], voxel + (side << shift)])
    row = rows[13 + side * 3 ** (2 - axis)]
    if row >= 0:
        return np.int64(numbers[row, voxel - (7 * side << shift)])
    return np.int64(_beyond(numbers, rows, axis, side, voxel, limit))


@row_kernel(256)
def slopes_at_rest(first, last, numbers, cells, table, limit, slopes):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """slopes[3, N, 512] = half the differences of distances numbers [N, 512] of the leaves at `cells`."""
    for leaf in range(first, last):
        rows = np.empty(27, np.int64)
        for i in range(27):
            x, y, z = i // 9 - 1, i // 3 % 3 - 1, i % 3 - 1
            rows[i] = find(table, cells, cells[leaf, 0] + x, cells[leaf, 1] + y, cells[leaf, 2] + z)
        own = numbers[leaf]
        for axis in range(3):
            shift = 3 * (2 - axis)
            for voxel in range(512):
                if 0 < (voxel >> shift & 7) < 7:
                    before, after = np.int64(own[voxel - (1 << shift)]), np.int64(own[voxel + (1 << shift)])
                else:
                    before = _next(numbers, rows, axis, -1, voxel, limit)
                    after = _next(numbers, rows, axis, 1, voxel, limit)
                slopes[axis, leaf, voxel] = (after - before + 1) >> 1
