"""Original, decoded and error side by side in one picture."""

import os

import numpy as np
from PIL import Image

from fieldcodec.errors import UsageError
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.render import colormaps, shade
from fieldcodec.render.figure import Panel, Scale, compose, save_image
from fieldcodec.render.fog import absorption, render_fog
from fieldcodec.render.projection import Projection, mean_projection, pixel_voxels, slice_projection
from fieldcodec.render.surface import SurfaceField
from fieldcodec.render.view import AXIS_NAMES, Frame, frame_of, side_axis

_TALLEST = 1.5  # height of a panel over its width
_SMALLEST_SIZE, _LARGEST_SIZE = 64, 4096
_ROUNDING = 1e-4  # voxels: what sampling a surface at its own points leaves over
_CLIP_PERCENTILE = 99.5  # of the error picture: a single bad pixel does not darken all others


def comparison_image(
    original: SparseGrid,
    decoded: SparseGrid,
    *,
    size: int = 480,
    axis: int | None = None,
    slice_index: int | None = None,
    caption: str = "",
    title: str | None = None,
) -> Image.Image:
    """One picture of three panels: original, decoded, absolute error with its own colour bar.

    Level sets are shown as lit surfaces, density volumes as lit fog, all else as the mean along the view
    axis; vectors by their magnitude. With `slice_index` any grid is shown as one layer of voxels.

    Args:
        size: width of a panel in pixels.
        axis: index axis to look along, 0, 1 or 2; the camera stands on its positive side. By default the
            horizontal one (x or z) that shows the larger face.
        slice_index: index coordinate along `axis` of the layer to show.
        caption: a line or lines below the title, such as sizes and quality.
        title: by default the grid's name.

    Raises:
        UsageError: a size or axis is not allowed, or the grids have different numbers of components.
    """
    if not _SMALLEST_SIZE <= size <= _LARGEST_SIZE:
        raise UsageError(f"panels of {size} pixels are not possible; use {_SMALLEST_SIZE} to {_LARGEST_SIZE}")
    if original.channels != decoded.channels:
        raise UsageError(
            f"grids of {original.channels} and {decoded.channels} components cannot be shown side by side; "
            "give two grids of the same type"
        )
    axis = side_axis(original) if axis is None else axis
    frame = frame_of((original, decoded), axis)
    if slice_index is not None:
        panels, kind = _slice_panels(original, decoded, frame, size, slice_index)
    elif _has_surface(original):
        panels, kind = _surface_panels(original, decoded, frame, size)
    elif _is_density(original):
        panels, kind = _fog_panels(original, decoded, frame, size)
    else:
        panels, kind = _mean_panels(original, decoded, frame, size)
    if title is None:
        title = original.name or "(unnamed)"
    note = f"{original.value_type.name}, {original.grid_class}"
    return compose(title, note, caption, panels, f"View along {AXIS_NAMES[axis]}. {kind}.", size)


def save_comparison(
    path: str | os.PathLike[str],
    original: SparseGrid,
    decoded: SparseGrid,
    *,
    size: int = 480,
    axis: int | None = None,
    slice_index: int | None = None,
    caption: str = "",
    title: str | None = None,
) -> None:
    """Write `comparison_image` as a PNG; the file appears only when it is complete.

    Raises:
        InputError: the file cannot be written.
    """
    image = comparison_image(
        original, decoded, size=size, axis=axis, slice_index=slice_index, caption=caption, title=title
    )
    save_image(path, image)


def _has_surface(grid: SparseGrid) -> bool:
    """True for level sets that can be shown as one: scalar, not whole numbers, with an inside."""
    scalar = grid.is_level_set and grid.channels == 1 and grid.value_type.is_float
    return scalar and bool((grid.leaf_values < 0).any())


def _is_density(grid: SparseGrid) -> bool:
    """True for scalar grids of floats without negative values that are not level sets."""
    if grid.channels != 1 or not grid.value_type.is_float or grid.is_level_set:
        return False
    values = grid.active_values()
    return bool(values.size) and not bool((values < 0).any())


def _surface_panels(a: SparseGrid, b: SparseGrid, frame: Frame, size: int) -> tuple[list[Panel], str]:
    shape = _panel_shape(frame, size)
    fields = SurfaceField(a, frame), SurfaceField(b, frame)
    seen = [field.trace((2 * shape[0], 2 * shape[1])) for field in fields]
    panels = []
    for name, surface in zip(("original", "decoded"), seen, strict=True):
        light, opacity = shade.shade_surface(surface)
        panels.append(Panel(name, shade.over_backdrop(_halved(light), _halved(opacity))))
    # At the original's surface, and at the decoded one where there is no other.
    error = np.full(seen[0].hit.shape, np.nan)
    for surface, other, grid in ((seen[1], fields[0], a), (seen[0], fields[1], b)):
        voxel = float(grid.transform.voxel_size.mean()) if grid.transform.is_linear else 1.0
        error[surface.hit] = np.abs(other.sample(surface.points[surface.hit])) / voxel
    error[error < _ROUNDING] = 0
    scale = _error_scale(error, "voxels")
    light, opacity = _light_of(error, scale)
    pixels = shade.over_backdrop(_halved(light), _halved(opacity))
    panels.append(Panel(_error_title(scale), pixels, scale))
    return panels, "Surface where the level set is zero; error: distance to the other surface"


def _fog_panels(a: SparseGrid, b: SparseGrid, frame: Frame, size: int) -> tuple[list[Panel], str]:
    shape = _panel_shape(frame, size)
    factor = pixel_voxels(frame, size)
    thickness = absorption(a, frame, factor)
    panels = []
    for name, grid in (("original", a), ("decoded", b)):
        light, opacity = render_fog(grid, frame, factor, thickness)
        panels.append(Panel(name, shade.over_backdrop(_resized(light, shape), _resized(opacity, shape))))
    error = mean_projection(a, b, frame, factor).error
    panels.append(_projected_error(error, shape))
    return panels, "Lit fog; error: mean of the absolute difference along each ray"


def _mean_panels(a: SparseGrid, b: SparseGrid, frame: Frame, size: int) -> tuple[list[Panel], str]:
    projection = mean_projection(a, b, frame, pixel_voxels(frame, size))
    kind = "Mean magnitude" if a.channels > 1 else "Mean value"
    return _value_panels(projection, _panel_shape(frame, size), False), f"{kind} of active voxels along each ray"


def _slice_panels(a: SparseGrid, b: SparseGrid, frame: Frame, size: int, index: int) -> tuple[list[Panel], str]:
    depth = int(frame.view.origins(np.full((1, 3), index), 1)[0, 2] - frame.low[2])
    projection = slice_projection(a, b, frame, pixel_voxels(frame, size), depth)
    kind = "Magnitude" if a.channels > 1 else "Value"
    text = f"{kind} of active voxels at {AXIS_NAMES[frame.view.axis]} = {index}"
    return _value_panels(projection, _panel_shape(frame, size), True), text


def _value_panels(projection: Projection, shape: tuple[int, int], sharp: bool) -> list[Panel]:
    known = projection.original[np.isfinite(projection.original)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    low = min(low, 0.0) if low > 0 and low < 0.3 * high else low
    scale = Scale("ocean", low, high if high > low else low + 1, "value")
    panels = []
    for name, values in (("original", projection.original), ("decoded", projection.decoded)):
        pixels = _coloured(values, shape, scale, sharp)
        panels.append(Panel(name, pixels, scale if name == "decoded" else None))
    panels.append(_projected_error(projection.error, shape, sharp))
    return panels


def _projected_error(error: np.ndarray, shape: tuple[int, int], sharp: bool = False) -> Panel:
    scale = _error_scale(error, "error")
    return Panel(_error_title(scale), _coloured(error, shape, scale, sharp), scale)


def _error_title(scale: Scale) -> str:
    return "absolute error" if scale.high else "absolute error: none"


def _error_scale(error: np.ndarray, unit: str) -> Scale:
    known = error[np.isfinite(error)]
    largest = float(known.max()) if known.size else 0.0
    if largest == 0:
        return Scale("heat", 0.0, 0.0, unit)
    high = float(np.percentile(known, _CLIP_PERCENTILE)) or largest
    return Scale("heat", 0.0, high, unit, clipped=largest > high * 1.001)


def _coloured(values: np.ndarray, shape: tuple[int, int], scale: Scale, sharp: bool) -> np.ndarray:
    """Colours of a picture at the panel's size, over the backdrop where it is NaN: [H, W, 3] uint8."""
    light, opacity = _light_of(values, scale)
    if values.shape != shape:
        light, opacity = _resized(light, shape, sharp), _resized(opacity, shape, sharp)
    return shade.over_backdrop(light, opacity)


def _light_of(values: np.ndarray, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """Premultiplied linear light [H, W, 3] and opacity [H, W] of a picture that is NaN where nothing is."""
    known = np.isfinite(values)
    colours = colormaps.apply(scale.colormap, np.where(known, values, scale.low), scale.low, scale.high)
    return shade.from_srgb(colours) * known[..., None], known.astype(np.float64)


def _panel_shape(frame: Frame, size: int) -> tuple[int, int]:
    """(height, width): the whole frame within `size` pixels of width."""
    height = size * frame.aspect
    if height > size * _TALLEST:
        return round(size * _TALLEST), max(1, round(size * _TALLEST / frame.aspect))
    return max(1, round(height)), size


def _halved(image: np.ndarray) -> np.ndarray:
    """Mean of 2 x 2 pixels."""
    return (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4


def _resized(image: np.ndarray, shape: tuple[int, ...], sharp: bool = False) -> np.ndarray:
    """Another size, [H, W] or [H, W, C] of floats; `sharp` keeps single voxels visible when enlarging."""
    if image.ndim == 3:
        return np.stack([_resized(image[..., channel], shape, sharp) for channel in range(image.shape[2])], axis=-1)
    method = Image.Resampling.BICUBIC
    if sharp and shape[0] >= image.shape[0]:
        method = Image.Resampling.NEAREST
    elif shape[0] < image.shape[0]:
        method = Image.Resampling.BOX
    picture = Image.fromarray(image.astype(np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), method), np.float64)
