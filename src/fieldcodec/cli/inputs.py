"""Inputs of every kind, by suffix: volumes as they are, dense arrays as fog volumes, meshes as level sets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import fieldcodec as fc
from fieldcodec.container.container import open_container
from fieldcodec.errors import InputError, UnknownGridError, UnsupportedGridError, UsageError
from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
from fieldcodec.io.dense import DENSE_SUFFIXES, read_dense
from fieldcodec.io.frame_paths import VOLUME_SUFFIXES, number_ranges, ranges_text
from fieldcodec.io.mesh import read_mesh, voxelize
from fieldcodec.io.mesh.read import MESH_SUFFIXES

if TYPE_CHECKING:
    from fieldcodec.volume.compressed import CompressedVolume


@dataclass(frozen=True)
class ConversionOptions:
    """How an input that is no sparse volume becomes one."""

    resolution: int = 256
    """Meshes: voxels along the longest side, band included."""
    half_width: float = 3.0
    """Meshes: half the width of the band of active voxels, in voxels."""
    close_holes: bool = True
    """Meshes: close holes before the sign is decided."""
    threshold: float = 0.0
    """Dense arrays: voxels above this are active."""
    background: float = 0.0
    """Dense arrays: value of everything that is not active."""
    normalize: bool = False
    """Dense arrays: map values linearly so that the largest is 1."""
    shape: tuple[int, int, int] | None = None
    """Raw arrays: number of voxels along x, y and z."""
    dtype: str | None = None
    """Raw arrays: numpy's name of the value type, e.g. uint8 or float32."""
    voxel_size: float | None = None
    """World length of a voxel; for meshes instead of the resolution."""


def kind_of(path: Path) -> str:
    """`volume`, `mesh`, `dense` or `compressed`, from the suffix.

    Raises:
        InputError: the suffix is of no known kind.
    """
    name = path.name.lower()
    plain = name.removesuffix(".gz").removesuffix(".xz")
    if name.endswith(VOLUME_SUFFIXES):
        return "volume"
    if name.endswith(".fcodec"):
        return "compressed"
    if plain.endswith(MESH_SUFFIXES):
        return "mesh"
    if plain.endswith(DENSE_SUFFIXES):
        return "dense"
    allowed = ", ".join((*VOLUME_SUFFIXES, *DENSE_SUFFIXES, *MESH_SUFFIXES))
    raise InputError(f"{path.name}: the suffix is of no known kind of file; allowed are {allowed}, .fcodec")


def read_input(
    path: Path,
    options: ConversionOptions,
    on_progress: Callable[[str, float], None] | None = None,
    *,
    on_unsupported: Callable[[UnsupportedGridError], None] | None = None,
) -> VolumeFile:
    """A volume file, dense array or mesh as grids; `on_unsupported` as in `read_volumes`.

    Raises:
        InputError: the file is missing, unreadable, a compressed file or of no known kind.
    """
    require_file(path)
    kind = kind_of(path)
    if kind == "compressed":
        raise InputError(f"{path} is compressed already; use fieldcodec decode to get the volume back")
    if kind == "mesh":
        grid = voxelize(
            read_mesh(path), resolution=options.resolution, half_width=options.half_width,
            voxel_size=options.voxel_size, close_holes=options.close_holes, on_progress=on_progress,
        )  # fmt: skip
        return VolumeFile((grid,))
    if kind == "dense":
        grid = read_dense(
            path, threshold=options.threshold, background=options.background, shape=options.shape,
            dtype=options.dtype, voxel_size=options.voxel_size, normalize=options.normalize,
        )  # fmt: skip
        return VolumeFile((grid,))
    return fc.read_volumes(path, on_unsupported=on_unsupported)


@dataclass(frozen=True)
class FrameReader:
    """Reads one frame of a sequence; handed to the processes that encode."""

    conversion: ConversionOptions
    grids: tuple[str, ...] = ()
    skip_unsupported: bool = False

    def __call__(self, path: Path) -> VolumeFile:
        """The grids asked for, as far as the frame has them; all of them where none is asked for."""
        skip = (lambda refused: None) if self.skip_unsupported else None
        volumes = read_input(path, self.conversion, on_unsupported=skip)
        if self.grids:
            known = enumerate(volumes)
            kept = tuple(grid for row, grid in known if grid.name in self.grids or f"#{row}" in self.grids)
            volumes = replace(volumes, grids=kept)
        return without_opaque(volumes)[0] if self.skip_unsupported else volumes


def held_kind(path: Path) -> str:
    """What a `.fcodec` file says that it holds: `volume`, `sequence`, `collection`.

    Raises:
        FormatError: it is foreign or damaged.
    """
    with open_container(path) as opened:
        meta = opened.meta()
    return str(meta.get("kind")) if isinstance(meta, dict) else ""


def is_sequence(path: Path) -> bool:
    """Whether a `.fcodec` file holds frames; raises FormatError where it is foreign or damaged."""
    return held_kind(path) == "sequence"


def is_compressed_sequence(path: Path) -> bool:
    """Whether a path is that of a `.fcodec` file of frames; False for all other files, there or not."""
    return path.suffix.lower() == ".fcodec" and path.is_file() and is_sequence(path)


def is_compressed_collection(path: Path) -> bool:
    """Whether a path is that of a `.fcodec` file of objects; False for all other files, there or not."""
    return path.suffix.lower() == ".fcodec" and path.is_file() and held_kind(path) == "collection"


def refuse_collection(path: Path) -> None:
    """Say plainly where a collection of objects is no input, and what is for it."""
    if is_compressed_collection(path):
        raise UsageError(
            f"{path} holds a collection of objects, not a volume. `fieldcodec render {path.name}` draws them, "
            f"`fieldcodec decode {path.name} --item NAME -o NAME.vdb` gives one as a volume, "
            f"`fieldcodec compare MESHES {path.name}` measures them"
        )


def refuse_options(given: Mapping[str, object], reason: str) -> None:
    """Say plainly that options do not go with an input.

    Args:
        given: values by flags; None and False stand for those that were not given.
    """
    for flag, value in given.items():
        if value is not None and value is not False:
            raise UsageError(f"{flag} is not possible here: {reason}")


def open_frame(path: Path, frame: int | None) -> "CompressedVolume":
    """A compressed volume, or one frame of a compressed sequence.

    Raises:
        UsageError: a frame is asked for of a file that has none, or none of one that has several; the file holds
            objects.
        UnknownFrameError: there is no such frame.
        FormatError: the file is foreign or damaged.
    """
    refuse_collection(path)
    if not is_sequence(path):
        if frame is not None:
            raise UsageError(f"{path} holds one volume; leave out --frame")
        return fc.open(path)
    sequence = fc.open_sequence(path)
    if frame is None and len(sequence) != 1:
        known = ranges_text(number_ranges(sequence.frames))
        raise UsageError(f"{path} holds the frames {known}; choose one with --frame")
    return sequence.frame(sequence.frames[0] if frame is None else frame)


def refuse_frame(path: Path, frame: int | None) -> None:
    """Say plainly that only a compressed sequence has frames to choose from."""
    if frame is not None and kind_of(path) != "compressed":
        raise UsageError(f"{path.name} is one file with one volume; leave out --frame")


def require_file(path: Path) -> None:
    """Say plainly that an input is missing or a folder, before anything else is tried."""
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file")


def select_grids(volumes: VolumeFile, wanted: Sequence[str]) -> VolumeFile:
    """The grids asked for (see `find_grids`), in file order; all of them where none is asked for."""
    if not wanted:
        return volumes
    return replace(volumes, grids=tuple(volumes.grids[row] for row in find_grids([g.name for g in volumes], wanted)))


def find_grids(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Positions of the grids asked for, each by its name (all of that name) or as `#position` from 0.

    Raises:
        UnknownGridError: no grid has a name; the message lists those there are.
    """
    chosen: set[int] = set()
    for item in wanted:
        rows = [row for row, name in enumerate(names) if item in (name, f"#{row}")]
        if not rows:
            known = ", ".join(f"#{row} {name!r}" for row, name in enumerate(names)) or "none"
            raise UnknownGridError(f"no grid is called {item!r}; the file has {len(names)} grids: {known}")
        chosen.update(rows)
    return sorted(chosen)


def split_names(names: str | None) -> tuple[str, ...]:
    """`a,b` -> ("a", "b")."""
    return tuple(name.strip() for name in names.split(",")) if names is not None else ()


def without_opaque(volumes: VolumeFile) -> tuple[VolumeFile, tuple[str, ...]]:
    """The file without the grids that can only be carried, and the names of those left out.

    Raises:
        UnsupportedGridError: nothing is left.
    """
    kept = tuple(grid for grid in volumes if isinstance(grid, SparseGrid))
    dropped = tuple(f"{grid.name!r} ({grid.type_name})" for grid in volumes if isinstance(grid, OpaqueGrid))
    if not kept:
        raise UnsupportedGridError(f"no grid is left without those that can only be carried: {', '.join(dropped)}")
    return replace(volumes, grids=kept), dropped
