"""A page of HTML that needs nothing else: its style is in it, pictures are data, charts are SVG."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image

PALETTE = ("#2f6db5", "#e08e2b", "#3f9a68", "#b5483f", "#7d5ba6", "#8a6d4f", "#c96f9e", "#6f7782", "#a8a436", "#3aa3ad")
_MOST_COLOURS = 256  # of a page's pictures: a third of the bytes, and no eye sees it

_STYLE = """
:root { --ink: #1c1e22; --faint: #686c74; --line: #dddfe3; --page: #fafaf9; --card: #ffffff; --accent: #2f6db5 }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", sans-serif }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 64px }
h1 { font-size: 26px; margin: 0 0 4px } h2 { font-size: 19px; margin: 40px 0 12px }
h3 { font-size: 15px; margin: 24px 0 8px; color: var(--faint); font-weight: 600 }
p { margin: 0 0 12px } .faint { color: var(--faint) }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 12px; margin: 20px 0 }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px }
.card b { display: block; font-size: 24px; font-weight: 650; font-variant-numeric: tabular-nums }
.card span { color: var(--faint); font-size: 13px }
.scroll { overflow-x: auto }
table { border-collapse: collapse; background: var(--card); font-variant-numeric: tabular-nums; font-size: 14px }
th, td { text-align: right; padding: 6px 14px 6px 10px; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--faint); font-weight: 600 } th:first-child, td:first-child { text-align: left }
figure { margin: 0 0 16px } img, svg { max-width: 100%; height: auto; display: block }
img { border: 1px solid var(--line); border-radius: 6px }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 16px }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 8px }
svg text { font: 12px system-ui, sans-serif; fill: var(--faint) }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 12px; overflow-x: auto }
"""


def page(title: str, body: Sequence[str]) -> str:
    """A whole document; `body` holds elements made by the functions below."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}<style>{_STYLE}</style></head>\n'
        f"<body><main>\n{chr(10).join(body)}\n</main></body>\n</html>\n"
    )


def heading(text: str, level: int = 2) -> str:
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, *, is_faint: bool = False) -> str:
    return f"<p{' class=faint' if is_faint else ''}>{escape(text)}</p>"


def cards(facts: Sequence[tuple[str, str]]) -> str:
    """Large numbers side by side: (number, what it is)."""
    inner = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in facts
    )
    return f'<div class="cards">{inner}</div>'


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], colours: Sequence[str] = ()) -> str:
    """A table whose first column is text and whose others are numbers; `colours` mark the rows."""
    head = "".join(f"<th>{escape(text)}</th>" for text in headings)
    lines = []
    for number, row in enumerate(rows):
        mark = f'<i class="swatch" style="background:{colours[number]}"></i>' if colours else ""
        cells = "".join(f"<td>{mark if not column else ''}{escape(text)}</td>" for column, text in enumerate(row))
        lines.append(f"<tr>{cells}</tr>")
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def details(summary: str, text: str) -> str:
    """Text that is shown on request."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def picture(image: Image.Image, alternative: str) -> str:
    """An image as a part of the page; `alternative` says in words what it shows."""
    data = io.BytesIO()
    image.convert("RGB").quantize(_MOST_COLOURS, dither=Image.Dither.FLOYDSTEINBERG).save(data, "PNG", optimize=True)
    text = base64.b64encode(data.getvalue()).decode("ascii")
    return f'<figure><img alt="{escape(alternative)}" src="data:image/png;base64,{text}"></figure>'


def pair(*elements: str) -> str:
    """Elements beside each other where there is room."""
    return f'<div class="pair">{"".join(f"<div>{element}</div>" for element in elements)}</div>'


def share_bar(shares: Sequence[tuple[str, float]], colours: Sequence[str]) -> str:
    """Parts of a whole as one bar: (name, size)."""
    total, left, parts = sum(size for _, size in shares) or 1.0, 0.0, []
    for (name, size), colour in zip(shares, colours, strict=True):
        width = 1000 * size / total
        title = f"<title>{escape(name)}: {100 * size / total:.1f} %</title>"
        parts.append(f'<rect x="{left:.2f}" width="{width:.2f}" height="26" fill="{colour}">{title}</rect>')
        left += width
    return f'<figure><svg viewBox="0 0 1000 26" role="img">{"".join(parts)}</svg></figure>'


def histogram(
    low: float, high: float, series: Sequence[tuple[str, np.ndarray]], *, is_log: bool = False, unit: str = ""
) -> str:
    """Counts over equal bins from `low` to `high`: the first series as an area, others as lines over it.

    Args:
        series: (name, [n] counts).
        is_log: heights are the logarithms of the counts, so that single numbers can be seen beside millions.
    """
    width, height, top, left = 560, 240, 34, 8
    heights = [np.log10(1.0 + counts) if is_log else counts.astype(np.float64) for _, counts in series]
    largest = max((float(values.max(initial=0)) for values in heights), default=0.0) or 1.0
    parts = []
    for number, values in enumerate(heights):
        colour, y = PALETTE[1 - number] if number < 2 else PALETTE[number], height - top - 26
        tops = height - 26 - y * values / largest
        steps = np.linspace(left, width - left, len(values) + 1)
        line = " ".join(f"{x:.1f},{at:.1f}" for i, at in enumerate(tops) for x in (steps[i], steps[i + 1]))
        if not number:
            line = f"{left},{height - 26} {line} {width - left},{height - 26}"
        style = (
            f'fill="{colour}" fill-opacity="0.45"'
            if not number
            else f'fill="none" stroke="{colour}" stroke-width="1.6"'
        )
        parts.append(f'<poly{"gon" if not number else "line"} points="{line}" {style}/>')
    parts += [
        f'<line x1="{left}" x2="{width - left}" y1="{height - 26}" y2="{height - 26}" stroke="#b9bcc2"/>',
        *(_tick(share, low, high, width, left, height, unit) for share in (0.0, 0.25, 0.5, 0.75, 1.0)),
        *_legend([name for name, _ in series], left),
        f'<text x="{width - left}" y="16" text-anchor="end">{"log of the count" if is_log else "count"}</text>',
    ]
    return f'<figure><svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg></figure>'


def _short(value: float) -> str:
    """Three digits, with k, M or G for thousands, millions or thousands of them."""
    for letter, unit in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= unit:
            return f"{value / unit:.3g} {letter}"
    return f"{value:.3g}"


def _tick(share: float, low: float, high: float, width: int, left: int, height: int, unit: str) -> str:
    x, value = left + share * (width - 2 * left), low + share * (high - low)
    anchor = "start" if not share else "end" if share == 1 else "middle"
    text = f"{value:.3g}{' ' + escape(unit) if unit and share == 1 else ''}"
    return f'<text x="{x:.1f}" y="{height - 8}" text-anchor="{anchor}">{text}</text>'


def _legend(names: Sequence[str], left: int) -> list[str]:
    parts, x = [], float(left)
    for number, name in enumerate(names):
        colour = PALETTE[1 - number] if number < 2 else PALETTE[number]
        parts.append(f'<rect x="{x:.0f}" y="6" width="11" height="11" rx="2" fill="{colour}"/>')
        parts.append(f'<text x="{x + 17:.0f}" y="16">{escape(name)}</text>')
        x += 40 + 7.2 * len(name)
    return parts


def line_chart(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    x_name: str,
    y_name: str,
    here: tuple[float, float] | None = None,
) -> str:
    """Lines over a logarithmic x axis, with a legend; `here` is marked as "this file". Infinite points are left out."""
    curves = {name: [point for point in curve if np.isfinite(point).all()] for name, curve in curves.items()}
    curves = {name: curve for name, curve in curves.items() if curve}
    points = [point for curve in curves.values() for point in curve] + ([here] if here else [])
    if not points:
        return ""
    x, y = np.log10([max(point[0], 1.0) for point in points]), np.array([point[1] for point in points])
    low, high = np.array([x.min(), y.min()]), np.array([x.max(), y.max()])
    high = np.where(high > low, high, low + 1)
    box = np.array([[52.0, 400.0], [640.0, 16.0]])  # left and bottom, right and top

    def place(point: tuple[float, float]) -> np.ndarray:
        share = (np.array([np.log10(max(point[0], 1.0)), point[1]]) - low) / (high - low)
        return np.asarray(box[0] + share * (box[1] - box[0]))

    parts = ['<rect x="52" y="16" width="588" height="384" fill="#ffffff" stroke="#dddfe3"/>']
    for number, (name, curve) in enumerate(curves.items()):
        colour = PALETTE[number % len(PALETTE)]
        line = " ".join(f"{at[0]:.1f},{at[1]:.1f}" for at in map(place, curve))
        dash = ' stroke-dasharray="6 4"' if number >= len(PALETTE) else ""
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        if len(curve) == 1:
            at = place(curve[0])
            parts.append(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="4" fill="{colour}"/>')
        parts.append(f'<rect x="660" y="{20 + 20 * number}" width="11" height="11" rx="2" fill="{colour}"/>')
        parts.append(f'<text x="678" y="{30 + 20 * number}">{escape(name)}</text>')
    if here:
        at = place(here)
        parts.append(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="5" fill="#1c1e22"/>')
        parts.append(f'<text x="{at[0] + 9:.1f}" y="{at[1] + 4:.1f}">this file</text>')
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        (value, score), across = low + share * (high - low), 52 + 588 * share
        parts.append(f'<text x="{across:.0f}" y="418" text-anchor="middle">{_short(10**value)}</text>')
        parts.append(f'<text x="46" y="{404 - 384 * share:.0f}" text-anchor="end">{score:.3g}</text>')
    parts.append(f'<text x="346" y="438" text-anchor="middle">{escape(x_name)}</text>')
    parts.append(f'<text x="60" y="34">{escape(y_name)}</text>')
    return f'<figure><svg viewBox="0 0 960 446" role="img">{"".join(parts)}</svg></figure>'
