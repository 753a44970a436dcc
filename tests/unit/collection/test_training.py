"""Training of collections: it learns, goes on where it stopped, and does not depend on threads."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fieldcodec.collection import training as module
from fieldcodec.collection.asset import (
    AnyAsset,
    Asset,
    DensitySamples,
    DistanceSamples,
    Placement,
    RadianceAsset,
    SeenSamples,
    SurfaceSamples,
)
from fieldcodec.collection.batches import BatchOptions, make_batch
from fieldcodec.collection.checkpoint import load_checkpoint, save_checkpoint
from fieldcodec.collection.compressed import CompressedCollection
from fieldcodec.collection.encode import add_to_collection, encode_collection
from fieldcodec.collection.item import ItemField
from fieldcodec.collection.losses import losses_of, opacity_errors
from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.collection.training import CollectionTraining
from fieldcodec.errors import FormatError, UsageError
from fieldcodec.grid.octree import Octree
from fieldcodec.nets.recursive import RecursiveField, new_latents

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


def _trained(settings: CollectionSettings, assets: Sequence[AnyAsset] = BALLS, **options: object) -> CollectionTraining:
    training = CollectionTraining(assets, settings, **options)  # type: ignore[arg-type]
    for _ in training.run():
        pass
    return training


def _resumed(
    settings: CollectionSettings,
    assets: Sequence[AnyAsset],
    path: Path,
    stop: int,
    threads: tuple[int | None, int | None] = (None, None),
) -> CollectionTraining:
    """Trained to step `stop`, saved in `path`, loaded by another training and trained to the end there."""
    first = CollectionTraining(assets, settings, threads=threads[0])
    for _ in first.run():
        if first.step == stop:
            save_checkpoint(path, first)
            break
    second = CollectionTraining(assets, settings, threads=threads[1])
    load_checkpoint(path, second)
    assert second.step == stop
    for _ in second.run():
        pass
    return second


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
    second = _resumed(SETTINGS, BALLS, tmp_path / "state", stop)
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


def test_a_batch_makes_the_cells_that_its_samples_see_and_no_others() -> None:
    trees = [asset.octree(5) for asset in BALLS]
    whole = Octree.joined(trees)
    batch = make_batch(BALLS, trees, BatchOptions(40, occupancy=100), np.random.default_rng(0))
    network = RecursiveField(replace(SETTINGS, lods=5).spec("none"))
    latents = new_latents(3, network.spec.latent, 0)
    everything = network(latents, [torch.from_numpy(rows) for rows in whole.kept])
    some = network(latents, batch.kept, batch.asked)
    assert batch.distances is not None
    for level in range(5):
        cells, children = batch.cells[level], batch.children[level]
        torch.testing.assert_close(some.latents[level], everything.latents[level][cells])
        seen = batch.distances.stencil.rows[:, level]
        assert level < 4 or torch.equal(seen[seen >= 0].unique(), torch.arange(len(cells)))
        above = torch.arange(3) if level == 0 else batch.cells[level - 1]
        asked = 8 * above[batch.asked[level] // 8] + batch.asked[level] % 8
        torch.testing.assert_close(some.occupancy[level], everything.occupancy[level][asked])
        assert torch.equal(batch.occupied[level], torch.from_numpy(whole.child_masks[level].ravel())[asked].long())
        assert children == 8 * whole.num_cells[level]
    assert len(batch.cells[-1]) < 0.5 * whole.num_cells[-1]


def test_dropped_levels_see_nothing_finer() -> None:
    tree = BALLS[0].octree(3)
    options = BatchOptions(500, level_dropout=1.0)
    distances = make_batch([BALLS[0]], [tree], options, np.random.default_rng(0)).distances
    assert distances is not None
    rows = distances.stencil.rows.numpy()
    seen = (rows >= 0).any(axis=2)
    assert {tuple(row) for row in seen.tolist()} >= {(True, False, False), (True, True, False), (True, True, True)}
    assert not (seen[:, 1:] & ~seen[:, :-1]).any()


def test_colours_are_learnt_of_objects_that_have_some() -> None:
    coloured = [_ball("a", 0.5, colours=True), _ball("b", 0.6, colours=True)]
    settings = replace(SETTINGS, steps=80, points_per_object=512)
    training = CollectionTraining(coloured, settings)
    losses = list(training.run())
    assert training.network.spec.colour == "rgb"
    assert np.mean([each.colour for each in losses[-10:]]) < 0.7 * losses[0].colour
    some = CollectionTraining([coloured[0], BALLS[0]], settings)
    assert (some.network.spec.colour, some.kinds) == ("rgb", ["coloured", "distance"])
    none = CollectionTraining(coloured, replace(settings, colour="none"))
    assert (none.network.spec.colour, none.kinds) == ("none", ["distance", "distance"])


def _glow(name: str, radius: float, seed: int = 0) -> RadianceAsset:
    """A ball of density 30 whose colours are those of its points, brighter along z."""
    rng = np.random.default_rng(seed)
    outward = rng.normal(size=(4000, 3))
    outward = (outward / np.linalg.norm(outward, axis=1, keepdims=True)).astype(np.float32)
    directions = -outward[rng.permutation(4000)]
    colours = (127 * (outward + 1) * (0.75 + 0.25 * directions[:, 2:])).astype(np.uint8)
    points = (radius * outward * rng.uniform(0.7, 1.3, (4000, 1))).astype(np.float32)
    densities = np.where(np.linalg.norm(points, axis=1) < radius, 30, 0).astype(np.float32)
    seen = SeenSamples(np.float32(radius) * outward, directions, colours)
    return RadianceAsset(name, Placement((1.0, 2.0, 3.0), 4.0), seen, DensitySamples(points, densities), 77)


MIXED = [BALLS[0], _ball("painted", 0.5, colours=True), _glow("glow", 0.6)]


def test_kinds_are_learnt_together() -> None:
    settings = replace(SETTINGS, steps=120, points_per_object=512, objects_per_step=3)
    training = CollectionTraining(MIXED, settings)
    losses = list(training.run())
    assert (training.network.spec.colour, training.kinds) == ("rgb+radiance", ["distance", "coloured", "radiance"])
    for part in ("occupancy", "distance", "colour", "opacity", "radiance"):
        assert np.mean([getattr(each, part) for each in losses[-10:]]) < 0.6 * getattr(losses[0], part), part
    two = CollectionTraining([BALLS[0], MIXED[2]], settings)
    assert two.network.spec.colour == "none+radiance"
    assert CollectionTraining(MIXED[2:], settings).network.spec.colour == "radiance"


def test_a_mixed_batch_has_the_mean_loss_of_each_alone() -> None:
    network = RecursiveField(SETTINGS.spec("rgb+radiance"))
    trees, latents = [asset.octree(3) for asset in MIXED], torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    options = BatchOptions(1 << 14, occupancy=1 << 20, colours=True, lods=3)
    joined = losses_of(network, latents, make_batch(MIXED, trees, options, np.random.default_rng(0))).detach()
    parts = [
        losses_of(network, latents[i : i + 1], make_batch([asset], [tree], options, np.random.default_rng(i))).detach()
        for i, (asset, tree) in enumerate(zip(MIXED, trees, strict=True))
    ]
    assert joined[1:].tolist() == pytest.approx(torch.stack(parts)[:, 1:].mean(dim=0).tolist(), rel=0.05)
    assert ((torch.stack(parts)[:, 1:] > 0).sum(dim=0) == torch.tensor([2, 1, 1, 1, 0])).all()


def test_opacities_beyond_none_and_all_are_no_errors() -> None:
    predicted = torch.tensor([-0.5, 0.25, 0.5, -0.5, 1.5, 0.75])
    wanted = torch.tensor([0.0, 0.0, 0.25, 0.25, 1.0, 1.0])
    assert opacity_errors(predicted, wanted).tolist() == pytest.approx([0, 0.25, 0.25, 0.75, 0, 0.25])


def test_mixed_trainings_stop_go_on_and_end_the_same(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=12)
    straight = _trained(settings, MIXED, threads=1)
    resumed = _resumed(settings, MIXED, tmp_path / "state", 9, threads=(2, 3))
    assert all(torch.equal(a, b) for a, b in zip(_everything(straight), _everything(resumed), strict=True))


def test_kinds_come_back_from_a_file_and_only_they_can_be_added() -> None:
    settings = replace(SETTINGS, steps=100, points_per_object=256, objects_per_step=3)
    made = CompressedCollection.from_bytes(encode_collection(MIXED, settings).to_bytes())
    assert made.kinds == ("distance", "coloured", "radiance")
    shape, painted, glow = made
    assert isinstance(shape, ItemField)
    assert isinstance(painted, ItemField)
    assert (shape.channels, painted.channels) == (1, 4)
    assert isinstance(glow, RadianceItem)
    found = glow.sample([[1.0, 2.0, 3.0 + 4 * 0.55], [1.0 + 3.9, 2.0 + 3.9, 3.0 + 3.9]], [0.0, 0.0, 1.0])
    assert found[0, 0] > 1
    assert found[1].tolist() == [0, 0, 0, 0]
    more = add_to_collection(made, [_glow("other", 0.5)], replace(settings, steps=20))
    assert more.kinds == ("distance", "coloured", "radiance", "radiance")
    shapes = encode_collection([replace(ball, shared_files=("c",)) for ball in BALLS], replace(settings, steps=5))
    assert CompressedCollection.from_bytes(shapes.to_bytes()).listing.shared_files == {"c"}
    with pytest.raises(UsageError, match="of kind 'radiance', but the collection's networks are for distance"):
        add_to_collection(shapes, [_glow("other", 0.5)], settings)
    painted_only = add_to_collection(shapes, [MIXED[1]], replace(settings, steps=5))
    assert painted_only.kinds == ("distance",) * 4


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
    assert collection.listing.metadata == {}
    added = replace(_ball("between", 0.62, seed=5), shared_files=("b", "a"))
    more = add_to_collection(collection, [added], replace(settings, steps=60))
    assert more.listing.shared_files == {"a", "b"}
    assert more.names == ("small", "middle", "large", "between")
    assert more.sections["networks"] == collection.sections["networks"]
    tree, _ = more.unfold("between").octree, None
    true = _ball("between", 0.62, seed=5).octree(3)
    assert all(np.array_equal(a, b) for a, b in zip(tree.child_masks, true.child_masks, strict=True))
    with pytest.raises(UsageError):
        add_to_collection(collection, [BALLS[0]], settings)


def test_details_make_an_added_object_better() -> None:
    """An object that is like none of those that the networks saw; its parts are."""
    settings = replace(SETTINGS, steps=120, points_per_object=512)
    collection = encode_collection(BALLS, settings)
    strange = _ball("strange", 0.3, seed=9)
    errors, sizes = [], []
    for level in (0, 1, 2, 3):
        more = add_to_collection(collection, [strange], replace(settings, steps=100, detail_level=level))
        assert more.entry("strange").detail_level == level
        errors.append(np.abs(more["strange"].sample(strange.surface.points[:500], space="model")).mean())
        sizes.append(more.own_bytes["strange"])
        before, after = collection.unfold("middle"), more.unfold("middle")
        assert all(torch.equal(a, b) for a, b in zip(before.latents, after.latents, strict=True))
        back = CompressedCollection.from_bytes(more.to_bytes())
        assert all(
            torch.equal(a, b)
            for a, b in zip(back.unfold("strange").latents, more.unfold("strange").latents, strict=True)
        )
    assert max(errors[1:]) < 0.85 * errors[0]
    assert errors[3] < 0.5 * errors[0]
    assert sizes[3] > sizes[1]


def test_details_are_trained_with_networks_and_go_on(tmp_path: Path) -> None:
    settings = replace(SETTINGS, detail_level=2)
    whole = _trained(settings)
    assert [each.shape for each in whole.details] == [(tree.num_cells[2], settings.latent) for tree in whole.trees]
    second = _resumed(settings, BALLS, tmp_path / "state", 35)
    assert all(torch.equal(a, b) for a, b in zip(_everything(whole), _everything(second), strict=True))
    for mine, other in zip(whole.stored_details, second.stored_details, strict=True):
        assert mine is not None
        assert other is not None
        assert mine.step == other.step
        assert np.array_equal(mine.numbers, other.numbers)
        assert mine.numbers.any()
    with pytest.raises(UsageError, match="level 4 were asked for; the networks have 3"):
        CollectionTraining(BALLS, replace(SETTINGS, detail_level=4))


def test_compiling_takes_no_time_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    now, numbers = [0.0], []

    def slow(training: CollectionTraining, rows: list[int], *others: Any) -> Any:
        now[0] += 1000 if training.step == 0 and not numbers else 1
        numbers.append(rows)
        return real(training, rows, *others)

    real = CollectionTraining._gradients
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(CollectionTraining, "_gradients", slow)
    training = CollectionTraining(BALLS[:1], replace(SETTINGS, steps=2, objects_per_step=1), threads=1)
    assert len(list(training.run())) == 2
    assert numbers == [[0]] * 3
    assert training.seconds == 2
    assert not list(training.run())  # nothing is warmed up for a training that is at its end
    assert len(numbers) == 3


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
