"""What parts of a mesh hide in one another is no surface."""

import numpy as np
import pytest

from fieldcodec.io.mesh.read import Mesh
from fieldcodec.io.mesh.visible import VisibleSurface


def _box(low: tuple[float, float, float], high: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    corners = np.array(list(np.ndindex(2, 2, 2)), float) * (np.array(high) - low) + low
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return corners, np.array([triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))])


def _joined(*boxes: tuple[np.ndarray, np.ndarray]) -> Mesh:
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in boxes)])
    triangles = [faces + start for (_, faces), start in zip(boxes, starts, strict=False)]
    return Mesh.of(np.concatenate([vertices for vertices, _ in boxes]), np.concatenate(triangles))


WIDE, LOW = _box((-0.8, -0.3, -0.3), (0.2, 0.3, 0.3)), _box((-0.2, -0.2, -0.2), (0.8, 0.2, 0.2))


def test_two_boxes_that_overlap_have_the_surface_of_their_union() -> None:
    surface = VisibleSurface(_joined(WIDE, LOW))
    assert surface.has_hidden_parts
    drawn = surface.points(20_000, np.random.default_rng(0))
    assert len(drawn.points) == len(drawn.rows) == 20_000
    for low, high in (((-0.8, -0.3, -0.3), (0.2, 0.3, 0.3)), ((-0.2, -0.2, -0.2), (0.8, 0.2, 0.2))):
        deep = ((drawn.points > np.array(low) + 1e-3) & (drawn.points < np.array(high) - 1e-3)).all(axis=1)
        assert not deep.any()
    # The end of the low box, hidden in the wide one, is no surface to be near to; its sides are, being seen in part.
    inside = np.array([[-0.2, 0.0, 0.0], [-0.21, 0.05, 0.0]])
    np.testing.assert_allclose(surface.signed_distances(inside), [-0.2, -np.hypot(0.15, 0.01)], atol=1e-6)
    np.testing.assert_allclose(surface.signed_distances(np.array([[0.9, 0.0, 0.0]])), [0.1], atol=1e-6)


@pytest.mark.parametrize("boxes", [(WIDE,), (WIDE, _box((0.5, -0.1, -0.1), (0.7, 0.1, 0.1)))])
def test_nothing_is_hidden_where_nothing_overlaps(boxes: tuple[tuple[np.ndarray, np.ndarray], ...]) -> None:
    surface = VisibleSurface(_joined(*boxes))
    assert not surface.has_hidden_parts
    assert len(surface.points(500, np.random.default_rng(0)).points) == 500


def test_a_cavity_is_seen() -> None:
    vertices, faces = _box((-0.1, -0.1, -0.1), (0.1, 0.1, 0.1))
    surface = VisibleSurface(_joined(_box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5)), (vertices, faces[:, ::-1])))
    assert not surface.has_hidden_parts
    assert surface.signed_distances(np.zeros((1, 3)))[0] == pytest.approx(0.1)
