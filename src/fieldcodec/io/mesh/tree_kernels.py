"""The walks of `fieldcodec.io.mesh.tree`, compiled by numba."""

import numpy as np

from fieldcodec.io.mesh.triangle import prepare, squared_distance
from fieldcodec.jit import kernel

_BINS = 16
_LEAF = 4  # triangles of a leaf, at most, unless their centres coincide
_DEPTH = 64  # of the stack of a walk; from half of it on nodes are halved by number
_SLACK = 1 + 1e-9  # of squared distances to boxes, for what rounding may do
_SURE = 0.999  # of a clearance within which nothing is crossed

# The functions below are compiled; numba infers their types, so they carry none.


@kernel
def prepare_all(corners, prepared):  # type: ignore[no-untyped-def]
    for row in range(len(corners)):
        prepare(corners[row], prepared[row])


@kernel
def build(corners, bounds):  # type: ignore[no-untyped-def]
    """The order of triangles [m] in leaves, boxes [n, 6] of nodes, and their links [n, 2].

    Links: of a leaf its first triangle and how many; of another node its right child and 0.
    """
    num = len(corners)
    centres = 0.5 * (bounds[:, :3] + bounds[:, 3:])
    order, scratch = np.arange(num), np.empty(num, np.int64)
    boxes, links = np.empty((2 * num, 6)), np.zeros((2 * num, 2), np.int64)
    stack = np.empty((num + _DEPTH, 4), np.int64)  # first, last, depth, the node whose right child it is or -1
    stack[0] = 0, num, 0, -1
    height, count = 1, 0
    while height:
        height -= 1
        first, last, depth, parent = stack[height]
        node = count
        count += 1
        if parent >= 0:
            links[parent, 0] = node
        _box(bounds, order, first, last, boxes[node])
        middle = first
        if last - first > _LEAF:
            middle = _split(bounds, centres, order, first, last, depth, scratch)
        if middle == first:
            links[node] = first, last - first
            continue
        stack[height] = middle, last, depth + 1, node
        stack[height + 1] = first, middle, depth + 1, -1
        height += 2
    return order, boxes[:count].copy(), links[:count].copy()


@kernel
def _box(bounds, order, first, last, box):  # type: ignore[no-untyped-def]
    for axis in range(3):
        low, high = np.inf, -np.inf
        for i in range(first, last):
            low, high = min(low, bounds[order[i], axis]), max(high, bounds[order[i], 3 + axis])
        box[axis], box[3 + axis] = low, high


@kernel
def _half_area(box):  # type: ignore[no-untyped-def]
    x, y, z = box[3] - box[0], box[4] - box[1], box[5] - box[2]
    return x * y + y * z + z * x


@kernel
def _split(bounds, centres, order, first, last, depth, scratch):  # type: ignore[no-untyped-def]
    """Orders triangles first .. last so that those before the returned place go left; `first` where none can."""
    axis, low, extent = 0, 0.0, 0.0
    for i in range(3):
        least, most = np.inf, -np.inf
        for row in order[first:last]:
            least, most = min(least, centres[row, i]), max(most, centres[row, i])
        if most - least > extent:
            axis, low, extent = i, least, most - least
    if not extent > 0.0:
        return first if depth > _DEPTH // 2 - 1 or last - first <= 64 else (first + last) // 2
    if depth >= _DEPTH // 2 - 1:
        part = order[first:last].copy()
        order[first:last] = part[np.argsort(centres[part, axis])]
        return (first + last) // 2
    bins = np.empty((_BINS, 6))
    bins[:, :3], bins[:, 3:] = np.inf, -np.inf
    counts = np.zeros(_BINS, np.int64)
    for row in order[first:last]:
        place = min(int((centres[row, axis] - low) / extent * _BINS), _BINS - 1)
        counts[place] += 1
        for i in range(3):
            bins[place, i] = min(bins[place, i], bounds[row, i])
            bins[place, 3 + i] = max(bins[place, 3 + i], bounds[row, 3 + i])
    cut = _best_cut(bins, counts)
    left, right = first, 0
    for row in order[first:last]:
        if min(int((centres[row, axis] - low) / extent * _BINS), _BINS - 1) < cut:
            order[left] = row
            left += 1
        else:
            scratch[right] = row
            right += 1
    order[left:last] = scratch[:right]
    return left


@kernel
def _best_cut(bins, counts):  # type: ignore[no-untyped-def]
    """The first bin of the right side; both sides hold something, as the outer bins do."""
    costs, box, number = np.zeros(_BINS), bins[_BINS - 1].copy(), 0
    for place in range(_BINS - 1, 0, -1):
        number += counts[place]
        for i in range(3):
            box[i], box[3 + i] = min(box[i], bins[place, i]), max(box[3 + i], bins[place, 3 + i])
        costs[place] = number * _half_area(box)
    box, number, best = bins[0].copy(), 0, 1
    for place in range(1, _BINS):
        number += counts[place - 1]
        for i in range(3):
            box[i], box[3 + i] = min(box[i], bins[place - 1, i]), max(box[3 + i], bins[place - 1, 3 + i])
        costs[place] += number * _half_area(box)
        if costs[place] < costs[best]:
            best = place
    return best


@kernel
def _to_box(box, x, y, z):  # type: ignore[no-untyped-def]
    """Squared distance to a box."""
    dx = max(max(box[0] - x, x - box[3]), 0.0)
    dy = max(max(box[1] - y, y - box[4]), 0.0)
    dz = max(max(box[2] - z, z - box[5]), 0.0)
    return dx * dx + dy * dy + dz * dz


@kernel
def nearest(boxes, links, prepared, points, squares, found):  # type: ignore[no-untyped-def]
    """Fills squared distances and places of the nearest triangles; the result of the point before is tried first."""
    stack, bounds = np.empty(_DEPTH, np.int64), np.empty(_DEPTH)
    row = 0
    for point in range(len(points)):
        x, y, z = points[point, 0], points[point, 1], points[point, 2]
        best = squared_distance(prepared[row], x, y, z)
        stack[0], bounds[0], height = 0, 0.0, 1
        while height:
            height -= 1
            if bounds[height] > best * _SLACK:
                continue
            node = stack[height]
            if links[node, 1]:
                for i in range(links[node, 0], links[node, 0] + links[node, 1]):
                    square = squared_distance(prepared[i], x, y, z)
                    if square < best:
                        best, row = square, i
                continue
            near, far = node + 1, links[node, 0]
            to_near, to_far = _to_box(boxes[near], x, y, z), _to_box(boxes[far], x, y, z)
            if to_far < to_near:
                near, far, to_near, to_far = far, near, to_far, to_near
            if to_far <= best * _SLACK:
                stack[height], bounds[height] = far, to_far
                height += 1
            if to_near <= best * _SLACK:
                stack[height], bounds[height] = near, to_near
                height += 1
        squares[point], found[point] = best, row


@kernel
def _misses_box(box, x, y, z, ix, iy, iz, limit):  # type: ignore[no-untyped-def]
    """Whether the ray of inverse directions ix, iy, iz leaves the box before it enters it, or enters beyond `limit`."""
    a, b = (box[0] - x) * ix, (box[3] - x) * ix
    enter, leave = min(a, b), max(a, b)
    a, b = (box[1] - y) * iy, (box[4] - y) * iy
    enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
    a, b = (box[2] - z) * iz, (box[5] - z) * iz
    enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
    margin = 1e-12 * (abs(enter) + abs(leave))
    return enter > leave + margin or leave < -margin or enter > limit + margin


@kernel
def _hits(t, x, y, z, dx, dy, dz, limit):  # type: ignore[no-untyped-def]
    """Whether a ray meets a triangle t [9], its edges included (Moller and Trumbore, 1997)."""
    e0x, e0y, e0z = t[3] - t[0], t[4] - t[1], t[5] - t[2]
    e1x, e1y, e1z = t[6] - t[0], t[7] - t[1], t[8] - t[2]
    px, py, pz = dy * e1z - dz * e1y, dz * e1x - dx * e1z, dx * e1y - dy * e1x
    det = e0x * px + e0y * py + e0z * pz
    if det == 0.0:
        return False
    sx, sy, sz = x - t[0], y - t[1], z - t[2]
    sign = 1.0 if det > 0.0 else -1.0
    det = abs(det)
    slack = 1e-12 * det  # rays must not slip through between two triangles
    u = (sx * px + sy * py + sz * pz) * sign
    if u < -slack or u > det + slack:
        return False
    qx, qy, qz = sy * e0z - sz * e0y, sz * e0x - sx * e0z, sx * e0y - sy * e0x
    v = (dx * qx + dy * qy + dz * qz) * sign
    if v < -slack or u + v > det + slack:
        return False
    far = (e1x * qx + e1y * qy + e1z * qz) * sign
    return 0.0 <= far <= limit * det


@kernel
def _crossing(t, x, y, z, dx, dy, dz):  # type: ignore[no-untyped-def]
    """1 where a ray leaves through the front of a triangle t [9], -1 where it comes in, else 0.

    An edge is tested by the same numbers for both of its triangles (Woop, Benthin, Wald, 2013), so that no ray slips
    through between them or meets both.
    """
    ax, ay, az = t[0] - x, t[1] - y, t[2] - z
    bx, by, bz = t[3] - x, t[4] - y, t[5] - z
    cx, cy, cz = t[6] - x, t[7] - y, t[8] - z
    u = _side(bx, by, bz, cx, cy, cz, dx, dy, dz)
    v = _side(cx, cy, cz, ax, ay, az, dx, dy, dz)
    w = _side(ax, ay, az, bx, by, bz, dx, dy, dz)
    if not ((u and v and w) or not (u or v or w)):
        return 0
    # the point is behind the plane of the triangle, seen along the ray, where the volume has the sign of the turn
    volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    if u:
        return 1 if volume > 0.0 else 0
    return -1 if volume < 0.0 else 0


@kernel
def _side(ax, ay, az, bx, by, bz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """On which side of an edge from a to b a ray from the origin passes; opposite for the edge from b to a."""
    turned = (ax > bx) or (ax == bx and (ay > by or (ay == by and az > bz)))
    if turned:
        ax, ay, az, bx, by, bz = bx, by, bz, ax, ay, az
    value = dx * (ay * bz - az * by) + dy * (az * bx - ax * bz) + dz * (ax * by - ay * bx)
    return (value > 0.0) != turned


@kernel
def _first_hit(boxes, links, corners, stack, hint, x, y, z, dx, dy, dz, limit):  # type: ignore[no-untyped-def]
    """The place of some triangle that a ray meets, -1 for none; `hint` is tried first."""
    if hint >= 0 and _hits(corners[hint], x, y, z, dx, dy, dz, limit):
        return hint
    # a tiny slope for none: 0 times an infinite inverse would be no number
    ix = 1.0 / (dx if abs(dx) > 1e-300 else 1e-300)
    iy = 1.0 / (dy if abs(dy) > 1e-300 else 1e-300)
    iz = 1.0 / (dz if abs(dz) > 1e-300 else 1e-300)
    stack[0], height = 0, 1
    while height:
        height -= 1
        node = stack[height]
        if _misses_box(boxes[node], x, y, z, ix, iy, iz, limit):
            continue
        if links[node, 1]:
            for i in range(links[node, 0], links[node, 0] + links[node, 1]):
                if _hits(corners[i], x, y, z, dx, dy, dz, limit):
                    return i
            continue
        stack[height], stack[height + 1] = links[node, 0], node + 1
        height += 2
    return -1


@kernel
def crossed(boxes, links, corners, starts, steps, result):  # type: ignore[no-untyped-def]
    """Whether the segments [q, 3] from starts meet any triangle; the one met last is tried first."""
    stack, hint = np.empty(2 * _DEPTH, np.int64), -1
    for i in range(len(starts)):
        x, y, z, dx, dy, dz = starts[i, 0], starts[i, 1], starts[i, 2], steps[i, 0], steps[i, 1], steps[i, 2]
        found = _first_hit(boxes, links, corners, stack, hint, x, y, z, dx, dy, dz, 1.0)
        hint = found if found >= 0 else hint
        result[i] = found >= 0


@kernel
def stabbed(boxes, links, corners, points, rays, result):  # type: ignore[no-untyped-def]
    """Whether all rays [k, 3] from each point hit; the ray that was free last is tried first."""
    stack, hints = np.empty(2 * _DEPTH, np.int64), np.full(len(rays), -1)
    free = 0
    for point in range(len(points)):
        x, y, z = points[point, 0], points[point, 1], points[point, 2]
        result[point] = True
        start = free
        for step in range(len(rays)):
            k = (start + step) % len(rays)
            dx, dy, dz = rays[k, 0], rays[k, 1], rays[k, 2]
            found = _first_hit(boxes, links, corners, stack, hints[k], x, y, z, dx, dy, dz, np.inf)
            if found < 0:
                free = k
                result[point] = False
                break
            hints[k] = found


@kernel
def windings(boxes, links, corners, points, clearances, direction, result):  # type: ignore[no-untyped-def]
    """Fills [q] with the sums of the signs of crossings of rays from the points; see `TriangleTree.windings`."""
    stack = np.empty(2 * _DEPTH, np.int64)
    dx, dy, dz = direction[0], direction[1], direction[2]
    ix, iy, iz = 1.0 / dx, 1.0 / dy, 1.0 / dz
    known, square = 0, 0.0
    for point in range(len(points)):
        x, y, z = points[point, 0], points[point, 1], points[point, 2]
        ax, ay, az = x - points[known, 0], y - points[known, 1], z - points[known, 2]
        if ax * ax + ay * ay + az * az < square:
            result[point] = result[known]
            known, square = point, (clearances[point] * _SURE) ** 2
            continue
        total = 0
        stack[0], height = 0, 1
        while height:
            height -= 1
            node = stack[height]
            if _misses_box(boxes[node], x, y, z, ix, iy, iz, np.inf):
                continue
            if links[node, 1]:
                for i in range(links[node, 0], links[node, 0] + links[node, 1]):
                    total += _crossing(corners[i], x, y, z, dx, dy, dz)
                continue
            stack[height], stack[height + 1] = links[node, 0], node + 1
            height += 2
        result[point] = total
        known, square = point, (clearances[point] * _SURE) ** 2
