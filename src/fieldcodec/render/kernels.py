"""Ray and sample loops over leaves, compiled.

`voxels` is a tuple (values [n, 512], near [n, 27], fill [n, 27], first, steps [3]): the leaves, the rows of
the 27 leaves around and including each one (-1: none), the value where there is none, and how camera
coordinates inside a leaf become slots. All coordinates are camera coordinates (v, u, d), see `view`.
"""

import numpy as np

from fieldcodec.jit import kernel, row_kernel


@kernel
def _fetch(values, near, fill, first, steps, leaf, v, u, d):  # type: ignore[no-untyped-def]
    """Voxel (v, u, d) of a leaf, each in -8 ... 15: those outside 0 ... 7 lie in its neighbours."""
    number = ((v >> 3) + 1) * 9 + ((u >> 3) + 1) * 3 + (d >> 3) + 1
    row = near[leaf, number]
    if row < 0:
        return fill[leaf, number]
    return values[row, first + (v & 7) * steps[0] + (u & 7) * steps[1] + (d & 7) * steps[2]]


@kernel
def _plane(values, near, fill, first, steps, leaf, v, u, d, part_v, part_u):  # type: ignore[no-untyped-def]
    """Bilinear value in the plane of depth d of a leaf."""
    upper = (
        _fetch(values, near, fill, first, steps, leaf, v, u, d) * (1 - part_u)
        + _fetch(values, near, fill, first, steps, leaf, v, u + 1, d) * part_u
    )
    lower = (
        _fetch(values, near, fill, first, steps, leaf, v + 1, u, d) * (1 - part_u)
        + _fetch(values, near, fill, first, steps, leaf, v + 1, u + 1, d) * part_u
    )
    return upper * (1 - part_v) + lower * part_v


@kernel
def _solid(values, near, fill, first, steps, leaf, v, u, d, parts):  # type: ignore[no-untyped-def]
    """Trilinear value in the cell of voxel (v, u, d) of a leaf."""
    front = _plane(values, near, fill, first, steps, leaf, v, u, d, parts[0], parts[1])
    back = _plane(values, near, fill, first, steps, leaf, v, u, d + 1, parts[0], parts[1])
    return front * (1 - parts[2]) + back * parts[2]


@kernel
def _first_hit(values, near, fill, first, steps, order, begin, end, v, u, part_v, part_u):  # type: ignore[no-untyped-def]
    """Leaf and depth in it where a ray goes from outside to inside; depth NaN where it never does."""
    for place in range(begin, end):
        leaf = order[place]
        ahead = _plane(values, near, fill, first, steps, leaf, v, u, 0, part_v, part_u)
        if ahead < 0:  # the near side of this leaf is inside already
            return leaf, 0.0
        for d in range(8):
            here = ahead
            ahead = _plane(values, near, fill, first, steps, leaf, v, u, d + 1, part_v, part_u)
            if here >= 0 and ahead < 0:
                return leaf, d + here / (here - ahead)
    return -1, np.nan


@row_kernel(8)
def trace(top, bottom, points, normals, voxels, corners, order, starts, columns, start, pitch):  # type: ignore[no-untyped-def]
    """Fill `points` and `normals` [H, W, 3] where rays hit the surface.

    `order` and `starts` list the leaves of each column of 8 x 8 rays from near to far, `columns` columns a row;
    rays begin at `start` and are `pitch` voxels apart.
    """
    values, near, fill, first, steps = voxels
    width = points.shape[1]
    rows = (len(starts) - 1) // columns
    for y in range(top, bottom):
        at_v = start[0] + (y + 0.5) * pitch[0] - 0.5
        v = int(np.floor(at_v))
        for x in range(width):
            at_u = start[1] + (x + 0.5) * pitch[1] - 0.5
            u = int(np.floor(at_u))
            if v < 0 or u < 0 or v >= rows * 8 or u >= columns * 8:
                continue
            column = (v >> 3) * columns + (u >> 3)
            leaf, depth = _first_hit(
                values,
                near,
                fill,
                first,
                steps,
                order,
                starts[column],
                starts[column + 1],
                v & 7,
                u & 7,
                at_v - v,
                at_u - u,
            )
            if leaf < 0:
                continue
            points[y, x, 0], points[y, x, 1], points[y, x, 2] = at_v, at_u, corners[leaf, 2] + depth
            d = min(int(depth), 7)
            parts = (at_v - v, at_u - u, depth - d)
            _set_normal(normals[y, x], values, near, fill, first, steps, leaf, v & 7, u & 7, d, parts)


@kernel
def _set_normal(normal, values, near, fill, first, steps, leaf, v, u, d, parts):  # type: ignore[no-untyped-def]
    """The direction of the gradient, from central differences of two voxels' width."""
    slope_v = _solid(values, near, fill, first, steps, leaf, v + 1, u, d, parts) - _solid(
        values, near, fill, first, steps, leaf, v - 1, u, d, parts
    )
    slope_u = _solid(values, near, fill, first, steps, leaf, v, u + 1, d, parts) - _solid(
        values, near, fill, first, steps, leaf, v, u - 1, d, parts
    )
    slope_d = _solid(values, near, fill, first, steps, leaf, v, u, d + 1, parts) - _solid(
        values, near, fill, first, steps, leaf, v, u, d - 1, parts
    )
    length = np.sqrt(slope_v**2 + slope_u**2 + slope_d**2)
    if length > 0:
        normal[0], normal[1], normal[2] = slope_v / length, slope_u / length, slope_d / length


@row_kernel(1 << 12)
def sample(begin, end, result, voxels, leaves, local, parts):  # type: ignore[no-untyped-def]
    """Trilinear values in the cells of voxels `local` [n, 3] of leaves [n]; `parts` [n, 3] in [0, 1)."""
    values, near, fill, first, steps = voxels
    for i in range(begin, end):
        part = (parts[i, 0], parts[i, 1], parts[i, 2])
        result[i] = _solid(values, near, fill, first, steps, leaves[i], local[i, 0], local[i, 1], local[i, 2], part)
