"""Closed triangle meshes that are refined in place: long edges halved, edges flipped (compiled by numba).

Half-edge h = 3 * t + i is side i of triangle t, from its corner i to corner i + 1 (cyclic); `twins[h]` is the same
edge as the triangle on the other side has it.
"""

import numpy as np

from fieldcodec.jit import kernel

_FLATNESS = 0.5  # least cosine between two triangles whose common edge may be flipped


def twins_of(triangles: np.ndarray) -> np.ndarray:
    """[3 m] int64 twins of the half-edges of a closed, consistently turned mesh [m, 3]."""
    tails, heads = triangles.reshape(-1), np.roll(triangles, -1, axis=1).reshape(-1)
    there, back = np.argsort(tails << 32 | heads), np.argsort(heads << 32 | tails)
    twins = np.empty(len(tails), np.int64)
    twins[there] = back
    return twins


# The functions below are compiled; numba infers their types, so they carry none.


@kernel
def long_edges(triangles, twins, places, longest):  # type: ignore[no-untyped-def]
    """Half-edges to halve: longer than `longest`, the longest of their triangle, no two of them at one triangle."""
    taken, chosen, count = np.zeros(len(triangles), np.bool_), np.empty(len(triangles), np.int64), 0
    for t in range(len(triangles)):
        best, side = longest * longest, -1
        for i in range(3):
            square = _square(places, triangles[t, i], triangles[t, (i + 1) % 3])
            if square > best:
                best, side = square, i
        if side < 0 or taken[t]:
            continue
        other = twins[3 * t + side] // 3
        if not taken[other]:
            taken[t] = taken[other] = True
            chosen[count] = 3 * t + side
            count += 1
    return chosen[:count].copy()


@kernel
def halve(triangles, twins, chosen, first_vertex, first_triangle):  # type: ignore[no-untyped-def]
    """Halves the half-edges `chosen` by `long_edges`, in place; edge e gets vertex `first_vertex` + e in its middle.

    Two new triangles per edge, from row `first_triangle` on; there must be room for them.
    """
    for e in range(len(chosen)):
        h = chosen[e]
        g = twins[h]
        m, t, u = first_vertex + e, h // 3, g // 3
        v, w = first_triangle + 2 * e, first_triangle + 2 * e + 1
        a, b, c = _corners(triangles, h)
        d = _corners(triangles, g)[2]
        bc, ca = twins[_next(h)], twins[_next(_next(h))]
        ad, db = twins[_next(g)], twins[_next(_next(g))]
        _set(triangles, t, a, m, c)
        _set(triangles, v, m, b, c)
        _set(triangles, u, b, m, d)
        _set(triangles, w, m, a, d)
        _join(twins, 3 * t, 3 * w)
        _join(twins, 3 * t + 1, 3 * v + 2)
        _join(twins, 3 * t + 2, ca)
        _join(twins, 3 * v, 3 * u)
        _join(twins, 3 * v + 1, bc)
        _join(twins, 3 * u + 1, 3 * w + 2)
        _join(twins, 3 * u + 2, db)
        _join(twins, 3 * w + 1, ad)


@kernel
def flip(triangles, twins, places, material):  # type: ignore[no-untyped-def]
    """Flips, in place, the edges of nearly flat pairs of triangles that are not Delaunay; returns their number.

    What is turned over by that where it comes from, among the points `material`, stays as it is.
    """
    count = 0
    for h in range(len(twins)):
        g = twins[h]
        if g < h or not _is_worse(triangles, places, h, g):
            continue
        if _turns_over(triangles, material, h, g) or _are_joined(triangles, twins, h, g):
            continue
        t, u = h // 3, g // 3
        a, b, c = _corners(triangles, h)
        d = _corners(triangles, g)[2]
        bc, ca = twins[_next(h)], twins[_next(_next(h))]
        ad, db = twins[_next(g)], twins[_next(_next(g))]
        _set(triangles, t, a, d, c)
        _set(triangles, u, d, b, c)
        _join(twins, 3 * t, ad)
        _join(twins, 3 * t + 1, 3 * u + 2)
        _join(twins, 3 * t + 2, ca)
        _join(twins, 3 * u, db)
        _join(twins, 3 * u + 1, bc)
        count += 1
    return count


@kernel
def _next(h):  # type: ignore[no-untyped-def]
    return h - 2 if h % 3 == 2 else h + 1


@kernel
def _corners(triangles, h):  # type: ignore[no-untyped-def]
    """Corners of the triangle of h, from the start of h on."""
    t, i = h // 3, h % 3
    return triangles[t, i], triangles[t, (i + 1) % 3], triangles[t, (i + 2) % 3]


@kernel
def _set(triangles, t, a, b, c):  # type: ignore[no-untyped-def]
    triangles[t, 0], triangles[t, 1], triangles[t, 2] = a, b, c


@kernel
def _join(twins, h, g):  # type: ignore[no-untyped-def]
    twins[h], twins[g] = g, h


@kernel
def _square(places, a, b):  # type: ignore[no-untyped-def]
    x, y, z = places[a, 0] - places[b, 0], places[a, 1] - places[b, 1], places[a, 2] - places[b, 2]
    return x * x + y * y + z * z


@kernel
def _normal(places, a, b, c):  # type: ignore[no-untyped-def]
    ux, uy, uz = places[b, 0] - places[a, 0], places[b, 1] - places[a, 1], places[b, 2] - places[a, 2]
    vx, vy, vz = places[c, 0] - places[a, 0], places[c, 1] - places[a, 1], places[c, 2] - places[a, 2]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


@kernel
def _cosine(p, q):  # type: ignore[no-untyped-def]
    """Cosine of the angle between two vectors; -1 where one is zero."""
    size = (p[0] * p[0] + p[1] * p[1] + p[2] * p[2]) * (q[0] * q[0] + q[1] * q[1] + q[2] * q[2])
    return (p[0] * q[0] + p[1] * q[1] + p[2] * q[2]) / np.sqrt(size) if size > 0.0 else -1.0


@kernel
def _is_worse(triangles, places, h, g):  # type: ignore[no-untyped-def]
    """True where the edge's opposite angles add up to more than a half turn, and flipping it keeps the surface flat."""
    a, b, c = _corners(triangles, h)
    d = _corners(triangles, g)[2]
    ab, bc, ca = _square(places, a, b), _square(places, b, c), _square(places, c, a)
    ad, db = _square(places, a, d), _square(places, d, b)
    if bc + ca >= ab and ad + db >= ab:  # neither angle is more than a right one
        return False
    before = _normal(places, a, b, c), _normal(places, b, a, d)
    size = np.sqrt(before[0][0] ** 2 + before[0][1] ** 2 + before[0][2] ** 2)
    other = np.sqrt(before[1][0] ** 2 + before[1][1] ** 2 + before[1][2] ** 2)
    # cot of the angle at c is (bc + ca - ab) / 2 over twice the area; the sum of both must be clearly negative.
    if (bc + ca - ab) * other + (ad + db - ab) * size >= -1e-9 * ab * (size + other):
        return False
    if _cosine(before[0], before[1]) < _FLATNESS:
        return False
    after = _normal(places, a, d, c), _normal(places, d, b, c)
    least = min(_cosine(after[0], after[1]), _cosine(after[0], before[0]), _cosine(after[1], before[1]))
    return least >= _FLATNESS


@kernel
def _turns_over(triangles, material, h, g):  # type: ignore[no-untyped-def]
    """True where a triangle would look the other way after the flip than both do before."""
    a, b, c = _corners(triangles, h)
    d = _corners(triangles, g)[2]
    for before in (_normal(material, a, b, c), _normal(material, b, a, d)):
        for after in (_normal(material, a, d, c), _normal(material, d, b, c)):
            if _cosine(before, after) <= 0.0:
                return True
    return False


@kernel
def _are_joined(triangles, twins, h, g):  # type: ignore[no-untyped-def]
    """True where an edge between the corners opposite to h and g is there already."""
    d = _corners(triangles, g)[2]
    first = _next(_next(h))  # from the corner opposite to h
    out = first
    while True:
        if _corners(triangles, out)[1] == d:
            return True
        out = twins[_next(_next(out))]
        if out == first:
            return False
