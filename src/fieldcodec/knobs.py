"""What frozen dataclasses of settings have in common: limits, presets, what differs from the defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, TypeVar

from fieldcodec.errors import UsageError

_S = TypeVar("_S")


def check_knobs(settings: Any, choices: Mapping[str, Sequence[str]], ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raises UsageError where a field is none of its choices, or outside its range."""
    for name, allowed in choices.items():
        if getattr(settings, name) not in allowed:
            raise UsageError(f"{name} is {getattr(settings, name)!r}; allowed are {', '.join(allowed)}")
    for name, (low, high) in ranges.items():
        if not low <= getattr(settings, name) <= high:
            raise UsageError(f"{name} is {getattr(settings, name)!r}; allowed is {low} to {high}")


def preset_of(presets: Mapping[str, _S], name: str) -> _S:
    """Settings by name; raises UsageError where there are none."""
    if name not in presets:
        raise UsageError(f"unknown preset {name!r}; known are {', '.join(presets)}")
    return presets[name]


def changed_knobs(settings: Any) -> dict[str, Any]:
    """The fields, as plain data, that differ from the defaults."""
    default = type(settings)()
    changed = {item.name for item in fields(settings) if getattr(settings, item.name) != getattr(default, item.name)}
    return {name: value for name, value in asdict(settings).items() if name in changed}


def refuse_unknown_knobs(kind: type, data: Mapping[str, Any]) -> None:
    """Raises UsageError that names the keys, such as those of other versions, that are no fields of a dataclass."""
    unknown = sorted(set(data) - {item.name for item in fields(kind)})
    if unknown:
        raise UsageError(f"unknown settings: {', '.join(unknown)}")
