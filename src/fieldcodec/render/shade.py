"""From light and surfaces to pixels."""

import numpy as np

from fieldcodec.render.surface import Surface

BACKDROP_TOP, BACKDROP_LOW = (38, 43, 52), (20, 22, 27)  # sRGB of a panel's background, top and bottom
CLAY = np.array([0.78, 0.70, 0.60])
TOWARDS_LAMP = np.array([-0.62, -0.48, -0.62])  # in camera coordinates (v, u, d)
_KEY_LIGHT, _SKY_LIGHT, _GROUND_LIGHT = (
    np.array([1.0, 0.97, 0.92]),
    np.array([0.34, 0.40, 0.50]),
    np.array([0.13, 0.11, 0.10]),
)
_SHINE = 40.0


def shade_surface(surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    """[H, W, 3] linear light, premultiplied, and [H, W] opacity: clay under one lamp and the sky."""
    hit = surface.hit
    light = clay(np.nan_to_num(surface.normals.astype(np.float64)), np.ones(hit.shape), np.ones(hit.shape))
    return np.where(hit[..., None], light, 0), hit.astype(np.float64)


def clay(
    normals: np.ndarray,
    lamp: np.ndarray,
    sky_open: np.ndarray,
    key: np.ndarray = TOWARDS_LAMP,
    albedo: np.ndarray = CLAY,
) -> np.ndarray:
    """[..., 3] unit normals in camera coordinates (v, u, d) -> [..., 3] linear light of clay.

    Args:
        lamp, sky_open: [...] shares of the lamp's and of the sky's light that arrive.
        key: [3] direction towards the lamp, camera coordinates.
        albedo: [3] or [..., 3] linear colours.
    """
    key = key / np.linalg.norm(key)
    lambert = np.maximum(normals @ key, 0) * lamp
    up = 0.5 - 0.5 * normals[..., 0]
    sky = _GROUND_LIGHT + up[..., None] * (_SKY_LIGHT - _GROUND_LIGHT)
    facing = np.clip(-normals[..., 2], 0, 1)
    half = (key + np.array([0, 0, -1.0])) / np.linalg.norm(key + np.array([0, 0, -1.0]))
    shine = 0.10 * np.maximum(normals @ half, 0) ** _SHINE * lamp
    # Grazing parts get less light, which draws the folds of a shape.
    filled = sky * ((0.55 + 0.45 * facing) * sky_open)[..., None]
    return albedo * (lambert[..., None] * _KEY_LIGHT * 0.85 + filled) + shine[..., None]


def backdrop(height: int, width: int) -> np.ndarray:
    """[height, width, 3] uint8: a quiet vertical gradient."""
    ramp = np.linspace(0, 1, height)[:, None, None]
    colours = np.array(BACKDROP_TOP) * (1 - ramp) + np.array(BACKDROP_LOW) * ramp
    return np.repeat(colours, width, axis=1).round().astype(np.uint8)


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """[..., 3] linear light -> uint8; bright light rolls off softly above 0.8."""
    soft = np.where(linear > 0.8, 0.8 + 0.2 * np.tanh((linear - 0.8) / 0.4), linear)
    encoded = np.where(soft <= 0.0031308, soft * 12.92, 1.055 * np.maximum(soft, 1e-9) ** (1 / 2.4) - 0.055)
    return np.clip(encoded * 255, 0, 255).round().astype(np.uint8)


def from_srgb(colours: np.ndarray) -> np.ndarray:
    """[..., 3] uint8 -> linear light."""
    scaled = colours / 255.0
    return np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)


def over_backdrop(light: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Premultiplied light over the backdrop: [H, W, 3] uint8."""
    light, opacity = np.maximum(light, 0), np.clip(opacity, 0, 1)
    return to_srgb(light + from_srgb(backdrop(*opacity.shape)) * (1 - opacity[..., None]))
