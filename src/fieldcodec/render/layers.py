"""Depth and normals beside a picture: what the camera's rays meet of a surface, and both as pictures for people."""

from dataclasses import dataclass
from typing import final

import numpy as np

from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.render.camera import Camera
from fieldcodec.render.options import RenderOptions
from fieldcodec.render.painters import trace_hits

_DARKEST = 40  # of what is there; what is not there is black


@final
@dataclass(frozen=True, eq=False)
class Layers:
    """What is seen through the middle of each pixel; 0 where nothing is."""

    depths: np.ndarray  # [h, w] float32: world units along the rays
    normals: np.ndarray  # [h, w, 3] float32: unit vectors in world space, towards the camera


def surface_layers(grid: SparseGrid, camera: Camera, threads: int | None = None) -> Layers:
    """Depth and normals of the surface where a level set is zero.

    Args:
        threads: by default one for each processor.

    Raises:
        UnsupportedGridError: the grid has several components.
    """
    bare = RenderOptions(shadows=False, sky_rays=0, threads=threads)
    hits = np.nan_to_num(trace_hits(grid, camera, bare, lambda share: None)[..., :4]).astype(np.float32)
    return Layers(hits[..., 0], hits[..., 1:])


def depth_picture(depths: np.ndarray) -> np.ndarray:
    """[h, w] distances -> [h, w] uint8: the nearest are white, the farthest dark, and black is nothing."""
    there = depths > 0
    if not there.any():
        return np.zeros(depths.shape, np.uint8)
    near, far = float(depths[there].min()), float(depths[there].max())
    share = (far - depths) / max(far - near, 1e-12)
    shades = np.clip(_DARKEST + (255 - _DARKEST) * share, _DARKEST, 255)
    return np.asarray(np.where(there, shades, 0).round().astype(np.uint8))


def normal_picture(normals: np.ndarray) -> np.ndarray:
    """[h, w, 3] unit vectors -> [h, w, 3] uint8: -1 to 1 as 0 to 255; where there is none, as x = y = z = 0."""
    return np.asarray(np.clip(np.rint((normals + 1) * 127.5), 0, 255).astype(np.uint8))
