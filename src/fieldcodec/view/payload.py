"""Arrays on their way to the page: a header in JSON, then the numbers.

    4 bytes   length of the header, little-endian
    header    JSON; `arrays` says of each array its name, type, shape, and offset from the end of the header
    arrays    as they lie in memory, little-endian

The header is filled up with spaces, and each array with zeros, so that the next part begins at a multiple of 8.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

_TYPES = {"<f4": "float32", "<f2": "float16", "<u4": "uint32", "|u1": "uint8"}
_ALIGNMENT = 8
_HEADER_ROOM = 4


def pack(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> list[bytes]:
    """The parts of one answer, to be sent one after another.

    Args:
        facts: plain values for the header.
        arrays: of 32-bit or 16-bit floats, 32-bit or 8-bit unsigned integers.
    """
    listed, offset = [], 0
    for name, array in arrays.items():
        kind = _TYPES[array.dtype.newbyteorder("<").str]
        listed.append({"name": name, "type": kind, "shape": list(array.shape), "offset": offset})
        offset += _padded(array.nbytes)
    text = json.dumps({**facts, "arrays": listed}, allow_nan=False).encode("utf-8")
    text += b" " * (_padded(len(text) + _HEADER_ROOM) - len(text) - _HEADER_ROOM)
    parts = [len(text).to_bytes(_HEADER_ROOM, "little") + text]
    for array in arrays.values():
        data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        parts.append(data + b"\0" * (_padded(len(data)) - len(data)))
    return parts


def _padded(length: int) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT
