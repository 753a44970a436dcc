"""The smaller of lattice and network at the quality asked for.

    lattice --> bytes --> a network that could be smaller --> meets the goal? -- no, by far --> wider, if still smaller
                                                                     \\--- yes --> narrower, while it meets the goal

The lattice takes seconds, a network minutes. So only networks are fitted whose weights would take fewer bytes than
what they replace, and no more than a few of them.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from fieldcodec.fit.phases import ignore_event
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.metrics.surface import interior_overlap, surface_distance
from fieldcodec.metrics.values import value_errors
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.decode import decode_grid
from fieldcodec.volume.quality import Goal, Quality, goal_of
from fieldcodec.volume.roughness import roughness
from fieldcodec.volume.sections import FRAME_BYTES
from fieldcodec.volume.settings import VolumeSettings
from fieldcodec.volume.training import Trainer
from fieldcodec.volume.trials import Trial

_ATTEMPTS = 3  # at a network
_WEIGHT_BITS = 4.5  # of a weight in a file: measured 4.5 for fog at a loose goal, 5.6 for level sets
_STEP = 4  # between widths
_NARROWEST, _WIDEST = 8, 512
_NARROWER, _WIDER = 0.75, 1.4  # of a width
_NEAR = 1.25  # excess up to which the same network is asked for a smaller error
_CAUTIOUS = 0.95  # of what is allowed
_LEAST_TARGET = 1e-4  # root mean square error that is asked of a network, as a part of the range of values
_SPARE = 0.85  # of a size, below which a wider network is tried
# sections that do not depend on the method, or hardly
_SHARED = {
    "root", "upper masks", "lower masks", "leaf masks", "inactive voxels", "inactive lower tiles",
    "inactive upper tiles", "inactive root tiles", "active tiles",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Found:
    """One encoding, as measured by decoding it."""

    compressed: CompressedGrid
    excess: float
    rmse: float
    trial: Trial

    @property
    def met(self) -> bool:
        return self.excess <= 1


@dataclass
class SmallestSearch:
    """The search for one grid.

    Attributes:
        grid: with finite active values that are worth fitting.
        settings: `quality` or `target_rmse` say what may be lost.
        encode: encodes the grid by the one method that settings name.
    """

    grid: SparseGrid
    settings: VolumeSettings
    encode: Callable[[VolumeSettings], CompressedGrid]
    device: torch.device
    _widths: dict[int, bool] = field(default_factory=dict)  # tried, and whether they met the goal

    def run(self) -> CompressedGrid:
        """The encoding that meets the goal in fewest bytes, for a size the one with the least error.

        Its `trials` say what was tried, the one taken first.
        """
        active = self.grid.active_values()
        value_range = (float(active.max()) - float(active.min())) or 1.0
        goal = goal_of(self.settings.quality, self.grid, value_range, self.settings.target_rmse)
        lattice = self._measured(goal, replace(self.settings, method="lattice"))
        if goal.lossless or goal.max_error is not None:
            return _chosen(goal, [lattice], "not tried: networks promise mean errors, not those of every voxel")
        widest = self._widest(goal, lattice.compressed)
        if widest < _NARROWEST:
            return _chosen(goal, [lattice], "not tried: the narrowest takes more bytes than what it would replace")
        found = [lattice]
        target = min(max((goal.rmse or lattice.rmse) / value_range, _LEAST_TARGET), 1.0)
        natural = self._resolved(self._network(self.settings.value_width, target)).value_width
        settings: VolumeSettings | None = self._network(min(natural, widest), target)
        while settings is not None and len(found) <= _ATTEMPTS:
            found.append(self._measured(goal, settings))
            settings = self._next(goal, settings, found[-1], lattice, widest)
        return _chosen(goal, found)

    def _network(self, width: int, target: float) -> VolumeSettings:
        return replace(self.settings, method="network", quality=Quality(), target_rmse=target, value_width=width)

    def _resolved(self, settings: VolumeSettings) -> VolumeSettings:
        return settings.resolved(self.grid.topology.num_active_leaf_voxels, self._roughness)

    @cached_property
    def _roughness(self) -> float:
        return roughness(self.grid)

    def _widest(self, goal: Goal, lattice: CompressedGrid) -> int:
        """Width of the widest network whose weights take no more bytes than they may."""
        shared = sum(len(data) for name, data in lattice.sections.items() if name in _SHARED)
        most = sum(len(data) for data in lattice.sections.values()) if goal.size is None else goal.size - FRAME_BYTES
        trainer = Trainer(self.grid, self._resolved(self._network(_NARROWEST, 1.0)), self.device, ignore_event)
        subdomains = trainer.subdomains()
        width = _NARROWEST - _STEP
        while width < _WIDEST:
            wider = replace(trainer, settings=self._resolved(self._network(width + _STEP, 1.0)))
            if wider.value_spec(subdomains).num_parameters * _WEIGHT_BITS / 8 > most - shared:
                break
            width += _STEP
        return width

    def _next(
        self, goal: Goal, settings: VolumeSettings, found: _Found, lattice: _Found, widest: int
    ) -> VolumeSettings | None:
        """The next network to try, None where none is worth it."""
        width, target = settings.value_width, settings.target_rmse
        self._widths[width] = found.met
        if goal.size is not None:
            share = found.compressed.num_bytes / goal.size
            factor = math.sqrt(_CAUTIOUS / share) if not found.met or share < _SPARE else 1.0
        elif found.met:
            factor = _NARROWER
        elif lattice.met and found.compressed.num_bytes >= lattice.compressed.num_bytes:
            return None  # larger and worse
        elif found.excess <= _NEAR:
            return self._network(width, target * _CAUTIOUS / found.excess)
        else:
            factor = _WIDER
        following = min(_STEP * round(width * factor / _STEP), widest)
        failed = [tried for tried, met in self._widths.items() if not met]
        pointless = goal.size is None and following <= max(failed, default=0)
        if pointless or following in self._widths or following < _NARROWEST:
            return None
        return self._network(following, target)

    def _measured(self, goal: Goal, settings: VolumeSettings) -> _Found:
        """An encoding with what is lost, found by decoding it."""
        start = time.monotonic()
        grid, compressed = self.grid, self.encode(settings)
        decoded = decode_grid(compressed, self.device, ignore_event)
        errors = value_errors(grid, decoded)
        rmse, size = errors.rmse or 0.0, compressed.num_bytes
        if goal.size is not None:
            excess = size / goal.size
        elif goal.lossless:
            excess = 0.0 if compressed.goal_met else math.inf
        else:
            iou = interior_overlap(grid, decoded) if goal.iou is not None else None
            mcd = surface_distance(grid, decoded) if goal.mcd is not None else None
            excess = goal.excess(rmse=rmse, max_error=errors.max_leaf or 0.0, iou=iou, mcd=mcd)
        detail = str(compressed.lattice or compressed.method)
        if settings.method == "network":
            detail = f"{settings.value_depth} layers of {settings.value_width}, target {settings.target_rmse:.3g}"
        trial = Trial(settings.method, detail, size, rmse, excess, time.monotonic() - start)
        return _Found(compressed, excess, rmse, trial)


def _chosen(goal: Goal, found: list[_Found], note: str = "") -> CompressedGrid:
    """The best of what was found; `note` says why no network was tried."""

    def cost(one: _Found) -> float:
        return one.rmse if goal.size is not None else one.compressed.num_bytes

    good = [one for one in found if one.met]
    best = min(good, key=cost) if good else min(found, key=lambda one: one.excess)
    trials = [replace(one.trial, verdict=_verdict(one, one is best, goal)) for one in found]
    trials.insert(0, trials.pop(found.index(best)))
    if note:
        trials.append(Trial("network", verdict=note))
    return replace(best.compressed, goal_met=best.met, trials=tuple(trials))


def _verdict(one: _Found, taken: bool, goal: Goal) -> str:
    sized = goal.size is not None
    if not one.met:
        return "taken: none reached the goal" if taken else "does not fit" if sized else "misses the quality asked for"
    if taken:
        return "taken: least error of those that fit" if sized else "taken: fewest bytes at the quality asked for"
    return "more error" if sized else "more bytes"
