"""What the page asks for, as functions from a query to an answer; nothing here knows of HTTP."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, final

import numpy as np
from PIL import Image

from fieldcodec.errors import UsageError
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.render import colormaps
from fieldcodec.view import facts
from fieldcodec.view.cells import LONGEST, Cells, density_cells, error_cells
from fieldcodec.view.layers import layer
from fieldcodec.view.payload import pack
from fieldcodec.view.pictures import picture
from fieldcodec.view.source import Pair, Source, Which
from fieldcodec.view.surfaces import surface

BINARY, JSON, PNG = "application/octet-stream", "application/json", "image/png"
_THICK_DEPTH, _THICK_PERCENTILE = 7.0, 90


@dataclass(frozen=True)
class Answer:
    """A body in parts, and what it is."""

    content_type: str
    parts: list[bytes]


class Query:
    """The parameters of one request, each asked for once.

    Raises (all methods): UsageError, where a parameter is missing, is not understood or is outside its limits.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number from `low` to `high`, both allowed."""
        text = self._take(name, None if default is None else str(default))
        try:
            value = int(text)
        except ValueError:
            raise UsageError(f"{name} is {text!r}; a whole number is needed") from None
        if not low <= value <= high:
            raise UsageError(f"{name} is {value}; it must be {low} to {high}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        text = self._take(name, None if default is None else repr(default))
        try:
            value = float(text)
        except ValueError:
            raise UsageError(f"{name} is {text!r}; a number is needed") from None
        if not np.isfinite(value):
            raise UsageError(f"{name} is {text}; it must be finite")
        return value

    def which(self) -> Which:
        """Decoded, original or error."""
        text = self._take("which", Which.DECODED.value)
        if text not in set(Which):
            raise UsageError(f"which is {text!r}; allowed are {', '.join(Which)}")
        return Which(text)

    def flag(self, name: str) -> bool:
        """0 or 1; 0 unless given."""
        return bool(self.integer(name, 0, 1, 0))

    def finish(self) -> None:
        """Refuses what nobody asked for."""
        if self._values:
            raise UsageError(f"unknown parameters: {', '.join(sorted(self._values))}")

    def _take(self, name: str, default: str | None) -> str:
        text = self._values.pop(name, default)
        if text is None:
            raise UsageError(f"the parameter {name} is missing")
        return text


@final
class Answers:
    """Everything that can be asked about a source, by name; several threads may ask.

    What takes much memory is worked out one at a time; layers and lists are not kept waiting by it.
    """

    def __init__(self, source: Source, about: Mapping[str, Any]) -> None:
        """
        Args:
            about: plain values that the page shows of the file: `title`, `file`, `bytes`, ...
        """
        self._source, self._about = source, dict(about)
        self._heavy, self._report_lock = Lock(), Lock()
        self._reports: dict[tuple[int, int], dict[str, Any]] = {}
        self.by_name: dict[str, Callable[[Query], Answer]] = {
            "about": self.about,
            "grids": self.grids,
            "grid": self.grid,
            "report": self.report,
            "layer": self.layer,
            "volume": self.volume,
            "surface": self.surface,
            "picture": self.picture,
        }

    def about(self, query: Query) -> Answer:
        """The file, its moments in time, and the colours."""
        query.finish()
        maps = {name: colormaps.table(name).reshape(-1).tolist() for name in colormaps.NAMES}
        source = self._source
        return _json({
            **self._about, "frames": list(source.frames), "has_originals": source.has_originals, "colormaps": maps,
        })  # fmt: skip

    def grids(self, query: Query) -> Answer:
        """The grids of a frame, and which to begin with; decodes nothing."""
        frame = self._source.frame(self._frame(query))
        query.finish()
        grids = [
            {
                "name": entry.name, "value_type": entry.value_type, "grid_class": entry.grid_class,
                "active_voxels": entry.active_voxels, "bytes": entry.num_bytes, "method": entry.method,
                "sections": entry.sections, "is_carried": entry.is_carried, "has_original": frame.has_original(row),
            }
            for row, entry in enumerate(frame.entries)
        ]  # fmt: skip
        return _json({"grids": grids, "first": frame.first})

    def grid(self, query: Query) -> Answer:
        """What is needed to draw a grid, see `facts.describe`."""
        _, pair = self._pair(query)
        query.finish()
        with self._heavy:
            return _json(facts.describe(pair))

    def report(self, query: Query) -> Answer:
        """Sizes and quality of a grid, see `facts.report`."""
        place, pair = self._pair(query)
        query.finish()
        with self._report_lock:
            if place not in self._reports:
                number, row = place
                self._reports[place] = facts.report(pair, self._source.frame(number).entries[row])
            return _json(self._reports[place])

    def layer(self, query: Query) -> Answer:
        """The array `values` [H, W] of one layer, see `layers.layer`."""
        _, pair = self._pair(query)
        axis, index, which = query.integer("axis", 0, 2), query.integer("index", -(2**31), 2**31 - 1), query.which()
        query.finish()
        found = layer(pair, which, axis, index)
        return Answer(BINARY, pack({"step": found.step}, {"values": found.values}))

    def volume(self, query: Query) -> Answer:
        """The array `cells` [Z, Y, X, 2] of 16-bit floats: values, 1 at the largest, and the value passed from above.

        The header has `low` (the voxel where the first cell begins), `factor` (voxels along a cell), `largest` (the
        value at 1), and `density` (extinction for a value of 1 on the box's longest side, with which fog looks thick).
        """
        _, pair = self._pair(query)
        which, size = query.which(), query.integer("size", 16, LONGEST, 256)
        query.finish()
        if pair.box is None:
            raise UsageError("the grid has no active voxels, so there is nothing to show")
        with self._heavy:
            cells = Cells.around(pair.box, size)
            values = error_cells(*pair.grids, cells) if which is Which.ERROR else density_cells(pair.grid(which), cells)
            largest = float(values.max(initial=0.0))
            values /= largest or 1.0
            above, density = _above(values, pair.decoded)
            both = np.stack([values, above], axis=-1).transpose(2, 1, 0, 3).astype(np.float16)
        header = {"low": cells.low.tolist(), "factor": cells.factor, "largest": largest, "density": density}
        return Answer(BINARY, pack(header, {"cells": both}))

    def surface(self, query: Query) -> Answer:
        """The arrays `vertices`, `normals`, `triangles` and for errors `errors`, see `surfaces.surface`."""
        _, pair = self._pair(query)
        which, iso = query.which(), query.number("iso")
        query.finish()
        with self._heavy:
            found = surface(pair, which, iso)
        arrays = {"vertices": found.vertices, "normals": found.normals, "triangles": found.triangles}
        if found.errors is not None:
            arrays["errors"] = found.errors
        return Answer(BINARY, pack({"iso": found.iso, "level": found.level}, arrays))

    def picture(self, query: Query) -> Answer:
        """A picture drawn here, for browsers that cannot: see `pictures.picture`."""
        _, pair = self._pair(query)
        which, width, height = (
            query.which(),
            query.integer("width", 16, 1024, 512),
            query.integer("height", 16, 1024, 512),
        )
        turn, tilt = query.number("turn", 0.0), query.number("tilt", 0.0)
        is_maximum = query.flag("maximum")
        query.finish()
        with self._heavy:
            pixels = picture(pair, which, turn, tilt, (width, height), is_maximum=is_maximum)
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG", compress_level=1)
        return Answer(PNG, [data.getvalue()])

    def _pair(self, query: Query) -> tuple[tuple[int, int], Pair]:
        """The grid that is asked for, by the positions of the frame and of the grid."""
        number = self._frame(query)
        row = query.integer("grid", 0, max(len(self._source.frame(number).entries) - 1, 0), 0)
        return (number, row), self._source.pair(number, row)

    def _frame(self, query: Query) -> int:
        return query.integer("frame", 0, len(self._source.frames) - 1, 0)


def _above(values: np.ndarray, grid: SparseGrid) -> tuple[np.ndarray, float]:
    """[X, Y, Z]: what light from above has passed, in values times parts of the longest side; and a good density.

    With that density the thick tenth of the lines through the cells has an optical depth of 7 or more, as in pictures
    of `fieldcodec render`.
    """
    voxel = grid.transform.voxel_size if grid.transform.is_linear else np.ones(3)
    lengths = voxel / (np.array(values.shape) * voxel).max()
    axis, sign = _upward(grid)
    towards = values if sign < 0 else np.flip(values, axis)
    passed = np.cumsum(towards, axis=axis, dtype=np.float32) * np.float32(lengths[axis])
    lines = np.concatenate([(values.sum(axis=number) * lengths[number]).reshape(-1) for number in range(3)])
    thick = lines[lines > 0]
    density = float(_THICK_DEPTH / np.percentile(thick, _THICK_PERCENTILE)) if thick.size else 1.0
    return passed if sign < 0 else np.flip(passed, axis), density


def _upward(grid: SparseGrid) -> tuple[int, int]:
    """The index axis that is nearest to the world's y, and 1 where it grows upwards, else -1."""
    if not grid.transform.is_linear:
        return 1, 1
    heights = grid.transform.matrix[:3, 1] / grid.transform.voxel_size
    axis = int(np.argmax(np.abs(heights)))
    return axis, 1 if heights[axis] >= 0 else -1


def _json(data: Mapping[str, Any]) -> Answer:
    return Answer(JSON, [json.dumps(data, allow_nan=False).encode("utf-8")])
