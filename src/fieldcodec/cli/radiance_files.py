"""Which files hold radiance fields and posed pictures: asked of every input of some commands, so without torch."""

import mmap
from pathlib import Path

from fieldcodec.cli.inputs import held_kind
from fieldcodec.radiance.marks import VERSION_NAME, is_radiance

_MARK = VERSION_NAME.encode()  # metadata stands in files as it is


def holds_radiance(path: Path) -> bool:
    """Whether a .vdb or .fcodec file holds a radiance field, without decoding any of it; False for all other paths."""
    if not path.is_file() or not path.stat().st_size:
        return False
    suffix = path.suffix.lower()
    if suffix == ".vdb":
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(_MARK) >= 0
    if suffix != ".fcodec" or held_kind(path) != "volume":
        return False
    from fieldcodec.volume.compressed import open_volume  # needs torch

    return is_radiance(open_volume(path).grids)


def holds_posed(path: Path) -> bool:
    """Whether a path looks like a scene of posed pictures: a folder of one, or its .json file."""
    if path.is_file():
        return path.suffix.lower() == ".json"
    return any(True for _ in path.glob("transforms*.json")) or any(
        (path / inner / f"cameras{suffix}").is_file()
        for inner in ("", "sparse/0", "sparse")
        for suffix in (".bin", ".txt")
    )
