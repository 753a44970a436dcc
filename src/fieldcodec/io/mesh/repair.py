"""Orientation and holes: what a mesh needs before inside and outside mean anything.

The boundary of oriented triangles is a set of closed loops, whatever the mesh (a boundary has no boundary).
A fan over each loop closes the mesh in the sense of chains: the winding number is then an integer everywhere
off the surface, and constant wherever no triangle is crossed.
"""

import numpy as np

from fieldcodec.errors import MissingPackageError
from fieldcodec.io.mesh.read import Mesh

SOUP_SHARE = 0.2  # with more than this share of edges open the triangles are loose, and fans would double them


def oriented(mesh: Mesh) -> Mesh:
    """The mesh with neighbouring triangles turned the same way; unchanged where they are so already.

    Of each connected part, the way most of its triangles are turned is kept.
    """
    _, net, uses = _edges(mesh.triangles, len(mesh.vertices))
    if not np.any((uses == 2) & (net != 0)):
        return mesh
    try:
        import igl
    except ImportError as error:
        raise MissingPackageError(
            "this mesh has triangles turned against their neighbours; mending it needs the package libigl, "
            "which is not installed; run: pip install 'fieldcodec[mesh]'"
        ) from error
    turned, part = igl.bfs_orient(mesh.triangles)
    a, b, _ = mesh.triangles.T
    where_a = np.argmax(turned == a[:, None], axis=1)
    flipped = turned[np.arange(len(turned)), (where_a + 1) % 3] != b
    share = np.bincount(part, weights=flipped) / np.bincount(part)
    flip = flipped ^ (share > 0.5)[part]
    triangles = mesh.triangles.copy()
    triangles[flip] = triangles[flip][:, ::-1]
    return Mesh(mesh.vertices, triangles)


def with_holes_closed(mesh: Mesh) -> tuple[Mesh, bool]:
    """The mesh with a fan of triangles over each hole, and whether it is closed now.

    A mesh of mostly loose triangles is left as it is, and not closed.
    """
    pairs, net, _ = _edges(mesh.triangles, len(mesh.vertices))
    is_open = net != 0
    if not is_open.any():
        return mesh, True
    if is_open.mean() > SOUP_SHARE:
        return mesh, False
    starts, ends = pairs[is_open].T
    backward = net[is_open] > 0  # the caps run along each open edge the other way
    starts, ends = np.where(backward, ends, starts), np.where(backward, starts, ends)
    times = np.abs(net[is_open])
    loops = _loops(np.repeat(starts, times), np.repeat(ends, times))
    return _with_fans(mesh, loops), True


def _edges(triangles: np.ndarray, num_vertices: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Undirected edges (low, high) as [e, 2]; times used low to high less times high to low; times used."""
    starts = triangles.reshape(-1)
    ends = np.roll(triangles, -1, axis=1).reshape(-1)
    keys = np.minimum(starts, ends) * np.int64(num_vertices) + np.maximum(starts, ends)
    unique, number, uses = np.unique(keys, return_inverse=True, return_counts=True)
    net = np.bincount(number, weights=np.where(starts < ends, 1.0, -1.0), minlength=len(unique))
    return np.stack(np.divmod(unique, num_vertices), axis=1), np.rint(net).astype(np.int64), uses


def _loops(starts: np.ndarray, ends: np.ndarray) -> list[list[int]]:
    """Splits directed edges, as many into as out of each vertex, into loops that visit no vertex twice."""
    onward: dict[int, list[int]] = {}
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        onward.setdefault(start, []).append(end)
    loops = []
    for first in list(onward):
        while onward[first]:
            path, place = [first], {first: 0}
            while True:
                vertex = onward[path[-1]].pop()
                if vertex not in place:
                    place[vertex] = len(path)
                    path.append(vertex)
                    continue
                cut = place[vertex]
                loops.append(path[cut:])
                for old in path[cut + 1 :]:
                    del place[old]
                del path[cut + 1 :]
                if not onward[path[-1]]:  # only at `first`: every other vertex of a path has a way out
                    break
    return loops


def _with_fans(mesh: Mesh, loops: list[list[int]]) -> Mesh:
    """Adds one triangle for a loop of three, else a fan around the mean of the loop's vertices."""
    centres: list[np.ndarray] = []
    caps: list[np.ndarray] = []
    for loop in loops:
        if len(loop) == 3:
            caps.append(np.array([loop]))
            continue
        ring = np.array(loop)
        centre = np.full(len(ring), len(mesh.vertices) + len(centres))
        centres.append(mesh.vertices[ring].mean(axis=0))
        caps.append(np.stack([ring, np.roll(ring, -1), centre], axis=1))
    vertices = np.concatenate([mesh.vertices, np.array(centres).reshape(-1, 3)])
    return Mesh(vertices, np.concatenate([mesh.triangles, *caps]))
