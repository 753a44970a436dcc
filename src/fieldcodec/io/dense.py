"""Dense arrays to sparse grids: `.npy`, `.npz`, `.nii`, `.nii.gz`, `.raw`, `.raw.gz`.

Axes 0, 1, 2 of an array are x, y, z of index space. Voxels above the threshold become active and keep
their value; the others become inactive and get the background. Work goes slab by slab.
"""

import gzip
import math
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from fieldcodec.errors import InputError, InvalidValuesError, MissingPackageError, UnsupportedGridError, UsageError
from fieldcodec.grid.build import grid_of_dense, grid_of_leaves
from fieldcodec.grid.sparse_grid import FOG_VOLUME, SparseGrid
from fieldcodec.grid.transform import GridTransform
from fieldcodec.grid.value_type import VALUE_TYPES

DENSE_SUFFIXES = (".npy", ".npz", ".nii", ".nii.gz", ".raw", ".raw.gz")
_SLAB_VOXELS = 1 << 23
_EXACT_IN_FLOAT, _EXACT_IN_DOUBLE = 1 << 24, 1 << 53
_RAW_NAME = re.compile(r"_(\d+)x(\d+)x(\d+)_([a-z]+\d+)\.raw(\.gz)?$")  # the naming of Open SciVis data sets


@final
@dataclass(frozen=True)
class _Source:
    """An array as its file has it; its values are array * slope + intercept."""

    array: np.ndarray
    transform: GridTransform | None = None
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_scaled(self) -> bool:
        return (self.slope, self.intercept) != (1.0, 0.0)

    def values(self, slab: tuple[slice, ...]) -> np.ndarray:
        """The values of one slab, in the type of the file or in double where they are scaled."""
        raw = np.asarray(self.array[slab])
        if self.is_scaled:
            return raw * np.float64(self.slope) + np.float64(self.intercept)
        return raw.astype(np.float32) if raw.dtype == np.float16 else raw


def read_dense(
    path: str | Path,
    *,
    shape: tuple[int, int, int] | None = None,
    dtype: str | None = None,
    threshold: float = 0.0,
    background: float = 0.0,
    voxel_size: float | None = None,
    name: str | None = None,
    normalize: bool = False,
    value_type: str | None = None,
) -> SparseGrid:
    """A dense array as a fog volume; four axes, the last of length 3, give a vec3s grid.

    Args:
        shape: (nx, ny, nz) of a `.raw` file, x running fastest; a name like `engine_256x256x128_uint8.raw` tells it.
        dtype: NumPy's name of the type of a `.raw` file, such as "uint8" or ">i2".
        threshold: voxels with a greater value (vectors: length) are active. NaN is active, so that it shows later.
        background: value of everything inactive.
        voxel_size: world length of a voxel's side; None takes the affine transform of a NIfTI file, else 1.
        name: of the grid; None gives "density", or "vector".
        normalize: map values linearly so that the largest active one is 1 and 0, or the smallest active one if
            negative, is 0.
        value_type: float, double or half; None takes float, or double for integers that float cannot hold.

    Raises:
        InputError: the file is missing, damaged, of another size than the shape says, or of an unknown kind.
        UnsupportedGridError: the array has other axes or another type than can be taken.
        InvalidValuesError: integers too large for exact storage.
        UsageError: a setting is missing or out of range.
        MissingPackageError: nibabel is not installed.
    """
    source = _open(Path(path), shape, dtype)
    if voxel_size is not None and not (math.isfinite(voxel_size) and voxel_size > 0):
        raise UsageError(f"voxel_size is {voxel_size}; it must be a positive length")
    transform = source.transform if voxel_size is None else GridTransform.uniform(voxel_size)
    return _grid_of_source(source, threshold, background, transform, name, normalize, value_type)


def grid_of_array(
    array: np.ndarray,
    *,
    threshold: float = 0.0,
    background: float = 0.0,
    transform: GridTransform | None = None,
    name: str | None = None,
    normalize: bool = False,
    value_type: str | None = None,
) -> SparseGrid:
    """As `read_dense`, from an array [nx, ny, nz] or [nx, ny, nz, 3] in memory."""
    source = _Source(_checked_axes(array, "the array"))
    return _grid_of_source(source, threshold, background, transform, name, normalize, value_type)


def _grid_of_source(
    source: _Source,
    threshold: float,
    background: float,
    transform: GridTransform | None,
    name: str | None,
    normalize: bool,
    value_type: str | None,
) -> SparseGrid:
    is_vector = source.array.ndim == 4
    if math.isnan(threshold):
        raise UsageError("threshold is NaN; give a number")
    kind = _value_type(source, value_type, is_vector)
    low, span = _range(source, threshold) if normalize else (0.0, 1.0)
    origins, states, values = [], [], []
    for slab in _slabs(source.array):
        raw = source.values(slab)
        active = _is_active(raw, threshold)
        piece = grid_of_dense(
            "", (raw - low) / span if normalize else raw, active, origin=tuple(s.start for s in slab[:3]),
            value_type=kind, background=background,
        )  # fmt: skip
        origins.append(piece.topology.leaf_origins)
        states.append(piece.topology.leaf_active)
        values.append(piece.leaf_values)
    return grid_of_leaves(
        name if name is not None else ("vector" if is_vector else "density"),
        np.concatenate(origins), np.concatenate(states), np.concatenate(values),
        value_type=kind, background=background, transform=transform, grid_class=None if is_vector else FOG_VOLUME,
    )  # fmt: skip


def _is_active(values: np.ndarray, threshold: float) -> np.ndarray:
    """[x, y, z] bool; NaN counts as active."""
    if values.ndim == 4:
        values = np.linalg.norm(values.astype(np.float64), axis=-1)
    return ~(values <= threshold)


def _slabs(array: np.ndarray) -> Iterator[tuple[slice, ...]]:
    """Slices across the slowest axis, a multiple of 8 thick, that tile the array."""
    axis = int(np.argmax(np.abs(array.strides[:3])))
    across = max(array.size // array.shape[axis], 1)
    thick = max(_SLAB_VOXELS // across // 8 * 8, 8)
    for start in range(0, array.shape[axis], thick):
        whole = [slice(0, n) for n in array.shape]
        whole[axis] = slice(start, min(start + thick, array.shape[axis]))
        yield tuple(whole)


def _value_type(source: _Source, value_type: str | None, is_vector: bool) -> str:
    """Name of the grid's value type."""
    allowed = {"float": "vec3s", "double": "vec3d"} if is_vector else {"float": "", "double": "", "half": ""}
    if value_type is not None and value_type not in allowed:
        raise UsageError(f"value_type is {value_type!r}; allowed are {', '.join(allowed)}")
    kind = value_type or "float"
    if value_type is None and source.array.dtype.kind in "iu" and source.array.dtype.itemsize > 2:
        largest = max((abs(int(f(source.array[s]))) for s in _slabs(source.array) for f in (np.min, np.max)), default=0)
        if largest > _EXACT_IN_DOUBLE and not source.is_scaled:
            raise InvalidValuesError(
                f"the array holds an integer of size {largest}, and {_EXACT_IN_DOUBLE} is the largest that a grid "
                "of doubles holds exactly; scale the values, or give a value_type to accept rounding"
            )
        kind = "double" if largest > _EXACT_IN_FLOAT and not source.is_scaled else "float"
    return {"float": "vec3s", "double": "vec3d"}[kind] if is_vector else VALUE_TYPES[kind].name


def _range(source: _Source, threshold: float) -> tuple[float, float]:
    """What to subtract from values and what to divide them by, so that active ones fill 0 to 1."""
    low, high = 0.0, -math.inf
    for slab in _slabs(source.array):
        values = source.values(slab)
        values = values[_is_active(values, threshold) & np.isfinite(values.reshape(*values.shape[:3], -1)).all(axis=3)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    return low, high - low if high > low else 1.0


def _open(path: Path, shape: tuple[int, int, int] | None, dtype: str | None) -> _Source:
    lowered = path.name.lower()
    is_raw = lowered.endswith((".raw", ".raw.gz"))
    if not lowered.endswith(DENSE_SUFFIXES):
        raise InputError(f"{path.name} is no dense array by its name; allowed are {', '.join(DENSE_SUFFIXES)}")
    if not is_raw and (shape is not None or dtype is not None):
        raise UsageError(f"shape and dtype are for .raw files only; {path.name} tells its own")
    try:
        if is_raw:
            source = _open_raw(path, shape, dtype)
        elif lowered.endswith((".npy", ".npz")):
            source = _open_numpy(path)
        else:
            source = _open_nifti(path)
    except (InputError, UsageError):
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is damaged or not what its name says: {error}") from error
    array = _checked_axes(source.array, str(path))
    return _Source(array, source.transform, source.slope, source.intercept)


def _open_numpy(path: Path) -> _Source:
    mapped = np.load(path, mmap_mode="r" if path.suffix.lower() == ".npy" else None, allow_pickle=False)
    if isinstance(mapped, np.ndarray):
        return _Source(mapped)
    with mapped as archive:
        if len(archive.files) != 1:
            found = ", ".join(archive.files) or "none"
            raise InputError(f"{path} must hold one array, but holds {len(archive.files)}: {found}; save one alone")
        return _Source(archive[archive.files[0]])


def _open_raw(path: Path, shape: tuple[int, int, int] | None, dtype: str | None) -> _Source:
    told = _RAW_NAME.search(path.name.lower())
    if told:
        shape = shape or (int(told[1]), int(told[2]), int(told[3]))
        dtype = dtype or told[4]
    if shape is None or dtype is None:
        raise UsageError(f"{path.name} does not tell its shape and type; give shape=(nx, ny, nz) and dtype")
    if len(shape) != 3 or min(shape) < 1:
        raise UsageError(f"shape is {shape}; three positive numbers (nx, ny, nz) are needed")
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise UsageError(f"dtype is {dtype!r}, which NumPy does not know; try uint8, uint16, >i2 or float32") from error
    needed = math.prod(shape) * kind.itemsize
    if path.name.lower().endswith(".gz"):
        with gzip.open(path) as stream:
            data = stream.read(needed + 1)  # one more shows a longer file without unpacking all of it
        found = f"{'more' if len(data) > needed else len(data)}"
        array = np.frombuffer(data, kind) if len(data) == needed else None
    else:
        size = path.stat().st_size
        found = str(size)
        array = np.memmap(path, kind, mode="r") if size == needed else None
    if array is None:
        sides = " x ".join(map(str, shape))
        raise InputError(f"{path} must hold {needed} bytes for {sides} of {kind.name}, but holds {found}")
    return _Source(array.reshape(shape, order="F"))


def _open_nifti(path: Path) -> _Source:
    nibabel = _nibabel()
    try:
        image = nibabel.load(path)
        array = image.dataobj.get_unscaled()
        slope, intercept = image.dataobj.slope, image.dataobj.inter
    except FileNotFoundError as error:
        raise InputError(f"cannot read {path}: no such file") from error
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise InputError(f"{path} is no sound NIfTI file: {error}") from error
    try:
        transform = GridTransform.of_matrix(np.asarray(image.affine, np.float64).T)
    except UsageError as error:
        raise InputError(f"the transform of {path} cannot be used ({error}); give a voxel_size") from error
    if array.ndim == 5 and array.shape[3] == 1:  # vectors: x, y, z, time, component
        array = array[:, :, :, 0]
    return _Source(array, transform, float(slope), float(intercept))


def _checked_axes(array: np.ndarray, what: str) -> np.ndarray:
    """[x, y, z] or [x, y, z, 3] of real numbers, from the same with a last axis of length one."""
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] != 3) or 0 in array.shape:
        raise UnsupportedGridError(
            f"{what} has shape {array.shape}; allowed are (nx, ny, nz) and, for vectors, (nx, ny, nz, 3)"
        )
    if array.dtype.kind not in "biuf":
        raise UnsupportedGridError(f"{what} is of type {array.dtype}; allowed are bool, integers and real numbers")
    return array.astype(np.uint8) if array.dtype.kind == "b" else array


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise MissingPackageError(
            "NIfTI files need the package nibabel, which is not installed; run: pip install 'fieldcodec[nifti]'"
        ) from error
    return nibabel
