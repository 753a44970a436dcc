"""Descriptions as a forger would write them: one part of a true one replaced or taken away."""

import copy
from collections.abc import Iterator
from typing import Any

MISSING = object()
"""Stands for a part that is taken away."""


def places_of(value: Any, *, most_of_list: int | None = None, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to each part of plain data, the whole first; of long lists only the first items."""
    yield place
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys[:most_of_list] if isinstance(value, list) else keys:
        yield from places_of(value[key], most_of_list=most_of_list, place=(*place, key))


def replaced(data: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy of plain data with another part at a place, or without it (`MISSING`)."""
    if not place:
        return value
    changed = copy.deepcopy(data)
    target = changed
    for key in place[:-1]:
        target = target[key]
    if value is MISSING:
        del target[place[-1]]
    else:
        target[place[-1]] = value
    return changed
