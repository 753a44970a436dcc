"""The pictures of depth and normals that `fieldcodec render` writes beside each picture."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fieldcodec.render.figure import save_image
from fieldcodec.render.layers import depth_picture, normal_picture

if TYPE_CHECKING:
    from fieldcodec.cli.render import Render


def layer_paths(options: "Render", picture: Path) -> list[Path]:
    """The files that are written beside a picture: NAME_depth.png, NAME_normals.png, as far as they are asked for."""
    wanted = {"depth": options.depth, "normals": options.normals}
    return [picture.with_stem(f"{picture.stem}_{name}") for name, is_wanted in wanted.items() if is_wanted]


def save_layers(options: "Render", picture: Path, depths: np.ndarray, normals: np.ndarray | None) -> list[Path]:
    """Writes what is asked for beside a picture.

    Args:
        depths: [h, w], 0 where nothing is seen.
        normals: [h, w, 3] likewise; needed where they are asked for.

    Returns:
        The files.
    """
    layers = [depth_picture(depths)] if options.depth else []
    if options.normals:
        assert normals is not None
        layers.append(normal_picture(normals))
    paths = layer_paths(options, picture)
    for path, pixels in zip(paths, layers, strict=True):
        save_image(path, Image.fromarray(pixels))
    return paths
