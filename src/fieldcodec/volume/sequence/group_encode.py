"""The frames of one group -> compressed volumes."""

from collections.abc import Sequence

import numpy as np

from fieldcodec.fit.phases import OnEvent, ignore_event
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.volume.codec import Domains, Place, encode_frame
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.lattice_experience import Notebook
from fieldcodec.volume.sequence.naming import naming
from fieldcodec.volume.settings import VolumeSettings


def encode_frames(
    frames: Sequence[VolumeFile],
    settings: VolumeSettings,
    *,
    labels: Sequence[str],
    device: str | None = None,
    on_event: OnEvent = ignore_event,
) -> list[CompressedVolume]:
    """Compresses the frames of a group, in their order, each with what it has in common with the one before.

    Args:
        labels: what messages of errors call each frame.

    Raises:
        FieldcodecError: as `encode_volume`; the message names the frame.
    """
    volumes: list[CompressedVolume] = []
    domains, notebook = _domains(frames), Notebook()
    for frame, label in zip(frames, labels, strict=True):
        with naming(label):
            known = settings.of_grids([grid.name for grid in frame])
            before, source = (volumes[-1], frames[len(volumes) - 1]) if volumes else (None, None)
            place = Place(before, source, len(volumes) + 1 < len(frames), domains, notebook)
            volumes.append(encode_frame(frame, known, place, device=device, on_event=on_event))
    return volumes


def _domains(frames: Sequence[VolumeFile]) -> Domains:
    """Where each grid is active in any of the frames."""
    domains: Domains = {}
    for grid in (grid for frame in frames for grid in frame if isinstance(grid, SparseGrid)):
        bounds, kind = grid.topology.active_bounds, (grid.name, grid.value_type.name)
        if bounds is not None:
            low, high = domains.get(kind, bounds)
            domains[kind] = np.minimum(low, bounds[0]), np.maximum(high, bounds[1])
    return domains
