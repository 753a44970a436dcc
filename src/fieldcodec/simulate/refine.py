"""Closed triangle meshes that follow a map of space, with edges short enough where it has stretched them.

Vertices have a place in the material, where the surface is a sphere, and the place to which the map takes them. An
edge that has become too long is halved in the material and its middle mapped, so every vertex is on the mapped surface
itself and nothing adds up over time. Edges are flipped as well, towards Delaunay's triangles where the surface
is now: halving alone would leave slivers, and ten times as many of them. Both keep the mesh closed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fieldcodec.io.mesh import Mesh
from fieldcodec.simulate.half_edges import flip, halve, long_edges, twins_of

PointMap = Callable[[np.ndarray], np.ndarray]
"""[n, 3] float64 points -> [n, 3] float64 points."""

_FLIP_ROUNDS = 12  # a move takes three or so; as flips make edges longer, the end would not be certain
_FEW = 64  # where only one vertex in so many is new, edges are not looked through for flips
_MAX_ROUNDS = 60


def icosphere(rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """The unit sphere as an icosahedron with each triangle split into four `rounds` times.

    Returns:
        vertices [10 * 4^rounds + 2, 3] float64 and triangles [20 * 4^rounds, 3] int64, counter-clockwise from outside.
    """
    golden = (1 + 5**0.5) / 2
    rectangle = np.array([(-1, golden, 0), (1, golden, 0), (-1, -golden, 0), (1, -golden, 0)])
    vertices = _unit(np.concatenate([np.roll(rectangle, shift, axis=1) for shift in range(3)]))
    triples = np.stack(np.meshgrid(*[np.arange(12)] * 3, indexing="ij"), -1).reshape(-1, 3)
    a, b, c = (vertices[triples[:, i]] for i in range(3))
    near = [np.einsum("qi,qi->q", p, q) > 0.4 for p, q in ((a, b), (b, c), (c, a))]  # neighbours: 1 / sqrt(5)
    turned = np.einsum("qi,qi->q", np.cross(a, b), c) > 0.1
    first = (triples[:, 0] < triples[:, 1]) & (triples[:, 0] < triples[:, 2])
    triangles = triples[near[0] & near[1] & near[2] & (a != b).any(axis=1) & turned & first]
    for _ in range(rounds):
        vertices, triangles = in_four(vertices, triangles)
        vertices = _unit(vertices)
    return vertices, triangles


def in_four(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [n, 3] and triangles [m, 3] with the middles of all edges as new vertices: [n + e, 3] and [4 m, 3]."""
    tails, heads = triangles, np.roll(triangles, -1, axis=1)
    keys, number = np.unique(np.minimum(tails, heads) << 32 | np.maximum(tails, heads), return_inverse=True)
    (a, b, c), (ab, bc, ca) = triangles.T, len(vertices) + number.reshape(-1, 3).T
    middles = (vertices[keys >> 32] + vertices[keys & 0xFFFFFFFF]) / 2
    quarters = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
    return np.concatenate([vertices, middles]), np.concatenate([np.stack(corners, axis=1) for corners in quarters])


@dataclass(eq=False)
class MovingSurface:
    """A closed surface that begins as the unit sphere and is refined while it is moved.

    `material` [n, 3] are points of the unit sphere and `places` [n, 3] where they are now; `triangles` [m, 3] and
    `twins` as in `fieldcodec.simulate.half_edges`.
    """

    material: np.ndarray
    places: np.ndarray
    triangles: np.ndarray
    twins: np.ndarray

    @staticmethod
    def unit_sphere(rounds: int = 4) -> "MovingSurface":
        material, triangles = icosphere(rounds)
        return MovingSurface(material, material, triangles, twins_of(triangles))

    def move(self, onward: PointMap, to_place: PointMap, longest: float) -> None:
        """Moves all vertices, then halves edges until all are `longest` at most, and flips those not Delaunay.

        Args:
            onward: takes places to those after the move.
            to_place: takes points of the unit sphere to where they are after the move: all maps up to now, `onward`
                included, one after another. Smooth, and keeps the orientation.
            longest: length in the space that `to_place` leads to.
        """
        self.places = onward(self.places)
        num_halved = len(self.places)
        for attempt in range(_MAX_ROUNDS):
            if attempt < _FLIP_ROUNDS and num_halved * _FEW >= len(self.places):
                flip(self.triangles, self.twins, self.places, self.material)
            chosen = long_edges(self.triangles, self.twins, self.places, longest)
            if not len(chosen):
                return
            self._halve(chosen, to_place)
            num_halved = len(chosen)

    def _halve(self, chosen: np.ndarray, to_place: PointMap) -> None:
        ends = np.stack([self.triangles.reshape(-1)[chosen], self.triangles[chosen // 3, (chosen + 1) % 3]])
        middles = _unit(self.material[ends].sum(axis=0))
        num_vertices, num_triangles, new = len(self.material), len(self.triangles), 2 * len(chosen)
        self.material = np.concatenate([self.material, middles])
        self.places = np.concatenate([self.places, to_place(middles)])
        self.triangles = np.concatenate([self.triangles, np.empty((new, 3), np.int64)])
        self.twins = np.concatenate([self.twins, np.empty(3 * new, np.int64)])
        halve(self.triangles, self.twins, chosen, num_vertices, num_triangles)

    @property
    def mesh(self) -> Mesh:
        return Mesh(self.places, self.triangles)


def enclosed_volume(mesh: Mesh) -> float:
    """Volume inside a closed mesh whose triangles are counter-clockwise seen from outside."""
    a, b, c = (mesh.vertices[mesh.triangles[:, i]] - mesh.vertices.mean(axis=0) for i in range(3))
    return float(np.einsum("qi,qi->", a, np.cross(b, c)) / 6)


def _unit(points: np.ndarray) -> np.ndarray:
    return np.asarray(points / np.linalg.norm(points, axis=-1, keepdims=True))
