"""Assets -> CompressedCollection."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fieldcodec.collection.asset import AnyAsset
from fieldcodec.collection.checkpoint import load_checkpoint, save_checkpoint
from fieldcodec.collection.compressed import CompressedCollection
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.collection.training import CollectionTraining
from fieldcodec.errors import UsageError
from fieldcodec.fit.phases import OnEvent, ignore_event
from fieldcodec.nets.device import choose_device
from fieldcodec.nets.frozen_recursive import FrozenRecursive, frozen_latents

OnStep = Callable[[CollectionTraining], None]
_SAVE_EVERY = 20.0  # seconds


def encode_collection(
    assets: Sequence[AnyAsset],
    settings: CollectionSettings | None = None,
    *,
    device: str | None = None,
    threads: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    on_event: OnEvent = ignore_event,
    on_step: OnStep | None = None,
) -> CompressedCollection:
    """Trains networks and latents for some objects, and makes of them what a file holds.

    Args:
        device: "cpu", "cuda", ...; None means CUDA where there is one.
        threads: that share the objects of a step on a CPU; None means one per processor.
        checkpoint: a file in which the training is kept while it runs; where it exists, the training goes on from it.
        on_step: called with the training after each step, to look or to stop it: where it raises, the training is kept
            in the checkpoint first.

    Raises:
        UsageError: there are no objects, their names are repeated, or the checkpoint is of something else.
        FormatError: the checkpoint is damaged.
    """
    settings = settings or CollectionSettings()
    if not assets:
        raise UsageError("a collection needs an object at least")
    training = CollectionTraining(assets, settings, device=choose_device(device), threads=threads)
    _train(training, checkpoint, on_event, on_step)
    return CompressedCollection.of(
        FrozenRecursive.of(training.network, settings.weight_bits, training.weight_steps),
        frozen_latents(training.latents, training.latent_step),
        training.latent_step,
        [asset.name for asset in assets],
        [asset.placement for asset in assets],
        octrees=training.trees,
        source_bytes=[asset.source_bytes for asset in assets],
        kinds=training.kinds,
        ups=[asset.up for asset in assets],
        details=training.stored_details,
        settings={**settings.to_json(), "trained_steps": training.step},
    ).with_shared_files(_shared_files(assets))


def add_to_collection(
    collection: CompressedCollection,
    assets: Sequence[AnyAsset],
    settings: CollectionSettings | None = None,
    *,
    device: str | None = None,
    threads: int | None = None,
    on_event: OnEvent = ignore_event,
) -> CompressedCollection:
    """The collection with more objects: only their latents are fitted, the networks stay as they are.

    How well that goes depends on how much the new objects have in common with those that the networks were trained
    on. Parts are more alike than wholes, so that `detail_level` of the settings helps much: with it the cells of a
    level get latents of their own. Where the octree of an object comes out wrong, the file corrects it.

    Args:
        settings: of the fit; what describes networks is the collection's own.

    Raises:
        UsageError: names are repeated, or the networks are not for the kind of an object.
    """
    settings = settings or CollectionSettings()
    if not assets:
        raise UsageError("no objects to add")
    chosen = choose_device(device)
    network = collection.networks.module(chosen)
    settings = replace(settings, lods=collection.spec.lods, latent=collection.spec.latent, unfolding="teacher")
    training = CollectionTraining(
        assets, settings, network=network, latent_step=collection.latent_step, device=chosen, threads=threads
    )
    if len(collection):
        training.begin_near(torch.from_numpy(collection.latents))
    _train(training, None, on_event)
    return collection.with_items(
        frozen_latents(training.latents, collection.latent_step),
        [asset.name for asset in assets],
        [asset.placement for asset in assets],
        octrees=training.trees,
        source_bytes=[asset.source_bytes for asset in assets],
        kinds=training.kinds,
        ups=[asset.up for asset in assets],
        details=training.stored_details,
    ).with_shared_files(_shared_files(assets))


def _shared_files(assets: Sequence[AnyAsset]) -> set[str]:
    return {hash for asset in assets for hash in asset.shared_files}


def _train(
    training: CollectionTraining,
    checkpoint: str | os.PathLike[str] | None,
    on_event: OnEvent,
    on_step: OnStep | None = None,
) -> None:
    if checkpoint is not None and Path(checkpoint).exists():
        load_checkpoint(checkpoint, training)
    saved = time.monotonic()
    for losses in training.run(on_event):
        if not losses.are_finite:
            raise UsageError(
                f"training diverged at step {training.step}: a loss is not finite. Lower matrix_rate, learning_rate "
                "or latent_rate"
            )
        try:
            if on_step is not None:
                on_step(training)
        except BaseException:
            if checkpoint is not None:
                save_checkpoint(checkpoint, training)
            raise
        if checkpoint is not None and time.monotonic() - saved > _SAVE_EVERY:
            save_checkpoint(checkpoint, training)
            saved = time.monotonic()
    if checkpoint is not None:
        save_checkpoint(checkpoint, training)
