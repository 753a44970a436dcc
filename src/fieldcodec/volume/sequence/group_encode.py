"""The frames of one group -> compressed volumes."""

from collections.abc import Sequence

from fieldcodec.fit.phases import OnEvent, ignore_event
from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.volume.codec import Place, encode_frame
from fieldcodec.volume.compressed import CompressedVolume
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
    for frame, label in zip(frames, labels, strict=True):
        with naming(label):
            known = settings.of_grids([grid.name for grid in frame])
            place = Place(volumes[-1], False) if volumes else Place(None, len(frames) > 1)
            volumes.append(encode_frame(frame, known, place, device=device, on_event=on_event))
    return volumes
