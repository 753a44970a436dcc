"""What every extracted surface must be."""

import numpy as np

from fieldcodec.grid.iso_surface import IsoSurface


def check_closed(surface: IsoSurface) -> None:
    """Every edge has two triangles, which walk it in opposite directions; every vertex has a triangle."""
    a = surface.triangles.reshape(-1)
    b = np.roll(surface.triangles, -1, axis=1).reshape(-1)
    count = len(surface.vertices)
    directed = np.unique(a * count + b)
    assert len(directed) == len(a), "an edge is walked twice in one direction"
    np.testing.assert_array_equal(directed, np.unique(b * count + a), "an edge has one triangle only")
    assert len(np.unique(a)) == count, "a vertex without a triangle"
