"""Which vertices of a mesh hang together."""

import numpy as np

from fieldcodec.jit import kernel


def connected_parts(triangles: np.ndarray, count: int) -> np.ndarray:
    """[m, 3] rows of `count` vertices -> [m] int64: numbers from 0 on, equal for triangles joined by vertices."""
    triangles = np.ascontiguousarray(triangles, np.int64)
    _, part = np.unique(_roots(triangles, count)[triangles[:, 0]], return_inverse=True)
    return np.asarray(part, np.int64)


@kernel
def _roots(triangles, count):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Of each vertex one that all vertices hanging together with it by triangles share."""
    parent = np.arange(count)
    for row in range(len(triangles)):
        for i in range(1, 3):
            a, b = triangles[row, 0], triangles[row, i]
            while parent[a] != a:
                parent[a] = parent[parent[a]]
                a = parent[a]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            parent[max(a, b)] = min(a, b)
    for vertex in range(count):
        root = vertex
        while parent[root] != root:
            root = parent[root]
        parent[vertex] = root
    return parent
