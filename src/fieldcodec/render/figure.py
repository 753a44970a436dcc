"""Panels, titles and colour bars: the page around the pictures."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fieldcodec.errors import InputError
from fieldcodec.render import colormaps

_PAGE, _INK, _FAINT, _LINE = (250, 250, 249), (28, 30, 34), (104, 108, 116), (206, 208, 212)
_MARGIN, _GAP = 24, 14
_BAR_WIDTH = 12


@dataclass(frozen=True)
class Scale:
    """A colour bar: the map's name, the values at its ends, and what they measure."""

    colormap: str
    low: float
    high: float
    unit: str
    clipped: bool = False  # larger values exist and have the colour of the end


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a figure."""

    title: str
    pixels: np.ndarray  # [H, W, 3] uint8
    scale: Scale | None = None


def compose(title: str, note: str, caption: str, panels: Sequence[Panel], footer: str, size: int) -> Image.Image:
    """One page with the panels side by side; `note` stands after the title, `size` is the width of a panel."""
    type_size = max(11, round(size / 34))
    fonts = {name: ImageFont.load_default(factor * type_size) for name, factor in _FONT_SIZES.items()}
    height = max(panel.pixels.shape[0] for panel in panels)
    bars = [_bar_space(panel.scale, fonts["small"]) for panel in panels]
    inner = sum(panel.pixels.shape[1] for panel in panels) + sum(bars) + _GAP * (len(panels) - 1)
    lines = _wrapped(caption, fonts["body"], inner)
    top = _MARGIN + round(2.1 * type_size) + round(1.55 * type_size) * len(lines) + round(1.1 * type_size)
    label = round(1.75 * type_size)
    total = top + label + height + round(2.0 * type_size) + _MARGIN
    page = Image.new("RGB", (inner + 2 * _MARGIN, total), _PAGE)
    draw = ImageDraw.Draw(page)
    title = _fitted(title, fonts["title"], inner)
    draw.text((_MARGIN, _MARGIN), title, _INK, fonts["title"])
    after = _MARGIN + fonts["title"].getlength(title) + type_size
    if after + fonts["body"].getlength(note) <= _MARGIN + inner:
        draw.text((after, _MARGIN + round(0.42 * type_size)), note, _FAINT, fonts["body"])
    for number, line in enumerate(lines):
        place = _MARGIN + round(2.1 * type_size) + round(1.55 * type_size) * number
        draw.text((_MARGIN, place), line, _FAINT, fonts["body"])
    left = _MARGIN
    for panel, space in zip(panels, bars, strict=True):
        draw.text((left, top), panel.title, _INK, fonts["label"])
        page.paste(Image.fromarray(panel.pixels), (left, top + label))
        width = panel.pixels.shape[1]
        if panel.scale:
            _draw_bar(page, draw, panel.scale, (left + width + 10, top + label), panel.pixels.shape[0], fonts["small"])
        left += width + space + _GAP
    draw.text((_MARGIN, top + label + height + round(0.8 * type_size)), footer, _FAINT, fonts["small"])
    return page


_FONT_SIZES = {"title": 1.5, "label": 1.1, "body": 1.0, "small": 0.86}
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _draw_bar(
    page: Image.Image, draw: ImageDraw.ImageDraw, scale: Scale, corner: tuple[int, int], height: int, font: _Font
) -> None:
    left, top = corner
    unit_space = round(font.getbbox("Ag")[3] * 1.5)
    draw.text((left, top), scale.unit, _FAINT, font)
    top, height = top + unit_space, height - unit_space
    ramp = colormaps.table(scale.colormap)[np.linspace(255, 0, height).round().astype(int)]
    page.paste(Image.fromarray(np.repeat(ramp[:, None], _BAR_WIDTH, axis=1)), (left, top))
    draw.rectangle((left, top, left + _BAR_WIDTH - 1, top + height - 1), outline=_LINE)
    text_height = font.getbbox("0")[3]
    for share, text in zip(_TICKS, _tick_texts(scale), strict=True):
        y = top + round((1 - share) * (height - 1))
        draw.line((left + _BAR_WIDTH, y, left + _BAR_WIDTH + 3, y), fill=_FAINT)
        place = min(max(y - text_height * 0.6, top - 1), top + height - text_height)
        draw.text((left + _BAR_WIDTH + 7, place), text, _INK, font)


_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def _tick_texts(scale: Scale) -> list[str]:
    if scale.high == scale.low:
        return [f"{scale.low:.3g}", "", "", "", ""]
    texts = [f"{scale.low + share * (scale.high - scale.low):.3g}" for share in _TICKS]
    if scale.clipped:
        texts[-1] = "> " + texts[-1]
    return texts


def _bar_space(scale: Scale | None, font: _Font) -> int:
    if scale is None:
        return 0
    widest = max(font.getlength(text) for text in _tick_texts(scale))
    return round(max(10 + _BAR_WIDTH + 7 + widest, 10 + font.getlength(scale.unit))) + 4


def _fitted(text: str, font: _Font, width: int) -> str:
    """The text, cut with dots where it is too long."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _wrapped(text: str, font: _Font, width: int) -> list[str]:
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and font.getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(_fitted(line, font, width))
    return lines


def save_image(path: str | os.PathLike[str], image: Image.Image) -> None:
    """Write a picture as a PNG; the file appears only when it is complete.

    Raises:
        InputError: the file cannot be written.
    """
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        image.save(unfinished, format="PNG", optimize=True)
        os.replace(unfinished, target)
    except OSError as error:
        raise InputError(
            f"cannot write the picture {target}: {error.strerror or error}; choose another path"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
