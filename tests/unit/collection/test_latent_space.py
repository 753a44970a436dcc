"""Between objects, like objects, maps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fieldcodec.collection.asset import Placement
from fieldcodec.collection.item import ItemField
from fieldcodec.collection.latent_space import (
    apart,
    interpolated,
    latent_distances,
    map_picture,
    map_places,
    neighbours,
    save_map,
    thumbnail,
)
from fieldcodec.errors import UsageError
from fieldcodec.grid.octree import Octree
from fieldcodec.testing.spheres import Fitted


def test_the_ends_of_an_interpolation_are_the_objects_themselves(fitted: Fitted) -> None:
    first = fitted.latents[0]
    second = first + 0.02 * torch.randn(len(first), generator=torch.Generator().manual_seed(0))
    placements = (Placement((0.0, 0.0, 0.0), 1.0), Placement((2.0, 0.0, 4.0), 3.0))
    points = fitted.asset.surface.points[:200]
    for share, latent in ((0.0, first), (1.0, second)):
        item = interpolated(fitted.network, first, second, share, placements)
        expected = ItemField.predicted(fitted.network, latent)
        assert item.octree.num_cells == expected.octree.num_cells
        np.testing.assert_allclose(
            item.distance(points, space="model"), expected.distance(points, space="model"), atol=1e-5
        )
        assert item.placement == placements[int(share)]
    assert interpolated(fitted.network, first, second, 0.5, placements).placement == Placement((1.0, 0.0, 2.0), 2.0)


def test_neighbours_are_the_nearest_by_either_measure() -> None:
    latents = np.array([[1.0, 0], [2, 0.1], [0, 1], [-1, 0], [-2, -1.1]])
    euclidean = latent_distances(latents, "euclidean")
    assert euclidean[0, 1] == pytest.approx(np.hypot(1, 0.1))
    assert [found.row for found in neighbours(latents, 0, 2, "euclidean")] == [1, 2]
    cosine = latent_distances(latents)  # their mean is zero
    assert cosine[0, 3] == pytest.approx(2)
    assert cosine[0, 2] == pytest.approx(1)
    assert [found.row for found in neighbours(latents, 0, 9)] == [1, 2, 4, 3]
    np.testing.assert_allclose(latent_distances(latents + 5), cosine, atol=1e-12)
    with pytest.raises(UsageError, match="measure"):
        latent_distances(latents, "taxi")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="does not exist"):
        neighbours(latents, 5)


def test_the_map_shows_the_directions_of_most_variance() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(50, 2)) * (3, 1)
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    places = map_places(hidden @ rotation[:2] + 7)
    centred = hidden - hidden.mean(axis=0)
    for axis in range(2):
        assert abs(np.corrcoef(places[:, axis], centred[:, axis])[0, 1]) > 0.95
    assert np.abs(places).max() == 1
    np.testing.assert_array_equal(map_places(np.ones((1, 8))), [[0, 0]])


@pytest.mark.parametrize("count", [1, 12, 70])
def test_boxes_are_moved_apart(count: int) -> None:
    places = np.random.default_rng(0).normal(size=(count, 2)) * 20
    centres = apart(places, 10, 14)
    gaps = np.abs(centres[:, None] - centres[None]) / (10, 14)
    over = (gaps < 1 - 1e-6).all(axis=2)
    assert over.sum() == count  # each box over itself
    far = np.array([[0.0, 0], [100, 0], [0, 100]])
    np.testing.assert_array_equal(apart(far, 10, 14), far)


def test_a_map_of_objects_is_a_picture(fitted: Fitted, tmp_path: Path) -> None:
    item = fitted.item
    none = np.zeros((0, 8), bool)
    octree = Octree(1, (np.zeros((1, 8), bool), none, none, none))
    empty = ItemField(fitted.network, octree, [values[:0] for values in item.latents], name="n" * 90)
    small = thumbnail(item, 48)
    assert small.shape == (48, 48, 4)
    covered = small[..., 3] > 0
    assert 0.5 < covered.mean() < 0.8  # a ball that fills the picture
    assert np.ptp(small[covered][:, :3].astype(int), axis=0).min() > 60  # and has its colours
    assert not thumbnail(empty, 48).any()
    path = tmp_path / "map.png"
    save_map(path, [item, empty], np.array([[0.0, 1], [1, 0]]), size=48)
    with Image.open(path) as picture:
        assert min(picture.size) >= 48
        pixels = np.asarray(picture)
    assert (pixels.reshape(-1, 3).max(axis=1) > 60).mean() > 0.05
    with pytest.raises(UsageError, match="make no map"):
        map_picture([], [], np.zeros((0, 2)))
