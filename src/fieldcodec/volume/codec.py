"""The codec's front door: grids of a file -> compressed volume."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from fieldcodec.fit.phases import OnEvent, ignore_event
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.nets.device import choose_device
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.compressed_grid import CompressedGrid, describe_grid
from fieldcodec.volume.encode import encode_grid
from fieldcodec.volume.grid_quality import check_names, parse_grid_quality
from fieldcodec.volume.lattice_experience import Notebook
from fieldcodec.volume.level_encode import encode_with_level
from fieldcodec.volume.opaque import compress_opaque
from fieldcodec.volume.settings import VolumeSettings

Domains = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]

_HEAD = ("name", "value_type", "transform", "metadata", "save_as_half")
_VALUES = ("background", "root_tile_values", "upper_tile_values", "lower_tile_values", "leaf_values")


@dataclass(frozen=True)
class Place:
    """Where a file stands in a sequence.

    Attributes:
        before: the frame before, from which this one may be predicted; None where there is none.
        source: what the frame before was compressed from; with it grids that did not change are not coded again.
        leads: other frames will be predicted from this one.
        domains: of grids by name and value type, smallest and largest active index [3] in all frames of the group.
        notebook: what searches for lattices found in the frames of the group so far; this one's are added.
    """

    before: CompressedVolume | None = None
    source: VolumeFile | None = None
    leads: bool = False
    domains: Domains = field(default_factory=dict)
    notebook: Notebook = field(default_factory=Notebook)

    def unchanged(self, grid: SparseGrid | OpaqueGrid, taken: Sequence[CompressedGrid]) -> CompressedGrid | None:
        """What the very same grid of the frame before was compressed to; None where there is none but `taken` ones."""
        for other, compressed in self._own_before():
            if not any(compressed is each for each in taken) and _is_equal(grid, other):
                return compressed
        return None

    def renamed(self, grid: SparseGrid | OpaqueGrid, settings: VolumeSettings) -> CompressedGrid | None:
        """A grid of the frame before by another name, as the state before that solvers write with each frame.

        It shares the sections of that grid, and only the description is its own. None where none has the same tree and
        values, or as much was not asked of it.
        """
        if isinstance(grid, OpaqueGrid):
            return None
        asked = settings.of_grid(grid.name)
        for other, compressed in self._own_before():
            if isinstance(other, OpaqueGrid) or grid.grid_class != other.grid_class:
                continue
            alike = replace(other, name=grid.name, metadata=grid.metadata)
            if asked == settings.of_grid(other.name) and _is_equal(grid, alike):
                return replace(compressed, meta=compressed.meta | describe_grid(grid))
        return None

    def _own_before(self) -> Iterator[tuple[SparseGrid | OpaqueGrid, CompressedGrid]]:
        """The grids of the frame before that have values of their own, and what they were compressed to."""
        if self.before is not None and self.source is not None:
            for grid, compressed in zip(self.source, self.before.grids, strict=True):
                if compressed.instance_of is None:
                    yield grid, compressed

    def grids_before(self) -> dict[tuple[str, str], CompressedGrid]:
        """By name and value type, those of the frame before that have values of their own; the first of each name."""
        if self.before is None:
            return {}
        own = [grid for grid in self.before.grids if not grid.is_opaque and grid.instance_of is None]
        return {(grid.name, grid.value_type.name): grid for grid in reversed(own)}


def encode_volume(
    source: SparseGrid | VolumeFile,
    settings: VolumeSettings | None = None,
    *,
    mesh: Mesh | None = None,
    device: str | None = None,
    on_event: OnEvent = ignore_event,
) -> CompressedVolume:
    """Compresses a grid, or all grids of a file.

    Args:
        settings: `VolumeSettings()` where None; see `VolumeSettings.preset`.

    Other arguments:
        mesh: what the level sets were made from, in world space; a coded mesh is used where it is smaller. Decoding
            then needs the extra `mesh`.
        device: "cpu", "cuda", ...; chosen by itself where None.
        on_event: called with a `FitEvent` now and then.

    Raises:
        UnknownGridError: `settings.grid_quality` asks something of a grid that is not there.
        InvalidValuesError: a grid holds NaN or infinite active values and `settings.non_finite` is "refuse".
    """
    settings = settings or VolumeSettings()
    file = VolumeFile((source,)) if isinstance(source, SparseGrid) else source
    check_names(parse_grid_quality(settings.grid_quality), [grid.name for grid in file])
    return encode_frame(file, settings, Place(), mesh=mesh, device=device, on_event=on_event)


def encode_frame(
    file: VolumeFile, settings: VolumeSettings, place: Place, *, mesh: Mesh | None = None, device: str | None = None,
    on_event: OnEvent = ignore_event,
) -> CompressedVolume:  # fmt: skip
    """Compresses all grids of a file that may be a frame of a sequence; the rest as `encode_volume`.

    Args:
        place: in the sequence; grids may refer to those of the frame before, by name.
    """
    chosen = choose_device(device)
    grids: list[CompressedGrid] = []
    earlier = place.grids_before()
    for position, grid in enumerate(file.grids):
        parent = _parent(file, position)
        unchanged = None if parent is not None else place.unchanged(grid, grids)
        if unchanged is not None:
            earlier = {kind: before for kind, before in earlier.items() if before is not unchanged}
            grids.append(unchanged)
        elif parent is None and (renamed := place.renamed(grid, settings)) is not None:
            grids.append(renamed)
        elif isinstance(grid, OpaqueGrid):
            grids.append(compress_opaque(grid, parent))
        elif parent is not None:
            grids.append(CompressedGrid(describe_grid(grid) | {"instance_of": parent} | _inherited(grids[parent]), {}))
        else:
            kind = grid.name, grid.value_type.name
            encode = partial(
                encode_grid, device=chosen, on_event=on_event, mesh=mesh, reference=earlier.pop(kind, None),
                leads=place.leads, domain=place.domains.get(kind), notebook=place.notebook,
            )  # fmt: skip
            grids.append(encode_with_level(grid, settings.of_grid(grid.name), encode, chosen, on_event))
    return CompressedVolume(tuple(grids), file.metadata, settings.to_json())


def _parent(file: VolumeFile, position: int) -> int | None:
    """Position of an earlier grid with the very same tree (an instance in OpenVDB's words)."""
    grid = file.grids[position]
    for earlier, other in enumerate(file.grids[:position]):
        if isinstance(grid, OpaqueGrid):
            shared = grid.instance_of is not None and grid.instance_of is other
        else:
            shared = isinstance(other, SparseGrid) and _same_tree(grid, other)
        if shared:
            return earlier
    return None


def _same_tree(a: SparseGrid, b: SparseGrid) -> bool:
    return a.topology is b.topology and a.leaf_values is b.leaf_values


def _is_equal(a: SparseGrid | OpaqueGrid, b: SparseGrid | OpaqueGrid) -> bool:
    """Whether two grids are the same in every bit that a file holds of them."""
    if isinstance(a, OpaqueGrid) or isinstance(b, OpaqueGrid):
        return a == b
    if any(getattr(a, name) != getattr(b, name) for name in _HEAD) or not a.topology.equals(b.topology):
        return False
    return all(_same_bits(getattr(a, name), getattr(b, name)) for name in _VALUES)


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Of arrays of the same type; 0 and -0 differ, and NaN is itself."""
    bits = f"u{a.dtype.itemsize}"
    return a is b or np.array_equal(a.view(bits), b.view(bits))


def _inherited(parent: CompressedGrid) -> dict[str, object]:
    """What reports say of an instance: how its tree is stored."""
    return {"values": parent.meta["values"], "tree": parent.meta["tree"]}
