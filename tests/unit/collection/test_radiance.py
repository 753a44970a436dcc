"""Radiance fields in collections: samples as cameras see them, the field of an object, rays of pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fieldcodec.collection.asset import RadianceAsset, ScenePictures
from fieldcodec.collection.asset_cache import AssetCache
from fieldcodec.collection.compressed import CompressedCollection
from fieldcodec.collection.encode import add_to_collection, encode_collection
from fieldcodec.collection.losses import picture_loss
from fieldcodec.collection.measure import RadianceQuality, measure_any
from fieldcodec.collection.picture_rays import draw_rays
from fieldcodec.collection.radiance_grid import grid_of_item
from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.collection.radiance_truth import asset_of_radiance, rays_around
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.collection.training import CollectionTraining
from fieldcodec.errors import InputError, UsageError
from fieldcodec.grid.octree import Octree
from fieldcodec.nets.recursive import RecursiveField, Unfolded
from fieldcodec.nets.recursive_spec import RecursiveSpec
from fieldcodec.radiance.field import Occupancy, RadianceField
from fieldcodec.radiance.march import RayMarcher
from fieldcodec.radiance.render import photograph, see
from fieldcodec.testing.collections import TINY, random_collection
from fieldcodec.testing.radiance import cameras_around, pixel_table
from fieldcodec.testing.shiny_ball import ShinyBall

BALL = ShinyBall()
SETTINGS = CollectionSettings(
    lods=4, latent=12, base_width=48, width=24, steps=120, objects_per_step=1, points_per_object=1024,
    surface_points=12_000, matrix_rate=0.01, learning_rate=5e-3,
)  # fmt: skip


@pytest.fixture(scope="module")
def asset() -> RadianceAsset:
    return asset_of_radiance(BALL, "ball", SETTINGS, source_bytes=5)


@pytest.fixture(scope="module")
def item(asset: RadianceAsset) -> RadianceItem:
    found = CompressedCollection.from_bytes(encode_collection([asset], SETTINGS, threads=1).to_bytes())[0]
    assert isinstance(found, RadianceItem)
    return found


def test_colours_are_those_that_rays_see(asset: RadianceAsset) -> None:
    assert asset.placement.centre == pytest.approx(BALL.centre, abs=0.01)
    assert asset.placement.scale == pytest.approx(BALL.radius / 0.9, rel=0.06)
    assert len(asset.seen.points) == 12_000
    world = asset.placement.to_world(asset.seen.points)
    _, colours = BALL.evaluate(torch.from_numpy(world), torch.from_numpy(asset.seen.directions.astype(np.float64)))
    assert np.abs(asset.seen.colours / 255 - colours.numpy()).max() < 0.01
    outward = (world - BALL.centre) / np.linalg.norm(world - BALL.centre, axis=1, keepdims=True)
    assert ((outward * asset.seen.directions).sum(axis=1) < 0).mean() > 0.9  # nearly all light is from the near side


def test_densities_are_taken_where_light_gets(asset: RadianceAsset) -> None:
    world = asset.placement.to_world(asset.density.points)
    density, _ = BALL.evaluate(torch.from_numpy(world), torch.zeros(len(world), 3))
    assert asset.density.densities / asset.placement.scale == pytest.approx(density.numpy(), abs=0.2)
    away = np.linalg.norm(world - BALL.centre, axis=1) / BALL.radius
    assert away.min() > 0.6  # an optical depth of 4 is reached 0.07 below the surface
    assert 0.2 < (asset.density.densities > 0).mean() < 0.8
    tree = asset.octree(4)
    side, cells = 16, ((asset.density.points + 1) * 8).astype(int)
    occupied = np.zeros((side, side, side), bool)
    occupied[tuple(tree.cells(4)[1].T)] = True
    assert occupied[tuple(np.minimum(cells, side - 1).T)].all()


def test_the_same_seed_gives_the_same_samples_and_the_cache_keeps_them(asset: RadianceAsset, tmp_path: Path) -> None:
    again = asset_of_radiance(BALL, "ball", SETTINGS)
    other = asset_of_radiance(BALL, "ball", replace(SETTINGS, seed=1))
    assert np.array_equal(asset.seen.points, again.seen.points)
    assert not np.array_equal(asset.seen.points, other.seen.points)
    AssetCache(tmp_path).store("key", replace(asset, up=(0.0, -1.0, 0.0)), {})
    loaded = AssetCache(tmp_path).load("key", tmp_path / "none", "ball")
    assert loaded is not None
    kept, _ = loaded
    assert isinstance(kept, RadianceAsset)
    assert (kept.kind, kept.placement, kept.source_bytes) == ("radiance", asset.placement, 5)
    assert kept.up == (0, -1, 0)
    assert np.array_equal(kept.density.densities, asset.density.densities)
    assert np.array_equal(kept.seen.colours, asset.seen.colours)


class _Nothing(RadianceField):
    def __init__(self, occupied: bool) -> None:
        self._occupied = occupied

    @property
    def occupancy(self) -> Occupancy:
        return Occupancy(np.zeros(3), 0.5, np.full((4, 4, 4), self._occupied))

    def evaluate(self, points: torch.Tensor, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(points)), torch.zeros(len(points), 3)


@pytest.mark.parametrize("occupied", [False, True])
def test_nothing_to_be_seen_is_told(occupied: bool) -> None:
    with pytest.raises(InputError, match="empty"):
        asset_of_radiance(_Nothing(occupied), "nothing", SETTINGS)


def test_rays_come_from_all_around() -> None:
    origins, directions = rays_around(BALL.occupancy)(4000, np.random.default_rng(0))
    away = origins - BALL.centre
    assert np.linalg.norm(away, axis=1) == pytest.approx(np.linalg.norm(away[0]))
    assert np.abs(away.mean(axis=0)).max() < 0.1 * np.linalg.norm(away[0])
    assert np.linalg.norm(directions, axis=1) == pytest.approx(1)
    marcher = RayMarcher(BALL.occupancy, torch.device("cpu"), step=0.1)
    assert marcher.meets(torch.from_numpy(origins), torch.from_numpy(directions)).float().mean() > 0.99


class _Fallen(ShinyBall):
    """For which x is up."""

    @property
    def up(self) -> tuple[float, float, float]:
        return 1.0, 0.0, 0.0


def test_what_is_up_goes_from_the_field_to_the_file_and_back() -> None:
    quick = replace(SETTINGS, steps=1, surface_points=1000, lods=2)
    fallen = asset_of_radiance(_Fallen(), "fallen", quick)
    found = encode_collection([asset_of_radiance(BALL, "ball", quick), fallen], quick, threads=1)
    items = [CompressedCollection.from_bytes(found.to_bytes())[number] for number in range(2)]
    assert [item.up for item in items if isinstance(item, RadianceItem)] == [(0, 0, 1), (1, 0, 0)]
    more = add_to_collection(found, [replace(fallen, name="more")], quick, threads=1)
    assert more.entry("more").up == (1, 0, 0)
    assert isinstance(items[1], RadianceItem)
    assert grid_of_item(items[1], 8).up == (1, 0, 0)


def test_an_object_is_drawn_as_its_field(item: RadianceItem) -> None:
    camera = cameras_around(BALL.centre, 2.0, 5, width=24, height=24)[2]
    true, found = photograph(BALL, camera, step=0.2), photograph(item, camera)
    assert (true.alpha > 0.9).mean() > 0.2
    error = np.sqrt(np.mean((true.over(1.0) - found.over(1.0)) ** 2))
    plain = np.sqrt(np.mean((true.over(1.0) - 1.0) ** 2))
    assert error < 0.25 * plain


def test_an_object_is_a_field_of_four_channels(item: RadianceItem, asset: RadianceAsset) -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-1, 1, (200, 3)), [[9.0, 0, 0], [np.nan] * 3]])
    ways = np.array([0.0, 0.0, -1.0])
    model = item.sample(points, ways, space="model")
    world = item.sample(item.placement.to_world(points), ways)
    assert model.shape == (202, 4)
    inside = item.in_cells(points)
    assert 20 < inside.sum() < 190
    assert not model[~inside].any()
    assert world[:, 0] * item.placement.scale == pytest.approx(model[:, 0], rel=1e-3, abs=1e-3)
    density, colours = item.evaluate(
        torch.from_numpy(item.placement.to_world(points[:200])), torch.tensor(ways).expand(200, 3)
    )
    dense = world[:200, 0] > 0
    assert density.numpy() == pytest.approx(world[:200, 0], rel=1e-4, abs=1e-4)
    assert colours.numpy()[dense] == pytest.approx(world[:200, 1:][dense], abs=1e-4)
    other = item.sample(points, -ways, space="model")
    assert np.abs(other[inside, 1:] - model[inside, 1:]).max() > 0.02
    assert np.array_equal(other[:, 0], model[:, 0])
    coarse = item.sample(points, ways, space="model", lod=2)
    assert not np.allclose(coarse, model)
    tensor = item.sample(torch.from_numpy(points).reshape(2, 101, 3), space="model")
    assert tensor.shape == (2, 101, 4)
    grid = item.occupancy
    assert grid.low + grid.cell * np.array(grid.cells.shape) == pytest.approx(item.bounds[1])  # type: ignore[index]
    assert grid.cells.sum() * (grid.cell / (item.edge * item.placement.scale)) ** 3 == pytest.approx(
        item.octree.num_cells[-1]
    )
    for wrong in ({"lod": 9}, {"space": "index"}, {"directions": np.zeros((3, 3))}):
        with pytest.raises(UsageError):
            item.sample(points, **wrong)
    quality = measure_any(item, asset)
    assert isinstance(quality, RadianceQuality)
    assert quality.psnr is not None
    assert quality.psnr > 18
    assert quality.opacity_error < 0.15


def test_networks_without_radiance_make_no_radiance_field() -> None:
    with pytest.raises(UsageError, match="no radiance fields"):
        RadianceItem(RecursiveField(TINY), Octree.of_cells(np.zeros((1, 3), int), 3), [torch.zeros(1, 6)] * 3)
    spec = replace(TINY, colour="rgb+radiance")
    made = random_collection(spec, kinds=("radiance", "coloured", "distance"))
    with pytest.raises(UsageError, match="radiance field, which has no surface"):
        made.surface("cup")
    assert [made.surface(row).has_colours for row in (1, 2)] == [True, False]
    assert RecursiveSpec.colour_for(["distance", "radiance"]) == "none+radiance"


def _with_pictures(asset: RadianceAsset) -> RadianceAsset:
    cameras = cameras_around(BALL.centre, 2.0, 8, width=24, height=24)
    taken = [photograph(BALL, camera, step=0.2) for camera in cameras]
    colours = [np.concatenate([each.colours, each.alpha[..., None]], axis=2).reshape(-1, 4) for each in taken]
    pixels = torch.from_numpy(np.rint(np.concatenate(colours) * 255).astype(np.uint8))
    return replace(asset, pictures=ScenePictures(pixel_table(cameras, pixels), None))


def test_rays_of_pictures_are_composited_as_the_renderer_does(item: RadianceItem, asset: RadianceAsset) -> None:
    """The picture part of the loss is the squared error of what the renderer makes of the same field."""
    seen = _with_pictures(asset)
    assert seen.pictures is not None
    tree = seen.octree(4)
    rays = draw_rays(seen, tree, 0, tree, 1500, 1.0, np.random.default_rng(3))
    assert len(rays.distances) == rays.offsets[-1] > 1500
    with torch.no_grad():
        loss = float(picture_loss(item.network, Unfolded(item.latents, []), rays))
    chosen = torch.from_numpy(np.random.default_rng(3).integers(0, len(seen.pictures.pixels), 1500))
    found, wanted = see(item, *seen.pictures.pixels.rays(chosen)), seen.pictures.pixels.targets(chosen)
    assert torch.equal(wanted, rays.wanted)
    assert 0.1 < (wanted[:, 3] > 0.5).float().mean() < 0.9
    errors = found.colours + (1 - found.alpha[:, None]) * rays.behind - wanted[:, :3]
    errors -= (1 - wanted[:, 3:]) * rays.behind
    assert loss == pytest.approx(float(errors.square().mean()), rel=0.1)


def test_training_on_pictures_improves_them(asset: RadianceAsset) -> None:
    seen = _with_pictures(asset)
    settings = replace(SETTINGS, steps=60, picture_share=0.5, rays_per_object=128, points_per_object=512)
    training = CollectionTraining([seen], settings, threads=1)
    losses = [each.picture for each in training.run()]
    assert not any(losses[:30])
    assert all(losses[30:])
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[30:33])
