"""How near the views of a radiance field are to pictures that it was not fitted to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from fieldcodec.errors import UsageError
from fieldcodec.io.posed import PosedScene, PosedView, over
from fieldcodec.metrics.images import ImageQuality, compare_images
from fieldcodec.nets.device import CPU
from fieldcodec.radiance.field import RadianceField
from fieldcodec.radiance.render import photograph


@final
@dataclass(frozen=True, eq=False)
class ViewQuality:
    """One held-out view: the true picture over the background, the field's, and how near they are."""

    name: str
    quality: ImageQuality
    true: np.ndarray  # [h, w, 3] float32
    seen: np.ndarray  # [h, w, 3] float32


def held_out(scene: PosedScene, most: int | None = None) -> tuple[PosedView, ...]:
    """The views to measure by: those for tests, else those for validation; evenly chosen where there are too many.

    Raises:
        UsageError: the scene has neither.
    """
    views = scene.of("test") or scene.of("val")
    if not views:
        raise UsageError(f"{scene.name} has no held-out views: all of its pictures are for training")
    if most is None or len(views) <= most:
        return views
    return tuple(views[number * len(views) // most] for number in range(most))


def background_of(scene: PosedScene) -> float:
    """The brightness behind a scene as it is measured: its own, and white where alpha says what is the object."""
    return 1.0 if scene.brightness is None else scene.brightness


def measure_views(
    field: RadianceField,
    scene: PosedScene,
    *,
    factor: int = 1,
    most: int | None = None,
    device: torch.device = CPU,
    on_progress: Callable[[float], None] | None = None,
) -> Iterator[ViewQuality]:
    """Held-out views of a scene, one after the other.

    Args:
        factor: how many times smaller the pictures are made, as for the fit.
        most: views at most.

    Raises:
        UsageError: there are no held-out views, or the factor is not possible.
        InputError: a picture cannot be read.
    """
    views, behind = held_out(scene, most), background_of(scene)
    for number, view in enumerate(views):
        true = over(view.picture(factor), behind)
        seen = photograph(field, view.camera.scaled(factor), device=device).over(behind)
        yield ViewQuality(view.name, compare_images(true, seen), true, seen)
        if on_progress is not None:
            on_progress((number + 1) / len(views))
