"""How a lattice stands for the values of a grid: the numbers that encoder and decoder share.

    value = clip(offset + unit * F),   F = sum over levels of round(step * spline(coefficients)) [+ residual]

F is an integer. It is the same on every machine, so the active masks of leaves may depend on it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.grid.value_type import rounded_integers
from fieldcodec.lattice import basis
from fieldcodec.lattice.operator import MAX_FIXED

MAX_LEVELS = 8
MAX_MOTION_STEP = 1 << 12  # four voxels
STEP_UNITS = 64  # units of F in the finest step: rounding to units then adds nothing worth mentioning
MARGIN_BAND = 192  # margins of the mask coder: a level set's half width (3 voxels of 64 each)
EXACT_TYPES = {name: np.dtype(f"<{name}") for name in ("f2", "f4", "f8", "i4", "i8", "u4")}
MARGIN_FULL = 8192  # and the largest value of other grids
_OPTIONAL = ("refined", "signs")  # entries of the description that are left out where false
_LEAST, _MOST = -32768, 32767  # margins


@dataclass(frozen=True)
class Level:
    """One lattice: stride in voxels, degree of the spline, quantiser's step in units of F."""

    stride: int
    degree: int
    step: int


@dataclass(frozen=True)
class LatticeSpec:
    """All that decoding the values needs besides the coefficients.

    Attributes:
        unit, offset, low, high: per channel; decoded values are clipped to [low, high].
        levels: from coarse to fine, the same for all channels.
        residual: step of the voxels' residual in units of F; 0 where there is none.
        exact: type of the numbers whose bits the residual restores, of `EXACT_TYPES`; "" where values are not exact.
        guided: the masks of leaves are coded with the values known.
        mesh: F per voxel of distance to a coded mesh, which stands in the place of lattices; 0 where there is none.
        banded: values are distances in a narrow band, the background being its half width.
        refined: a network mends F of active voxels, see `lattice.refinement`.
        signs: which active voxels lie inside the surface is stored, and overrules the sign of F.
        motion: stride in voxels and step in 1/1024 voxel of the motion with which F is predicted from an earlier
            frame; None where it is not.
    """

    unit: tuple[float, ...]
    offset: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    levels: tuple[Level, ...]
    residual: int = 0
    exact: str = ""
    guided: bool = True
    banded: bool = False
    mesh: float = 0.0
    refined: bool = False
    signs: bool = False
    motion: tuple[int, int] | None = None

    def __str__(self) -> str:
        names = ["motion"] * (self.motion is not None) + ["mesh"] * bool(self.mesh)
        names += [basis.name(level.stride, level.degree) for level in self.levels]
        names += ["exact" if self.exact else "residual"] * bool(self.residual)
        return " + ".join(names + ["refinement"] * self.refined + ["signs"] * self.signs)

    @property
    def finest_step(self) -> int:
        """In units of F: of the last quantiser of voxels."""
        return self.residual or min((level.step for level in self.levels), default=0)

    @property
    def multiply_adds(self) -> int:
        """Per voxel decoded: three small products an axis for every level and channel."""
        total = 0.0
        for level in self.levels:
            width = basis.window(level.stride, level.degree)
            total += (8 * width**3 + 64 * width**2 + 512 * width) / 512
        return round(total * len(self.unit))

    def values(self, channel: int, fixed: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Integers F of one channel, of any shape -> values of a type, the same on every machine."""
        values = fixed * self.unit[channel] + self.offset[channel]
        np.clip(values, self.low[channel], self.high[channel], out=values)
        return rounded_integers(values, dtype) if dtype.kind in "iu" else values.astype(dtype)

    def margins(self, fixed: np.ndarray, background: np.ndarray) -> np.ndarray:
        """[C, N, 512] int32 -> [N, 512] int16: how far the decoded values speak for "active".

        Level sets: half width less distance, the half width being 192. Others: the farthest that any channel lies
        from the background, 8192 being the farthest possible.
        """
        band = abs(float(background[0]))
        if self.banded and band > 0:
            margin = (band / self.unit[0] - np.abs(fixed[0] + self.offset[0] / self.unit[0])) * (
                MARGIN_BAND * self.unit[0] / band
            )
        else:
            margin = np.zeros(fixed.shape[1:], np.float64)
            for channel, of_channel in enumerate(fixed):
                rest = float(background[channel])
                span = max(abs(self.high[channel] - rest), abs(self.low[channel] - rest)) or 1.0
                away = np.abs(of_channel * self.unit[channel] + (self.offset[channel] - rest))
                np.maximum(margin, away * (MARGIN_FULL / span), out=margin)
        margin[np.isnan(margin)] = 0  # of a background that is no number
        return np.clip(np.rint(margin), _LEAST, _MOST).astype(np.int16)

    def sign_margins(self, fixed: np.ndarray, active: np.ndarray, background: np.ndarray) -> np.ndarray:
        """[N, 512] int32, [N, 512] bool -> [N, 512] int16: how far F speaks for "inside", as `margins` for "active".

        Inactive voxels, whose sign is known, leave no doubt.
        """
        inside, band = fixed < 0, abs(float(background[0]))
        margin = np.rint(fixed * (-MARGIN_BAND * self.unit[0] / band if band > 0 else 0.0))
        return np.where(active, np.clip(margin, _LEAST, _MOST), np.where(inside, _MOST, _LEAST)).astype(np.int16)

    def to_json(self) -> dict[str, Any]:
        return {
            "unit": list(self.unit), "offset": list(self.offset), "low": list(self.low), "high": list(self.high),
            "levels": [[level.stride, level.degree, level.step] for level in self.levels],
            "residual": self.residual, "exact": self.exact, "guided": self.guided,
            "banded": self.banded, "mesh": self.mesh,
        } | {name: True for name in _OPTIONAL if getattr(self, name)} | (
            {} if self.motion is None else {"motion": list(self.motion)}
        )  # fmt: skip

    @staticmethod
    def from_json(data: Any, channels: int) -> "LatticeSpec":
        """Raises FormatError where anything is missing or out of its range."""
        try:
            unit, offset, low, high = (
                tuple(_finite(x) for x in data[name]) for name in ("unit", "offset", "low", "high")
            )
            levels = tuple(Level(*(_integer(x) for x in level)) for level in data["levels"])
            residual, exact = _integer(data["residual"]), str(data["exact"])
            guided, banded, mesh = data["guided"], data["banded"], _finite(data["mesh"])
            refined, signs = (data.get(name, False) for name in _OPTIONAL)
            motion = _motion(data["motion"]) if "motion" in data else None
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"the description of a lattice is not understood: {error}") from error
        good = all(len(numbers) == channels for numbers in (unit, offset, low, high)) and all(x > 0 for x in unit)
        good &= len(levels) <= (MAX_LEVELS if mesh == 0 else 0) and (
            len(levels) > 0 or mesh > 0 or residual > 0 or motion is not None
        )
        good &= motion is None or mesh == 0
        good &= 0 <= mesh <= MAX_FIXED and 0 <= residual <= MAX_FIXED and (mesh == 0 or channels == 1)
        good &= (
            (exact == "" or (exact in EXACT_TYPES and residual == 1))
            and isinstance(guided, bool)
            and isinstance(banded, bool)
        )
        good &= isinstance(signs, bool) and not (signs and (exact or not banded or channels != 1))
        good &= isinstance(refined, bool) and not (refined and (exact or mesh > 0))
        for level in levels:
            good &= level.stride in basis.STRIDES and level.degree in basis.DEGREES and 1 <= level.step <= MAX_FIXED
        if not good:
            raise FormatError(f"the description of a lattice holds numbers that are not allowed: {data!r:.300}")
        return LatticeSpec(
            unit, offset, low, high, levels, residual, exact, guided, banded, mesh, refined, signs, motion
        )


def _motion(data: Any) -> tuple[int, int]:
    stride, step = (_integer(number) for number in data)
    if stride not in basis.MOTION_STRIDES or not 1 <= step <= MAX_MOTION_STEP:
        raise ValueError(f"motion with a stride of {stride} and a step of {step} is not allowed")
    return stride, step


def _finite(number: Any) -> float:
    if type(number) not in (int, float) or not np.isfinite(float(number)):
        raise ValueError(f"{number!r:.100} is no finite number")
    return float(number)


def _integer(number: Any) -> int:
    if type(number) is not int:
        raise ValueError(f"{number!r:.100} is no integer")
    return number
