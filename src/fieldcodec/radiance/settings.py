"""Settings of a fit of a radiance grid, as plain data."""

from dataclasses import dataclass, replace
from typing import final

from fieldcodec.errors import UsageError
from fieldcodec.knobs import check_knobs, preset_of


@final
@dataclass(frozen=True)
class Stage:
    """A stretch of a fit on one lattice."""

    cells: int  # along the longest side of the box that is fitted in
    steps: int
    harmonics: int = 9  # of each colour: 1, 4 or 9


@final
@dataclass(frozen=True)
class RadianceSettings:
    """How a radiance grid is fitted to pictures. The defaults are the preset "balanced"."""

    stages: tuple[Stage, ...] = (Stage(64, 300, 1), Stage(128, 300), Stage(128, 1400))
    """From coarse to fine; after each, cells that give no ray any light are pruned."""
    minutes: float = 0.0
    """Above 0: the fit is cut so that it ends after so many minutes, each stage having its share of the steps. Finer
    stages for which no time is left are left out; a stage that is begun makes some steps at least, and is pruned."""
    batch: int = 4096
    """Rays in one step."""
    thickness_rate: float = 0.1
    """Learning rate of density at the start."""
    shade_rate: float = 0.02
    """Learning rate of colours at the start, of the part that is seen from everywhere."""
    direction_share: float = 0.25
    """What part of it the harmonics that depend on the direction have."""
    final_rate: float = 0.1
    """What part of the learning rates is left at the end of a stage."""
    thickness_smoothing: float = 1e-5
    """Weight of the differences of neighbouring corners' density (total variation)."""
    shade_smoothing: float = 1e-5
    """Weight of the differences of neighbouring corners' colours."""
    step: float = 0.6
    """Cells between two samples of a ray."""
    prune: float = 0.01
    """A cell is kept where it gives some ray at least this share of its light; its neighbours too, but at the end."""
    seed: int = 0
    """Of the choice of rays and the jitter of samples; the same seed gives the same grid on any number of threads."""

    def __post_init__(self) -> None:
        if not self.stages or any(
            not (8 <= stage.cells <= 512 and 1 <= stage.steps <= 1_000_000 and stage.harmonics in (1, 4, 9))
            for stage in self.stages
        ):
            raise UsageError(
                f"stages of a radiance fit are {self.stages}; each needs 8 to 512 cells, 1 step or more, and 1, 4 or 9 "
                "harmonics"
            )
        ranges = {
            "minutes": (0, 1e5), "batch": (64, 1 << 20), "thickness_rate": (1e-6, 10), "shade_rate": (1e-6, 10),
            "direction_share": (0, 1), "final_rate": (1e-4, 1), "thickness_smoothing": (0, 1),
            "shade_smoothing": (0, 1), "step": (0.1, 2), "prune": (0, 0.5), "seed": (0, (1 << 63) - 1),
        }  # fmt: skip
        check_knobs(self, {}, ranges)

    @staticmethod
    def preset(name: str) -> "RadianceSettings":
        """Settings by name: draft (a minute or two), balanced (below ten minutes on two processors), fine (for GPUs).

        Raises:
            UsageError: there is no such preset.
        """
        return preset_of(PRESETS, name)

    def scaled(self, *, cells: int | None = None, steps: int | None = None) -> "RadianceSettings":
        """The same stages with so many cells along the longest side in the last one, and so many steps in all.

        Raises:
            UsageError: a stage would have too few or too many of them.
        """
        finer = 1.0 if cells is None else cells / self.stages[-1].cells
        longer = 1.0 if steps is None else steps / sum(stage.steps for stage in self.stages)
        stages = (
            replace(stage, cells=max(8, round(stage.cells * finer)), steps=max(1, round(stage.steps * longer)))
            for stage in self.stages
        )
        return replace(self, stages=tuple(stages))


_BALANCED = RadianceSettings()
PRESETS: dict[str, RadianceSettings] = {
    "draft": replace(_BALANCED, stages=(Stage(64, 250, 1), Stage(96, 150), Stage(128, 400))),
    "balanced": _BALANCED,
    "fine": replace(
        _BALANCED, stages=(Stage(96, 500, 1), Stage(192, 1000), Stage(192, 1500), Stage(320, 6000)), batch=16384
    ),
}
