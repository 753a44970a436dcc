"""Picture files as arrays: what their headers say, their pixels, smaller ones."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from fieldcodec.errors import InputError
from fieldcodec.io.posed.camera import LARGEST_SIDE, check_factor

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")
_KINDS = ("PNG", "JPEG")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # 8 bits a channel, or less
_MOST_PIXELS = 1 << 26


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a `.png` or `.jpg` picture, from its header: its pixels are not decoded.

    Raises:
        InputError: the file is no picture, too large, or of a kind that is not read.
    """
    with _opened(path) as image:
        return image.size


def load_picture(path: Path) -> np.ndarray:
    """[h, w, 3] float32 of 0 to 1, or [h, w, 4] with alpha (not multiplied in) where the file has it.

    Values are those of the file over 255 (sRGB, not linear light). A turn noted in EXIF is not applied: the programs
    that find cameras do not apply it either.

    Raises:
        InputError: the file is missing, damaged, too large, or of a kind that is not read.
    """
    with _opened(path) as image:
        has_alpha = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
        try:
            pixels = np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
        except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow's ways to report damaged pixels
            raise InputError(f"{path}: the picture is damaged or incomplete: {error}") from error
    return pixels.astype(np.float32) / np.float32(255)


def shrunk(picture: np.ndarray, factor: int) -> np.ndarray:
    """A picture [h, w, 3 or 4] at [h // factor, w // factor]: means over blocks of factor x factor pixels.

    Colours are weighted by alpha, so that what is hidden does not bleed into edges; where all is hidden they are 0.
    Columns at the right and rows at the bottom that fill no block are left out.

    Raises:
        UsageError: `factor` is below 1, or larger than the picture.
    """
    height, width, channels = picture.shape
    check_factor(factor, width, height)
    if factor == 1:
        return picture
    rows, columns = height // factor, width // factor
    blocks = picture[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, channels)
    if channels == 3:
        return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))
    alpha = blocks[..., 3:]
    colour = (blocks[..., :3] * alpha).mean(axis=(1, 3), dtype=np.float32)
    cover = alpha.mean(axis=(1, 3), dtype=np.float32)
    seen = np.divide(colour, cover, out=np.zeros_like(colour), where=cover > 0)
    return np.concatenate([np.minimum(seen, 1), cover], axis=2)  # rounding may lead beyond 1


def over(picture: np.ndarray, colour: float | tuple[float, float, float]) -> np.ndarray:
    """A picture [h, w, 3 or 4] laid over a plain colour of 0 to 1: [h, w, 3] float32."""
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:]
    return picture[..., :3] * alpha + np.asarray(colour, np.float32) * (1 - alpha)


def _opened(path: Path) -> Image.Image:
    """An open picture of a size and kind that can be read; no pixel is decoded yet."""
    try:
        image = Image.open(path, formats=_KINDS)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is no sound .png or .jpg picture: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    width, height = image.size
    problem = ""
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE and width * height <= _MOST_PIXELS):
        problem = f"has {width} x {height} pixels; allowed are {LARGEST_SIDE} a side and {_MOST_PIXELS} in all"
    elif image.mode not in _MODES:
        problem = f"holds pixels of the kind {image.mode!r}; convert it to 8 bits a channel"
    if problem:
        image.close()
        raise InputError(f"{path} {problem}")
    return image
