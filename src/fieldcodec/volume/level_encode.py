"""A coarse level beside the grid: coarsened, encoded at the same demands as the grid, put into its section.

grid --> coarsened --> encoded by itself --> a file of one grid --> section of the grid's own encoding
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from fieldcodec.container.format import ENTRY
from fieldcodec.errors import InvalidValuesError
from fieldcodec.fit.phases import OnEvent
from fieldcodec.grid.coarsen import coarsened
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.volume import values_codec
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.encode import encode_grid, with_finite_values
from fieldcodec.volume.level_of_detail import has_own_distance
from fieldcodec.volume.quality import Quality, is_surface, parse_size
from fieldcodec.volume.sections import STORED_LEVEL
from fieldcodec.volume.settings import VolumeSettings
from fieldcodec.volume.stored_level import KEY

_ENTRY_BYTES = ENTRY.size + 24  # of a section in the table of a file, and of the level in META
_SMALLER = 5  # at equal demands fog takes a sixth of the bytes at half the resolution, surfaces a quarter
_LEAST = 2048  # bytes that a level may always take, if that is no more than a fifth of all
_LEAST_VOXELS = 64  # active ones of a level of a large grid; one of fewer is exact
_INFINITE = "means of its values are larger than its type can hold"
_CHEAP = "levels follow from its lattices or its mesh alone, which takes little time and no bytes"

GridEncoder = Callable[[SparseGrid, VolumeSettings], CompressedGrid]


def encode_with_level(
    grid: SparseGrid, settings: VolumeSettings, encode: GridEncoder, device: torch.device, on_event: OnEvent
) -> CompressedGrid:
    """Compresses one grid by `encode`, and stores the level that the settings ask for beside it.

    With a size asked for, the level counts within it: it takes 1 / 5^level of the bytes at most, or 2 kB of a fifth
    of them, the grid the others. Where no level can be stored, or none is worth it, `no_level` of the result says why.

    Raises:
        InvalidValuesError, UsageError: as `encode_grid`.
    """
    if not settings.stored_level:
        return encode(grid, settings)
    if not grid.transform.is_linear:
        return replace(encode(grid, settings), no_level=f"a {grid.transform.map_type} has no coarser form")
    if not np.isfinite(grid.background).all():
        return replace(encode(grid, settings), no_level="its background is not finite")

    def encode_level(share: int | None) -> bytes | None:
        with np.errstate(over="ignore"):  # of doubles near the largest there is
            coarse = coarsened(with_finite_values(grid, settings), settings.stored_level)
        # what of a large grid is left is small, but is as lossy as the grid; of a small grid both are exact
        least = None if grid.topology.num_active_leaf_voxels < values_codec.SMALL_GRID else _LEAST_VOXELS
        own = _settings_of_level(coarse, settings, share)
        try:
            return CompressedVolume((encode_grid(coarse, own, device, on_event, least=least),)).to_bytes()
        except InvalidValuesError:
            return None

    if settings.quality.size is not None:
        return _within_size(grid, settings, encode, encode_level)
    compressed = encode(grid, settings)
    if has_own_distance(compressed):
        return replace(compressed, no_level=_CHEAP)
    data = encode_level(None)
    if data is None:
        return replace(compressed, no_level=_INFINITE)
    return _with_level(compressed, data, settings.stored_level)


def _within_size(
    grid: SparseGrid, settings: VolumeSettings, encode: GridEncoder, encode_level: Callable[[int], bytes | None]
) -> CompressedGrid:
    """The level first, so that the grid can have all bytes that are left."""
    size = parse_size(settings.quality.size or 0)
    share = _share(size, settings.stored_level)
    data = encode_level(share)
    if data is None or len(data) > share:
        too_large = f"it takes {len(data or b''):,} bytes, its share of the size asked for is {share:,}"
        return replace(encode(grid, settings), no_level=_INFINITE if data is None else too_large)
    rest = replace(settings.quality, size=size - len(data) - _ENTRY_BYTES)
    compressed = encode(grid, replace(settings, quality=rest))
    if has_own_distance(compressed):
        return replace(encode(grid, settings), no_level=_CHEAP)
    return _with_level(compressed, data, settings.stored_level)


def _with_level(compressed: CompressedGrid, data: bytes, level: int) -> CompressedGrid:
    whole = sum(map(len, compressed.sections.values()))
    if len(data) >= whole and compressed.reference is None:  # few bytes may stand on many frames before
        return replace(compressed, no_level=f"it takes {len(data):,} bytes, the whole grid only {whole:,}")
    sections = {**compressed.sections, STORED_LEVEL: data}
    return replace(compressed, meta=compressed.meta | {KEY: level}, sections=sections)


def _share(size: int, level: int) -> int:
    """Bytes that a level may take, of those of the whole grid."""
    return max(size // _SMALLER**level, min(size // _SMALLER, _LEAST))


def _settings_of_level(coarse: SparseGrid, settings: VolumeSettings, share: int | None) -> VolumeSettings:
    """Never of networks, whose training would take minutes once more."""
    quality = settings.quality
    if share is not None:
        quality = replace(quality, size=max(share, 1))
    elif (quality.iou is not None or quality.mcd is not None) and not is_surface(coarse):
        quality = Quality()  # what is thinner than a coarse voxel has no surface left that could be measured
    return replace(
        settings, quality=quality, method="auto", tree="explicit", topology="exact", non_finite="refuse", stored_level=0
    )
