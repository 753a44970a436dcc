"""Small perceptual colour maps: lightness grows evenly from one end to the other."""

import numpy as np

_ANCHORS = {
    # black, violet, red, orange, pale yellow: for errors
    "heat": ("05050b", "1f0c48", "550f6d", "88226a", "ba3655", "e35933", "f98c0a", "f9c932", "fcffa4"),
    # dark blue, teal, green, yellow: for magnitudes
    "ocean": ("0b0b1f", "2a1e5c", "2f4a86", "26718e", "1f968b", "3fb976", "8ad049", "e2e43c", "fdf7b5"),
    "grey": ("08090b", "ffffff"),
}
NAMES = tuple(_ANCHORS)


def table(name: str) -> np.ndarray:
    """[256, 3] uint8: the colours of the map `heat`, `ocean` or `grey`, from lowest to highest."""
    anchors = np.array([[int(code[i : i + 2], 16) for i in (0, 2, 4)] for code in _ANCHORS[name]], np.float64)
    places = np.linspace(0, len(anchors) - 1, 256)
    mixed = [np.interp(places, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    return np.stack(mixed, axis=-1).round().astype(np.uint8)


def apply(name: str, values: np.ndarray, low: float, high: float) -> np.ndarray:
    """[...] numbers -> [..., 3] uint8 colours; what lies outside [low, high] gets the colour of the end."""
    span = high - low
    scaled = (values - low) / span if span > 0 else np.zeros_like(values)
    return table(name)[np.clip(np.nan_to_num(scaled) * 255, 0, 255).round().astype(np.uint8)]
