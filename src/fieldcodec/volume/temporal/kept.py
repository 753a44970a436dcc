"""Decoded references that are kept for a while: frames of a group are mostly asked for one after the other."""

import threading
from collections import OrderedDict
from typing import final
from weakref import ref

from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.temporal.prediction import Reference

MAX_BYTES = 1 << 30  # of numbers; one reference is always kept


@final
class Kept:
    """The references used last, by the grids they are of. Safe to use from several threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[int, tuple[ref[CompressedGrid], Reference]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, grid: CompressedGrid) -> Reference | None:
        with self._lock:
            entry = self._entries.get(id(grid))
            if entry is None or entry[0]() is not grid:  # of a grid that is gone, whose number was given away again
                return None
            self._entries.move_to_end(id(grid))
            return entry[1]

    def put(self, grid: CompressedGrid, reference: Reference) -> Reference:
        """Keeps it, in the place of those used longest ago; gives it back."""
        with self._lock:
            self._entries[id(grid)] = ref(grid), reference
            self._entries.move_to_end(id(grid))
            for key in [key for key, (grid_of, _) in self._entries.items() if grid_of() is None]:
                del self._entries[key]
            size = sum(entry[1].num_bytes for entry in self._entries.values())
            while size > self._max_bytes and len(self._entries) > 1:
                size -= self._entries.popitem(last=False)[1][1].num_bytes
        return reference


references = Kept(MAX_BYTES)
