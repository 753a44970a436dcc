"""Colours at points near a mesh."""

from pathlib import Path

import numpy as np
import pytest

from fieldcodec.io.mesh import Mesh
from fieldcodec.io.mesh.appearance import read_coloured_mesh
from fieldcodec.io.mesh.surface_colours import SurfaceColours
from fieldcodec.io.mesh.write import write_mesh

pytest.importorskip("trimesh")


def test_colours_are_those_of_the_nearest_places(tmp_path: Path) -> None:
    """On a square a red that grows with x and a green that grows with y; beside it those of its edge."""
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    shades = np.array([[0, 0, 51], [255, 0, 51], [255, 255, 51], [0, 255, 51]], np.uint8)
    path = tmp_path / "square.ply"
    write_mesh(path, Mesh(square, np.array([[0, 1, 2], [0, 2, 3]])), colours=shades)
    colours = SurfaceColours.of(read_coloured_mesh(path))
    assert colours is not None
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.random((50, 2)), rng.uniform(-0.1, 0.1, (50, 1))], axis=1)
    expected = np.concatenate([points[:, :2], np.full((50, 1), 0.2)], axis=1)
    np.testing.assert_allclose(colours(points), expected, atol=0.5 / 255 + 1e-9)
    np.testing.assert_allclose(colours(np.array([[1.0, 2.0, 0.0]])), [[1, 1, 0.2]], atol=1e-9)


def test_a_mesh_without_colours_has_none(tmp_path: Path) -> None:
    path = tmp_path / "plain.ply"
    write_mesh(path, Mesh.of(np.eye(3), np.array([[0, 1, 2]])))
    assert SurfaceColours.of(read_coloured_mesh(path)) is None
