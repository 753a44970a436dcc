"""A training on disk, so that it goes on after a kill where it was last saved."""

import os
from pathlib import Path
from typing import Any

import torch

from fieldcodec.collection.training import CollectionTraining
from fieldcodec.errors import FormatError, UsageError


def save_checkpoint(path: str | os.PathLike[str], training: CollectionTraining) -> None:
    """Writes all of a training's state; what was there before stays until all is written."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        torch.save(training.state(), partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(path: str | os.PathLike[str], training: CollectionTraining) -> None:
    """Makes a training go on where `save_checkpoint` was called.

    Raises:
        FormatError: the file is damaged, or none of ours.
        UsageError: it is of other objects or settings.
    """
    try:
        state: Any = torch.load(path, map_location=training.device, weights_only=True)
        names, settings = state["names"], state["settings"]
    except Exception as error:  # a damaged file makes torch raise whatever it likes
        raise FormatError(f"{path} is no checkpoint of a training, or a damaged one ({error}); delete it") from error
    if names != [asset.name for asset in training.assets] or settings != training.settings.to_json():
        raise UsageError(
            f"the checkpoint {path} is of other objects or other settings: {len(names)} objects, {settings}; "
            f"asked for are {len(training.assets)} objects, {training.settings.to_json()}. "
            "Use the settings it was made with, or delete it"
        )
    training.load(state)
