"""Canonical JSON: one form, limits, and everything that is refused."""

import math

import pytest

from fieldcodec.container.canonical_json import dump_json, load_json
from fieldcodec.container.format import MAX_META_BYTES, MAX_META_DEPTH
from fieldcodec.errors import FormatError


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


def test_literal_bytes() -> None:
    assert dump_json({"b": [1, 2.5, True, None], "a": "ü"}) == '{"a":"ü","b":[1,2.5,true,null]}'.encode()


def test_order_of_keys_does_not_matter() -> None:
    assert dump_json({"x": 1, "y": 2}) == dump_json({"y": 2, "x": 1})


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, {1: 2}, {"a": b"x"}, "\ud800", nested(MAX_META_DEPTH + 1), "x" * MAX_META_BYTES]
)
def test_what_cannot_be_written(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the messages differ)
        dump_json(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"NaN",
        b"[1e999]",
        b"Infinity",
        b'{"a":1,"a":2}',
        b'"\\ud800"',
        b"[" * 100_000,
        b"9" * 5000,
        b"[" * (MAX_META_DEPTH + 2) + b"]" * (MAX_META_DEPTH + 2),
        b" " * (MAX_META_BYTES + 1),
    ],
)
def test_what_cannot_be_read(data: bytes) -> None:
    with pytest.raises(FormatError):
        load_json(data)


def test_limits_are_reachable() -> None:
    assert load_json(dump_json(nested(MAX_META_DEPTH))) == nested(MAX_META_DEPTH)
