"""Light through fog, compiled: emission, absorption and single scattering, front to back."""

import math

import numpy as np

from fieldcodec.jit import inlined, kernel
from fieldcodec.render.ray_kernels import enter_box, next_block, pixel_ray, sample_block


@inlined
def jitter(column, row, seed):  # type: ignore[no-untyped-def]
    """A number in [0, 1) that looks random, the same for a pixel and seed on every machine."""
    state = np.uint64(column * 0x9E3779B1 + row * 0x85EBCA77 + seed * 0xC2B2AE3D + 1)
    for _ in range(2):
        state = (state ^ (state >> np.uint64(16))) * np.uint64(0x7FEB352D)
        state = (state ^ (state >> np.uint64(15))) * np.uint64(0x846CA68B)
        state &= np.uint64(0xFFFFFFFF)
    return float((state ^ (state >> np.uint64(16))) & np.uint64(0xFFFFFF)) / 16777216.0


@inlined
def _light_at(lights, x, y, z):  # type: ignore[no-untyped-def]
    """Trilinear (sun, sky) of cells [X, Y, Z, 2] at cell coordinates, clipped to the grid."""
    x, y, z = (
        min(max(x, 0.0), lights.shape[0] - 1.0),
        min(max(y, 0.0), lights.shape[1] - 1.0),
        min(max(z, 0.0), lights.shape[2] - 1.0),
    )
    i, j, k = int(x), int(y), int(z)
    i2, j2, k2 = min(i + 1, lights.shape[0] - 1), min(j + 1, lights.shape[1] - 1), min(k + 1, lights.shape[2] - 1)
    a, b, c = x - i, y - j, z - k
    sun = sky = 0.0
    for corner in range(8):
        weight = (a if corner & 4 else 1 - a) * (b if corner & 2 else 1 - b) * (c if corner & 1 else 1 - c)
        cell = lights[i2 if corner & 4 else i, j2 if corner & 2 else j, k2 if corner & 1 else k]
        sun += weight * cell[0]
        sky += weight * cell[1]
    return sun, sky


@inlined
def _add_sample(pixel, value, place, length, looks, lights, light_place, colours, phase):  # type: ignore[no-untyped-def]
    """Put one step of a ray behind what `pixel` [4] (light, transmittance) has seen so far."""
    transfer, value_low, value_scale = looks
    position = min(max((value - value_low) * value_scale, 0.0), len(transfer) - 1.0)
    entry = min(int(position), len(transfer) - 2)
    part = position - entry
    extinction = transfer[entry, 3] * (1 - part) + transfer[entry + 1, 3] * part
    if extinction <= 0:
        return
    opacity = -math.expm1(-extinction * length)
    sun, sky = _light_at(
        lights,
        (place[0] - light_place[0]) * light_place[3],
        (place[1] - light_place[1]) * light_place[3],
        (place[2] - light_place[2]) * light_place[3],
    )
    sun *= phase
    weight = pixel[3] * opacity
    for channel in range(3):
        colour = transfer[entry, channel] * (1 - part) + transfer[entry + 1, channel] * part
        pixel[channel] += (
            weight * colour * (sun * colours[0, channel] + sky * colours[1, channel] + colours[2, channel])
        )
    pixel[3] *= 1 - opacity


@inlined
def _phase(direction, lamp):  # type: ignore[no-untyped-def]
    """Light scattered towards the camera over that of fog that scatters evenly (Henyey and Greenstein, 1941)."""
    cosine = direction[0] * lamp[0] + direction[1] * lamp[1] + direction[2] * lamp[2]
    g = lamp[3]
    return (1 - g * g) / (1 + g * g - 2 * g * cosine) ** 1.5


@kernel
def march_fog(image, first, tables, box, rays, shape, step, seed, least, looks, lights, light_place, colours, lamp):  # type: ignore[no-untyped-def]
    """Fill image [h, w, 4] (light and transmittance), the part of a picture of `shape` that begins at `first`.

    Args:
        box: [2, 3] corners outside which nothing is. rays: see `pixel_ray`. step: in voxels.
        least: transmittance at which a ray ends. looks: (transfer [k, 4] of colours and extinction per world unit,
        value of its first entry, entries per unit of value).
        lights: [X, Y, Z, 2] (sun, sky); light_place: [4] index place of the first cell, cells per voxel.
        colours: [3, 3] of sun, sky and emission. lamp: [4], dot(index direction, lamp[:3]) is the cosine of the
        angle to the lamp; Henyey and Greenstein's g.
    """
    codes, corner = np.empty(8, np.int64), np.empty(3, np.int64)
    origin, direction, place = np.empty(3), np.empty(3), np.empty(3)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            pixel = image[row, column]
            pixel[:3], pixel[3] = 0, 1
            x, y = column + first[1], row + first[0]
            speed = pixel_ray(rays, x, y, shape[1], shape[0], origin, direction)
            _, leave = enter_box(box, origin, direction)
            length = step / speed
            phase = _phase(direction, lamp)
            start = jitter(x, y, seed) * length
            number, t = 0, start  # of the next sample; it stands for the step around it
            while t < leave and pixel[3] > least:
                mixed, block_leave = next_block(tables, codes, corner, origin, direction, t, speed)
                if not mixed:
                    number = max(number + 1, math.ceil((block_leave - start) / length))
                    t = start + number * length
                    continue
                while t < leave:
                    for axis in range(3):
                        place[axis] = origin[axis] + t * direction[axis]
                    value = sample_block(
                        tables, codes, place[0] - corner[0], place[1] - corner[1], place[2] - corner[2]
                    )
                    _add_sample(pixel, value, place, length, looks, lights, light_place, colours, phase)
                    number += 1
                    t = start + number * length
                    if t >= block_leave or pixel[3] <= least:
                        break


@kernel
def march_maximum(image, first, tables, box, rays, shape, step):  # type: ignore[no-untyped-def]
    """Fill image [h, w] with the largest value along each ray, -1 where it meets none; samples every `step` voxels."""
    codes, corner = np.empty(8, np.int64), np.empty(3, np.int64)
    origin, direction = np.empty(3), np.empty(3)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            best = -1.0
            x, y = column + first[1], row + first[0]
            speed = pixel_ray(rays, x, y, shape[1], shape[0], origin, direction)
            _, leave = enter_box(box, origin, direction)
            t = 0.0
            while t < leave:
                mixed, block_leave = next_block(tables, codes, corner, origin, direction, t, speed)
                while mixed and t < min(block_leave, leave):
                    value = sample_block(
                        tables,
                        codes,
                        origin[0] + t * direction[0] - corner[0],
                        origin[1] + t * direction[1] - corner[1],
                        origin[2] + t * direction[2] - corner[2],
                    )
                    best = max(best, value)
                    t += step / speed
                t = max(t, block_leave)
            image[row, column] = best
