"""The methods of fieldcodec itself, by way of the bytes of a `.fcodec` file, opened and decoded again."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from fieldcodec.bench.demands import Demand
from fieldcodec.bench.effort import measured
from fieldcodec.bench.peer import PREFIX, Outcome, Peer, Setting
from fieldcodec.errors import UsageError
from fieldcodec.fit.phases import OnEvent, ignore_event
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.volume.codec import encode_volume
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.settings import VolumeSettings

METHODS = {
    "lattice": "what encode does",
    "network": "slow",
    "mesh": "a coded mesh where that is smaller",
}
_FINE_DB = 35.0  # networks of this PSNR and more want the long schedule of the preset `fine`
_SIZE = re.compile(r"(\d+)(?:x(\d+))?")


@dataclass(frozen=True)
class NetworkSize:
    """A network for one point of the network method's curve."""

    width: int
    epochs: int = 0
    """0: the preset's."""

    def __str__(self) -> str:
        return f"{self.width}x{self.epochs}" if self.epochs else str(self.width)

    @staticmethod
    def parse(text: str) -> "NetworkSize":
        """`64` or `64x2000`: neurons of a layer, and batches.

        Raises:
            UsageError: it is neither.
        """
        found = _SIZE.fullmatch(text.strip())
        if found is None:
            raise UsageError(f"{text!r} is no size of a network; needed is a width such as 64, or 64x2000 with epochs")
        return NetworkSize(int(found[1]), int(found[2] or 0))


@dataclass(frozen=True)
class Surroundings:
    """What the methods need besides the grid."""

    mesh: Mesh | None = None
    device: str | None = None
    on_event: OnEvent = ignore_event


def methods(
    names: Sequence[str], demands: Sequence[Demand], surroundings: Surroundings, sizes: Sequence[NetworkSize] = ()
) -> list[Peer]:
    """Our methods by name; each is asked for every demand.

    Args:
        sizes: of the network method: a point for each instead of one for each demand.

    Raises:
        UsageError: a method is unknown, needs a mesh that is not there, or cannot promise what is asked for.
    """
    return [_method(name, demands, surroundings, sizes) for name in names]


def _method(
    name: str, demands: Sequence[Demand], surroundings: Surroundings, sizes: Sequence[NetworkSize]
) -> Peer:  # fmt: skip
    settings: dict[Setting, VolumeSettings]
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}; known are {', '.join(METHODS)}")
    if name == "mesh" and surroundings.mesh is None:
        raise UsageError("the method mesh codes the mesh that the level set was made from; name it with --mesh")
    if name != "network":
        settings = {str(demand): VolumeSettings(quality=demand.quality) for demand in demands}
    elif sizes:
        settings = {str(size): _sized(size) for size in sizes}
    elif demands[0].measure in ("psnr", "rmse"):
        settings = {str(demand): _network(demand.score) for demand in demands}
    else:
        raise UsageError(
            f"networks cannot promise {demands[0].measure}; give --network-sizes, such as 32,64x4000, or ask for psnr"
        )
    mesh = surroundings.mesh if name == "mesh" else None
    encode = partial(compress, settings_for=settings.__getitem__, surroundings=replace(surroundings, mesh=mesh))
    return Peer(PREFIX + name, encode, "each", tuple(settings))


def compress(
    grid: SparseGrid,
    setting: Setting,
    *,
    settings_for: Callable[[Setting], VolumeSettings],
    surroundings: Surroundings,
) -> Outcome:
    """Any grid. The file holds the exact tree, all values of tiles and the metadata; a changed tree is an error."""
    settings, device = settings_for(setting), surroundings.device
    volume, encode = measured(
        lambda tell: _written(encode_volume(grid, settings, mesh=surroundings.mesh, device=device, on_event=tell)),
        surroundings.on_event,
    )
    compressed, data = volume
    back, decode = measured(
        lambda tell: CompressedVolume.from_bytes(data).to_grids(device=device, on_event=tell)[0], surroundings.on_event
    )
    assert isinstance(back, SparseGrid)
    assert back.topology.equals(grid.topology), "the decoded tree differs"
    info = compressed.grids[0]
    note = str(info.lattice or info.method) + ("" if info.goal_met else ", quality missed")
    sections = {name: len(part) for name, part in info.sections.items()}
    sections["frame"] = len(data) - sum(sections.values())
    return Outcome(len(data), back.active_values(), encode, decode, note, sections=sections)


def _written(volume: CompressedVolume) -> tuple[CompressedVolume, bytes]:
    return volume, volume.to_bytes()


def _network(psnr: float) -> VolumeSettings:
    """Training stops at the RMSE of this PSNR."""
    preset = VolumeSettings.preset("fine" if psnr >= _FINE_DB else "balanced")
    return replace(preset, method="network", target_rmse=10 ** (-psnr / 20))


def _sized(size: NetworkSize) -> VolumeSettings:
    """Training goes on until the epochs are over."""
    preset = VolumeSettings.preset("balanced")
    return replace(preset, method="network", target_rmse=0.0, value_width=size.width, epochs=size.epochs)
