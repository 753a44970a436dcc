"""Canonical JSON: equal content gives equal bytes.

UTF-8, keys sorted, no spaces, no NaN or infinity, numbers as Python writes them. Size and depth are
limited, and no key occurs twice.
"""

import json
from typing import Any, NoReturn

from fieldcodec.container.format import MAX_META_BYTES, MAX_META_DEPTH
from fieldcodec.errors import FormatError

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


def dump_json(value: Any) -> bytes:
    """Canonical bytes of a value made of None, bool, int, finite float, str, list, tuple and dict with str keys.

    Raises:
        ValueError: the value has another type, is nested too deeply or is too large.
    """
    _check(value, 0)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    data = text.encode("utf-8")
    if len(data) > MAX_META_BYTES:
        raise ValueError(f"the JSON has {len(data)} bytes, at most {MAX_META_BYTES} are allowed")
    return data


def load_json(data: bytes) -> Any:
    """The value of JSON bytes.

    Raises:
        FormatError: it is no JSON, is too large or too deep, has a key twice, NaN or an infinity.
    """
    if len(data) > MAX_META_BYTES:
        raise FormatError(f"the JSON has {len(data)} bytes, at most {MAX_META_BYTES} are allowed")
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique)
        _check(value, 0)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise FormatError(f"the JSON is damaged: {error}; get the file again from its source") from error
    return value


def _check(value: Any, depth: int) -> None:
    if depth > MAX_META_DEPTH:
        raise ValueError(f"it is nested more than {MAX_META_DEPTH} deep")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"the key {key!r} is not a string")
            _check(key, depth)
            _check(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, str):
        value.encode("utf-8")  # lone surrogates have no bytes
    elif isinstance(value, float):
        if value - value != 0:
            raise ValueError(f"{value} is not finite")
    elif not (value is None or isinstance(value, bool | int)):
        raise ValueError(f"a {type(value).__name__} has no JSON form")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")
