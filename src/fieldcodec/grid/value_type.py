"""The value types a grid can have, in OpenVDB's words."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ValueType:
    """One value type.

    `name` is OpenVDB's (as in `Tree_float_5_4_3`), `dtype` that of one channel in memory,
    `channels` the number of components of one value.
    """

    name: str
    dtype: np.dtype
    channels: int

    @property
    def is_float(self) -> bool:
        return self.dtype.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.dtype.kind in "iu"

    @property
    def is_bool(self) -> bool:
        """True for `bool` and `mask` grids; a mask grid's values are its active states."""
        return self.dtype.kind == "b"


def rounded_integers(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Doubles of any shape -> the nearest integers of a type (ties to even), clipped to its range."""
    limits = np.iinfo(dtype)
    top = float(limits.max)
    if int(top) > limits.max:  # the largest int64 has no double; clip to the last one below it
        top = float(np.nextafter(top, 0))
    return np.clip(np.rint(values), float(limits.min), top).astype(dtype)


def _type(name: str, dtype: str, channels: int = 1) -> ValueType:
    return ValueType(name, np.dtype(dtype), channels)


VALUE_TYPES: dict[str, ValueType] = {
    value_type.name: value_type
    for value_type in (
        _type("half", "<f2"),
        _type("float", "<f4"),
        _type("double", "<f8"),
        _type("int32", "<i4"),
        _type("int64", "<i8"),
        _type("uint32", "<u4"),
        _type("bool", "?"),
        _type("mask", "?"),
        _type("vec2s", "<f4", 2),
        _type("vec2d", "<f8", 2),
        _type("vec2i", "<i4", 2),
        _type("vec3s", "<f4", 3),
        _type("vec3d", "<f8", 3),
        _type("vec3i", "<i4", 3),
    )
}
