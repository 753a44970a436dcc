"""Typed metadata of grids and files, kept as the bytes OpenVDB stores.

An entry's bytes are never reinterpreted on the way through fieldcodec, so unknown types survive.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_FORMATS = {
    "bool": "<?", "int32": "<i", "int64": "<q", "float": "<f", "double": "<d",
    "vec2i": "<2i", "vec2s": "<2f", "vec2d": "<2d",
    "vec3i": "<3i", "vec3s": "<3f", "vec3d": "<3d",
    "vec4i": "<4i", "vec4s": "<4f", "vec4d": "<4d", "mat4s": "<16f", "mat4d": "<16d",
}  # fmt: skip
STATISTICS = frozenset(
    ("file_bbox_min", "file_bbox_max", "file_compression", "file_mem_bytes", "file_voxel_count", "file_delayed_load")
)

MetaValue = bool | int | float | str | tuple[float, ...] | bytes


@dataclass(frozen=True)
class MetaEntry:
    """One named value: `type_name` is OpenVDB's, `payload` the value's bytes without its length prefix."""

    name: str
    type_name: str
    payload: bytes

    @property
    def value(self) -> MetaValue:
        """The value in Python; the raw bytes where the type is unknown or the size is not its own."""
        if self.type_name == "string":
            return self.payload.decode("utf-8", errors="replace")
        layout = _FORMATS.get(self.type_name)
        if layout is None or struct.calcsize(layout) != len(self.payload):
            return self.payload
        values = struct.unpack(layout, self.payload)
        return values[0] if len(values) == 1 else values

    @staticmethod
    def of(name: str, value: bool | int | float | str) -> "MetaEntry":
        """An entry of the natural type: bool, int64, double or string."""
        if isinstance(value, str):
            return MetaEntry(name, "string", value.encode())
        type_name = {bool: "bool", int: "int64", float: "double"}[type(value)]
        return MetaEntry(name, type_name, struct.pack(_FORMATS[type_name], value))


@dataclass(frozen=True)
class Metadata:
    """An ordered collection of entries with unique names."""

    entries: tuple[MetaEntry, ...] = ()

    def __iter__(self) -> Iterator[MetaEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: str) -> bool:
        return any(entry.name == name for entry in self.entries)

    def get(self, name: str, default: MetaValue | None = None) -> MetaValue | None:
        """The Python value of an entry, or `default`."""
        return next((entry.value for entry in self.entries if entry.name == name), default)

    def without(self, *names: str) -> "Metadata":
        return Metadata(tuple(entry for entry in self.entries if entry.name not in names))

    def with_entry(self, entry: MetaEntry) -> "Metadata":
        """The same collection with `entry` replacing the one of its name, or appended."""
        if entry.name not in self:
            return Metadata((*self.entries, entry))
        return Metadata(tuple(entry if old.name == entry.name else old for old in self.entries))
