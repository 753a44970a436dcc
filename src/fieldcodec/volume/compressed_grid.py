"""One compressed grid: a description (plain JSON data) and named byte sections."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from fieldcodec.container.packed_json import pack_json
from fieldcodec.errors import FormatError
from fieldcodec.fit.phases import FitResult
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.grid.value_type import VALUE_TYPES, ValueType
from fieldcodec.nets.spec import NetworkSpec
from fieldcodec.volume.lattice_choice import Choice
from fieldcodec.volume.lattice_spec import EXACT_TYPES, LatticeSpec
from fieldcodec.volume.network_numbers import spec_of
from fieldcodec.volume.normalise import Normalisation
from fieldcodec.volume.subdomains import Subdomains
from fieldcodec.volume.topology_codec import node_counts, topology_hash
from fieldcodec.volume.trials import Trial


@dataclass(frozen=True, eq=False)
class CompressedGrid:
    """`meta` is what the file's `meta` section says of the grid, `sections` the grid's other sections.

    `reference` is the grid of an earlier frame that this one is stored as a difference to; None outside sequences.

    Known right after encoding only: `fits` tells how the networks were fitted, `choices` what the search for a
    lattice found of each candidate on a sample (the first one was taken), `goal_met` whether the quality asked
    for was reached, `trials` what a choice between methods tried (the first one was taken), and `no_level` why no
    coarse level was stored where one was asked for.
    """

    meta: dict[str, Any]
    sections: Mapping[str, bytes]
    fits: dict[str, FitResult] = field(default_factory=dict)
    choices: tuple[Choice, ...] = ()
    goal_met: bool = True
    trials: tuple[Trial, ...] = ()
    no_level: str = ""
    reference: "CompressedGrid | None" = None

    @property
    def name(self) -> str:
        return str(self.meta["name"])

    @property
    def is_opaque(self) -> bool:
        """True for a grid that is carried byte for byte."""
        return "opaque" in self.meta

    @property
    def instance_of(self) -> Any:
        """Position of the grid whose tree this one shares; None for most. Unchecked when it comes from a file."""
        description = self.meta["opaque"] if self.is_opaque else self.meta
        return description.get("instance_of") if isinstance(description, dict) else None

    @cached_property
    def value_type(self) -> ValueType:
        try:
            return VALUE_TYPES[self.meta["value_type"]]
        except (KeyError, TypeError) as error:
            raise FormatError(f"grid {self.name!r}: unknown value type {self.meta.get('value_type')!r}") from error

    @property
    def channels(self) -> int:
        return self.value_type.channels

    @property
    def grid_class(self) -> str:
        return str(self.metadata.get("class", "unknown"))

    @property
    def active_voxels(self) -> int:
        """Active voxels, those of active tiles counted in."""
        return int(self.meta.get("active_voxels", 0))

    @property
    def tree(self) -> str:
        """`explicit` for [Hash,5,4,NN(3)], `neural` for [Hash,5,NN(4),NN(3)]."""
        return str(self.meta.get("tree", "opaque"))

    @property
    def method(self) -> str:
        """How active values are stored: lattice, network, palette, raw or none."""
        return "opaque" if self.is_opaque else str(self.meta["values"]["method"])

    @cached_property
    def network_specs(self) -> dict[str, NetworkSpec]:
        """Role (level1, level0, tiles, values) -> network."""
        return {role: NetworkSpec.from_json(spec) for role, spec in self.meta.get("networks", {}).items()}

    @property
    def parameters(self) -> int:
        """Stored network parameters, all networks and experts."""
        return sum(spec.num_parameters for spec in self.network_specs.values())

    @property
    def corrections(self) -> int:
        """Voxels and slots that the classifiers got wrong and that were put right."""
        return int(self.meta.get("corrections", 0))

    @property
    def gave_up_voxels(self) -> int:
        """Voxels whose state was changed because tolerant topology was asked for."""
        return int(self.meta.get("gave_up", 0))

    @cached_property
    def lattice(self) -> LatticeSpec | None:
        """How a lattice stands for the values; None where there is none."""
        if self.method != "lattice":
            return None
        spec = LatticeSpec.from_json(self.meta["values"], self.channels)
        if spec.exact and EXACT_TYPES[spec.exact].kind != self.value_type.dtype.kind:
            raise FormatError(f"grid {self.name!r}: exact values are of type {spec.exact}, the grid's are not")
        return spec

    @cached_property
    def guiding_network(self) -> LatticeSpec | None:
        """How the integers of a value network that guides the leaf masks become values; None where none guides them."""
        values = self.meta.get("values", {})
        guided = values.get("guided", False)
        if self.method != "network" or guided is False:
            return None
        if guided is not True or not isinstance(values.get("banded"), bool):
            raise FormatError(
                f"grid {self.name!r}: guided is {guided!r} and banded {values.get('banded')!r} in the "
                "description of its values; both must be true or false"
            )
        return spec_of(Normalisation.from_json(values, self.channels), banded=values["banded"])

    @cached_property
    def subdomains(self) -> Subdomains:
        return Subdomains.from_json(self.meta.get("subdomains"))

    @cached_property
    def transform(self) -> GridTransform:
        stored = self.meta["transform"]
        try:
            return GridTransform(str(stored["map"]), from_text(stored["payload"]))
        except (KeyError, ValueError) as error:
            raise FormatError(f"grid {self.name!r}: transform is not understood: {error}") from error

    @cached_property
    def metadata(self) -> Metadata:
        entries = [] if self.is_opaque else self.meta["metadata"]
        return metadata_from_json(entries)

    @cached_property
    def background(self) -> np.ndarray:
        """[C]"""
        data = from_text(self.meta["background"])
        if len(data) != self.value_type.dtype.itemsize * self.channels:
            raise FormatError(f"grid {self.name!r}: the background has {len(data)} bytes")
        return np.frombuffer(data, self.value_type.dtype).copy()

    @property
    def save_as_half(self) -> bool:
        return bool(self.meta.get("save_as_half"))

    def section(self, name: str) -> bytes:
        """Bytes of a section; empty where it was left out for being empty.

        Raises:
            FormatError: its checksum is wrong.
        """
        return self.sections.get(name, b"")

    @property
    def num_bytes(self) -> int:
        """Bytes of all sections and of the grid's description in the file's `meta` section."""
        return sum(len(data) for data in self.sections.values()) + len(pack_json(self.meta))


def describe_grid(grid: SparseGrid) -> dict[str, Any]:
    """The part of the description that does not depend on how the grid is encoded."""
    bounds = grid.topology.active_bounds
    return {
        "name": grid.name,
        "value_type": grid.value_type.name,
        "transform": transform_to_json(grid.transform),
        "metadata": metadata_to_json(grid.metadata),
        "background": to_text(grid.background.tobytes()),
        "save_as_half": grid.save_as_half,
        "nodes": node_counts(grid.topology),
        "active_voxels": grid.topology.num_active_voxels,
        "bounds": None if bounds is None else [bound.tolist() for bound in bounds],
        "topology_hash": topology_hash(grid.topology),
    }


_DESCRIPTION: dict[str, type] = {
    "name": str,
    "value_type": str,
    "transform": dict,
    "metadata": list,
    "background": str,
    "nodes": dict,
    "topology_hash": str,
    "values": dict,
    "tree": str,
    "networks": dict,
    "weights": str,
    "tiles": dict,
}
_NOT_FOR_INSTANCES = ("networks", "weights", "tiles")


def check_description(description: Any, number: int) -> dict[str, Any]:
    """The description of a grid from a file, with every entry that decoding needs there and of its type."""
    if not isinstance(description, dict) or not isinstance(description.get("name"), str):
        raise FormatError(f"the description of grid number {number} is not understood")
    if "opaque" in description:
        return description
    for key, kind in _DESCRIPTION.items():
        if "instance_of" in description and key in _NOT_FOR_INSTANCES:
            continue
        if not isinstance(description.get(key), kind):
            raise FormatError(
                f"grid {description['name']!r}: {key} is {description.get(key)!r} in its description, "
                f"where a {kind.__name__} is needed"
            )
    if not isinstance(description["values"].get("method"), str):
        raise FormatError(f"grid {description['name']!r}: its description does not say how values are stored")
    return description


def transform_to_json(transform: GridTransform) -> dict[str, str]:
    return {"map": transform.map_type, "payload": to_text(transform.payload)}


def metadata_to_json(metadata: Metadata) -> list[list[str]]:
    return [[entry.name, entry.type_name, to_text(entry.payload)] for entry in metadata]


def metadata_from_json(data: Any) -> Metadata:
    try:
        return Metadata(tuple(MetaEntry(str(name), str(kind), from_text(payload)) for name, kind, payload in data))
    except (TypeError, ValueError) as error:
        raise FormatError(f"metadata in the meta section is not understood: {error}") from error


def to_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def from_text(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise FormatError(f"base64 text in the meta section is damaged: {error}") from error
