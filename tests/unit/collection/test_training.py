"""Training of collections: it learns, goes on where it stopped, and does not depend on threads."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fieldcodec.collection.asset import Asset, DistanceSamples, Placement, SurfaceSamples
from fieldcodec.collection.batches import BatchOptions, make_batch
from fieldcodec.collection.checkpoint import load_checkpoint, save_checkpoint
from fieldcodec.collection.encode import add_to_collection, encode_collection
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.collection.training import CollectionTraining, losses_of
from fieldcodec.errors import FormatError, UsageError
from fieldcodec.nets.recursive import RecursiveField

SETTINGS = CollectionSettings(
    lods=3,
    latent=8,
    base_width=32,
    width=16,
    steps=40,
    objects_per_step=2,
    points_per_object=256,
    settle=0.25,
    matrix_rate=0.01,
)


def _ball(name: str, radius: float, *, colours: bool = False, seed: int = 0) -> Asset:
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(4000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    surface = (radius * normals).astype(np.float32)
    shades = (127.5 * (normals + 1)).astype(np.uint8) if colours else None

    def samples(points: np.ndarray) -> DistanceSamples:
        points = points.astype(np.float32)
        return DistanceSamples(points, (np.linalg.norm(points, axis=1) - radius).astype(np.float32))

    near = samples(surface + rng.uniform(-0.3, 0.3, surface.shape))
    volume = samples(rng.uniform(-0.9, 0.9, (4000, 3)))
    placement = Placement((1.0, 2.0, 3.0), 4.0)
    return Asset(name, placement, SurfaceSamples(surface, normals.astype(np.float32), shades), near, volume, 1234)


BALLS = [_ball("small", 0.4), _ball("middle", 0.55, seed=1), _ball("large", 0.7, seed=2)]


def _trained(settings: CollectionSettings, assets: list[Asset] = BALLS, **options: object) -> CollectionTraining:
    training = CollectionTraining(assets, settings, **options)  # type: ignore[arg-type]
    for _ in training.run():
        pass
    return training


def _everything(training: CollectionTraining) -> list[torch.Tensor]:
    return [*(each.detach().clone() for each in training.network.parameters()), training.latents.detach().clone()]


@pytest.mark.parametrize(
    ("optimiser", "unfolding"), [("muon", "teacher"), ("muon", "coarse-to-fine"), ("adamw", "teacher")]
)
def test_losses_fall(optimiser: str, unfolding: str) -> None:
    settings = replace(SETTINGS, optimiser=optimiser, unfolding=unfolding, steps=80)  # type: ignore[arg-type]
    training = CollectionTraining(BALLS, settings)
    losses = list(training.run())
    assert len(losses) == training.step == 80
    late = [each.distance for each in losses[-10:]]
    assert np.mean(late) < 0.6 * np.mean([each.distance for each in losses[:3]])
    assert np.mean([each.occupancy for each in losses[-10:]]) < 0.95 * losses[0].occupancy


def test_the_same_numbers_with_any_number_of_threads() -> None:
    one, two = _trained(SETTINGS, threads=1), _trained(SETTINGS, threads=2)
    assert all(torch.equal(a, b) for a, b in zip(_everything(one), _everything(two), strict=True))
    other = _trained(replace(SETTINGS, seed=1))
    assert not torch.equal(one.latents, other.latents)


@pytest.mark.parametrize("stop", [13, 35])  # before and after rounding begins
def test_a_stopped_training_goes_on_as_if_it_had_not_been(tmp_path: Path, stop: int) -> None:
    whole = _trained(SETTINGS)
    first = CollectionTraining(BALLS, SETTINGS)
    for _ in first.run():
        if first.step == stop:
            save_checkpoint(tmp_path / "state", first)
            break
    second = CollectionTraining(BALLS, SETTINGS)
    load_checkpoint(tmp_path / "state", second)
    assert second.step == stop
    for _ in second.run():
        pass
    assert all(torch.equal(a, b) for a, b in zip(_everything(whole), _everything(second), strict=True))
    assert second.latent_step == whole.latent_step
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_checkpoints_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_checkpoint(path, CollectionTraining(BALLS, SETTINGS))
    with pytest.raises(UsageError, match="other settings"):
        load_checkpoint(path, CollectionTraining(BALLS, replace(SETTINGS, seed=3)))
    with pytest.raises(UsageError, match="other objects"):
        load_checkpoint(path, CollectionTraining(BALLS[:2], SETTINGS))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FormatError, match="damaged"):
        load_checkpoint(path, CollectionTraining(BALLS, SETTINGS))


def test_a_batch_of_several_objects_has_the_mean_loss_of_each_alone() -> None:
    network = RecursiveField(SETTINGS.spec("none"))
    trees = [asset.octree(3) for asset in BALLS]
    options = BatchOptions(64, occupancy=1 << 20)
    latents = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    joined = make_batch(BALLS, trees, options, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    single = [make_batch([asset], [tree], options, rng) for asset, tree in zip(BALLS, trees, strict=True)]
    parts = [losses_of(network, latents[i : i + 1], batch).detach() for i, batch in enumerate(single)]
    together = losses_of(network, latents, joined).detach()
    assert together[1] == pytest.approx(float(torch.stack(parts)[:, 1].mean()), rel=1e-5)
    children = torch.tensor([float(sum(batch.children)) for batch in single])
    weighted = (torch.stack(parts)[:, 0] * children).sum() / children.sum()
    assert together[0] == pytest.approx(float(weighted), rel=1e-5)


def test_dropped_levels_see_nothing_finer() -> None:
    tree = BALLS[0].octree(3)
    options = BatchOptions(500, level_dropout=1.0)
    rows = make_batch([BALLS[0]], [tree], options, np.random.default_rng(0)).stencil.rows.numpy()
    seen = (rows >= 0).any(axis=2)
    assert {tuple(row) for row in seen.tolist()} >= {(True, False, False), (True, True, False), (True, True, True)}
    assert not (seen[:, 1:] & ~seen[:, :-1]).any()


def test_colours_are_learnt_where_all_objects_have_them() -> None:
    coloured = [_ball("a", 0.5, colours=True), _ball("b", 0.6, colours=True)]
    settings = replace(SETTINGS, steps=80, points_per_object=512)
    training = CollectionTraining(coloured, settings)
    losses = list(training.run())
    assert training.network.spec.colour == "rgb"
    assert np.mean([each.colour for each in losses[-10:]]) < 0.7 * losses[0].colour
    assert CollectionTraining([coloured[0], BALLS[0]], settings).network.spec.colour == "none"
    assert CollectionTraining(coloured, replace(settings, colour="none")).network.spec.colour == "none"


def test_from_assets_to_a_file_and_more_objects() -> None:
    settings = replace(SETTINGS, steps=160, points_per_object=512)
    collection = encode_collection(BALLS, settings)
    assert collection.names == ("small", "middle", "large")
    assert collection.listing.settings["trained_steps"] == 160
    field = collection["middle"]
    inside, outside = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0 + 4 * 0.75, 2.0, 3.0]])
    assert field.sample(inside)[0, 0] < 0 < field.sample(outside)[0, 0]
    surface = BALLS[1].placement.to_world(BALLS[1].surface.points[:200])
    assert np.abs(field.sample(surface)).mean() < 4 * 0.06
    more = add_to_collection(collection, [_ball("between", 0.62, seed=5)], replace(settings, steps=60))
    assert more.names == ("small", "middle", "large", "between")
    assert more.sections["networks"] == collection.sections["networks"]
    tree, _ = more.unfold("between").octree, None
    true = _ball("between", 0.62, seed=5).octree(3)
    assert all(np.array_equal(a, b) for a, b in zip(tree.child_masks, true.child_masks, strict=True))
    with pytest.raises(UsageError):
        add_to_collection(collection, [BALLS[0]], settings)


def test_nothing_to_train_is_told() -> None:
    with pytest.raises(UsageError, match="an object at least"):
        encode_collection([], SETTINGS)


def test_mixed_precision_learns_too() -> None:
    training = CollectionTraining(BALLS, replace(SETTINGS, precision="mixed"))
    losses = list(training.run())
    assert np.mean([each.distance for each in losses[-5:]]) < np.mean([each.distance for each in losses[:3]])
    assert all(torch.isfinite(each).all() for each in _everything(training))


@pytest.mark.needs_gpu
@pytest.mark.parametrize("precision", ["single", "mixed"])
def test_training_on_a_gpu(precision: str) -> None:
    coloured = [_ball("a", 0.5, colours=True), _ball("b", 0.6, colours=True)]
    settings = replace(SETTINGS, steps=160, points_per_object=512, precision=precision)  # type: ignore[arg-type]
    collection = encode_collection(coloured, settings, device="cuda")
    trees = [asset.octree(settings.lods) for asset in coloured]
    for device in ("cpu", "cuda"):  # the same trees on both
        found = [collection.unfold(name, device).octree for name in collection.names]
        for tree, true in zip(found, trees, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(tree.child_masks, true.child_masks, strict=True))
    surface = coloured[0].surface.points[:200]
    assert np.abs(collection["a"].distance(surface, space="model")).mean() < 0.06
