"""Points drawn from meshes."""

import numpy as np
import pytest

from fieldcodec.errors import InputError
from fieldcodec.io.mesh import Mesh
from fieldcodec.io.mesh.sample import surface_points


def test_points_are_even_on_triangles() -> None:
    vertices = np.array([[0.0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    triangles = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4]])  # areas 1.5, 0.5 and none
    drawn = surface_points(Mesh(vertices, triangles), 40000, np.random.default_rng(0))
    first = drawn.rows == 0
    assert first.mean() == pytest.approx(0.75, abs=0.01)
    assert (np.abs(drawn.normals[first, 2]) == 1).all()
    assert (np.abs(drawn.normals[~first, 0]) == 1).all()
    np.testing.assert_allclose(drawn.points[first].mean(axis=0), [1, 1 / 3, 0], atol=0.02)
    np.testing.assert_allclose(drawn.points[~first].mean(axis=0), [0, 1 / 3, 1 / 3], atol=0.02)
    corners = vertices[triangles[drawn.rows]]
    np.testing.assert_allclose(np.einsum("nc,nck->nk", drawn.weights, corners), drawn.points, atol=1e-12)
    for none in (triangles[2:], triangles[:0]):
        with pytest.raises(InputError, match="no area"):
            surface_points(Mesh(vertices, none), 5, np.random.default_rng(0))
