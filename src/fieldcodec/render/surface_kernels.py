"""Rays that stop at the surface of a level set, compiled."""

import math

import numpy as np

from fieldcodec.jit import inlined, kernel
from fieldcodec.render.fog_kernels import jitter
from fieldcodec.render.ray_kernels import (
    box_span,
    enter_box,
    next_block,
    pixel_ray,
    sample_block,
    sample_point,
)

_SHORTEST, _LONGEST = 0.3, 1.0  # voxels of a step where the surface is near; stored distances may be off
_SAFE = 0.9  # of the stored distance
_HALVINGS = 24
_LIFT = 1.0  # voxels above the surface at which rays to lamps and sky begin


@inlined
def _at(tables, codes, corner, origin, direction, t):  # type: ignore[no-untyped-def]
    """Value at t of a ray, in the loaded block."""
    return sample_block(
        tables,
        codes,
        origin[0] + t * direction[0] - corner[0],
        origin[1] + t * direction[1] - corner[1],
        origin[2] + t * direction[2] - corner[2],
    )


@kernel
def _bisected(tables, codes, corner, origin, direction, near, far, inside):  # type: ignore[no-untyped-def]
    """The place between near and far where the sign changes; `inside`: the value at near is negative."""
    for _ in range(_HALVINGS):
        middle = 0.5 * (near + far)
        if (_at(tables, codes, corner, origin, direction, middle) < 0) == inside:
            near = middle
        else:
            far = middle
    return 0.5 * (near + far)


@kernel
def first_crossing(tables, codes, corner, origin, direction, leave, speed, only_inwards):  # type: ignore[no-untyped-def]
    """Where a ray first meets the surface in 0 ... leave; -1 where it does not.

    Sphere tracing in blocks that hold both signs, then bisection; all others are passed over. With
    `only_inwards` a ray that begins below the surface goes through it first.
    """
    t = 0.0
    while t < leave:
        mixed, block_leave = next_block(tables, codes, corner, origin, direction, t, speed)
        end = min(block_leave, leave)
        if mixed:
            value = _at(tables, codes, corner, origin, direction, t)
            while t < end:
                # Distances are world lengths, as t is.
                ahead = min(t + min(max(_SAFE * abs(value), _SHORTEST / speed), _LONGEST / speed), end)
                next_value = _at(tables, codes, corner, origin, direction, ahead)
                if (value < 0) != (next_value < 0) and not (only_inwards and value < 0):
                    return _bisected(tables, codes, corner, origin, direction, t, ahead, value < 0)
                t, value = ahead, next_value
        t = max(end, block_leave)
    return -1.0


@kernel
def _set_normal(normal, tables, codes, place, direction, to_index):  # type: ignore[no-untyped-def]
    """The direction of the gradient in world space, turned against the ray; NaN where the field is flat.

    Central differences two voxels wide. Moves `place` a little along the normal, off the surface.
    """
    x, y, z = place[0], place[1], place[2]
    slope_x = sample_point(tables, codes, x + 1, y, z) - sample_point(tables, codes, x - 1, y, z)
    slope_y = sample_point(tables, codes, x, y + 1, z) - sample_point(tables, codes, x, y - 1, z)
    slope_z = sample_point(tables, codes, x, y, z + 1) - sample_point(tables, codes, x, y, z - 1)
    along = slope_x * direction[0] + slope_y * direction[1] + slope_z * direction[2]
    squared = lift = 0.0
    for axis in range(3):
        normal[axis] = to_index[axis, 0] * slope_x + to_index[axis, 1] * slope_y + to_index[axis, 2] * slope_z
        squared += normal[axis] ** 2
    scale = (-1.0 if along > 0 else 1.0) / math.sqrt(squared) if squared > 0 else np.nan
    for axis in range(3):
        normal[axis] *= scale
    for axis in range(3):
        lift += (normal[0] * to_index[0, axis] + normal[1] * to_index[1, axis] + normal[2] * to_index[2, axis]) ** 2
    for axis in range(3):
        step = normal[0] * to_index[0, axis] + normal[1] * to_index[1, axis] + normal[2] * to_index[2, axis]
        place[axis] += step * _LIFT / math.sqrt(lift) if lift > 0 else 0.0


@kernel
def _is_open(tables, codes, corner, box, place, way, to_index, reach, direction):  # type: ignore[no-untyped-def]
    """Whether nothing stands between `place` and what is `reach` world units away along `way` (world, length 1)."""
    speed = 0.0
    for axis in range(3):
        direction[axis] = way[0] * to_index[0, axis] + way[1] * to_index[1, axis] + way[2] * to_index[2, axis]
        speed += direction[axis] ** 2
    _, leave = box_span(box[0], box[1], place, direction)
    leave = min(leave, reach)
    return first_crossing(tables, codes, corner, place, direction, leave, math.sqrt(speed), True) < 0


@kernel
def _openness(tables, codes, corner, box, place, normal, to_index, reach, rays, turn, scratch):  # type: ignore[no-untyped-def]
    """Share of `rays` directions around the normal that are free, more of them where they count more (cosine)."""
    sign = 1.0 if normal[2] >= 0 else -1.0
    a = -1.0 / (sign + normal[2])  # a frame around the normal (Duff et al. 2017, "Building an Orthonormal Basis")
    b = normal[0] * normal[1] * a
    way, free = scratch[0], 0
    for ray in range(rays):
        height = math.sqrt(1 - (ray + 0.5) / rays)
        radius, angle = math.sqrt(1 - height * height), 2.399963229728653 * ray + 2 * math.pi * turn
        u, v = radius * math.cos(angle), radius * math.sin(angle)
        way[0] = u * (1 + sign * normal[0] * normal[0] * a) + v * b + height * normal[0]
        way[1] = u * sign * b + v * (sign + normal[1] * normal[1] * a) + height * normal[1]
        way[2] = -u * sign * normal[0] - v * normal[1] + height * normal[2]
        free += _is_open(tables, codes, corner, box, place, way, to_index, reach, scratch[1])
    return free / rays


@kernel
def trace_surface(image, first, tables, box, rays, shape, seed, to_index, lamp, sky_rays, sky_reach):  # type: ignore[no-untyped-def]
    """Fill image [h, w, 6]: distance from the camera (NaN: no hit), normal [3] in world space towards the camera,
    share of the lamp's light, share of the sky's light. It is the part of a picture of `shape` that begins at `first`.

    Args:
        box, rays: as for fog. to_index: [3, 3], index direction = world direction @ to_index.
        lamp: [3] world direction towards the lamp, of length 1, or zeros for no shadows.
        sky_rays: number of rays to the sky, 0 for none; sky_reach: their length in world units.
    """
    codes, corner, scratch = np.empty(8, np.int64), np.empty(3, np.int64), np.empty((2, 3))
    origin, direction, place = np.empty(3), np.empty(3), np.empty(3)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            pixel = image[row, column]
            pixel[:] = np.nan
            x, y = column + first[1], row + first[0]
            speed = pixel_ray(rays, x, y, shape[1], shape[0], origin, direction)
            enter, leave = enter_box(box, origin, direction)
            t = first_crossing(tables, codes, corner, origin, direction, leave, speed, False)
            if t < 0:
                continue
            for axis in range(3):
                place[axis] = origin[axis] + t * direction[axis]
            normal = pixel[1:4]
            _set_normal(normal, tables, codes, place, direction, to_index)
            pixel[0], pixel[4], pixel[5] = enter + t, 1.0, 1.0
            facing = normal[0] * lamp[0] + normal[1] * lamp[1] + normal[2] * lamp[2]
            if facing > 0 and not _is_open(tables, codes, corner, box, place, lamp, to_index, np.inf, scratch[1]):
                pixel[4] = 0.0
            if sky_rays > 0 and not math.isnan(normal[0]):
                turn = jitter(x, y, seed)
                pixel[5] = _openness(
                    tables, codes, corner, box, place, normal, to_index, sky_reach, sky_rays, turn, scratch
                )
