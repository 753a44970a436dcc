"""Which points are in the finest cells of an object."""

import numpy as np
import pytest

from fieldcodec.collection.asset import dilated_octree
from fieldcodec.collection.finest_cells import FinestCells

POINTS = np.array([[0.1, 0.2, 0.3], [-0.9, 0.7, -0.2]], np.float32)


def test_points_are_where_the_octree_says() -> None:
    tree = dilated_octree(POINTS, 4)
    cells, found = tree.cells(4)[1], FinestCells(tree)
    points = np.random.default_rng(0).uniform(-1, 1, (5000, 3))
    expected = {tuple(cell) for cell in cells.tolist()}
    inside = [tuple(cell) in expected for cell in np.floor((points + 1) * 8).astype(int).tolist()]
    assert found.hold(points).tolist() == inside
    assert 0 < sum(inside) < len(points)
    assert found.hold(POINTS).all()


@pytest.mark.filterwarnings("error")
def test_what_is_nowhere_is_in_no_cell() -> None:
    nowhere = [[np.nan, 0, 0], [np.inf, 0.2, 0.3], [0.1, -np.inf, 0.3], [1e300, 0, 0], [2.1, 0.2, 0.3]]
    assert not FinestCells(dilated_octree(POINTS, 4)).hold(np.array(nowhere)).any()
