"""Inside by stabbing lines: what lines through a point cannot leave on both sides.

A point is outside where any of 13 lines through it has a free side (as in NGLOD's and kaolin-wisp's distances to
meshes). Needs neither closed nor oriented triangles; hollows without a way out count as inside, and so do pockets of
which no line finds the mouth.
"""

import numpy as np

from fieldcodec.io.mesh.tree import TriangleTree

NUM_LINES = 13
# The turn keeps lines off the planes of boxes and other parts that are modelled along the axes.
_TURN = np.array([0.31, 0.57, 0.83])


def stabbing_lines() -> np.ndarray:
    """[13, 3] float64: the lines from a cell to its 26 neighbours, turned."""
    around = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    lines = around[NUM_LINES + 1 :]
    return lines / np.linalg.norm(lines, axis=1, keepdims=True) @ _rotation(_TURN)


def inside_by_stabbing(tree: TriangleTree, points: np.ndarray, *, threads: int | None = 1) -> np.ndarray:
    """[q, 3] points -> [q] bool."""
    return tree.stabbed(points, stabbing_lines(), threads=threads)


def _rotation(axis: np.ndarray) -> np.ndarray:
    """[3, 3]: by the length of a vector around it (Rodrigues)."""
    angle = float(np.linalg.norm(axis))
    x, y, z = axis / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
