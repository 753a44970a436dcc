"""How sure a decoded value makes an active state: margins to logits, as few numbers that are stored.

A margin is an integer that grows with the chance that a voxel is active; what it means is left open.
The encoder counts how many voxels of every margin are active, joins margins until the share of active
ones grows with the margin (the pool-adjacent-violators algorithm of isotonic regression) and stores a
piecewise linear curve of logits. Below `low` no voxel is active and above `high` every one is: these
voxels are certain and need no bit at all.
"""

from dataclasses import dataclass

import numpy as np

from fieldcodec.coding import mixing
from fieldcodec.coding.bytestream import ByteReader, ByteWriter

CERTAIN = mixing.STRETCH_LIMIT + 1  # logits of voxels whose state is certain: +-CERTAIN
_MARGIN_MIN, _MARGIN_END = -(1 << 15), 1 << 15
_LOGIT_STEP = 32  # stored logits are in 1/8 nat, used ones in 1/256
_LOGIT_MAX = mixing.STRETCH_LIMIT // _LOGIT_STEP
_MAX_KNOTS = 64
_CHUNK = 1 << 21  # voxels looked at at a time: numpy makes 8 bytes of each
_KNOT_BITS = 24.0  # a knot takes about as many bits; it has to save more


@dataclass(frozen=True)
class Calibration:
    """A piecewise linear curve from margins to logits of "active", in 1/256 nat.

    Attributes:
        low: margins below it are certainly inactive; -32768..32768.
        knots: [n] int64 increasing margins, the first is `low`; none where no margin is uncertain.
        logits: [n] int64 at the knots, in 1/8 nat. Margins above the last knot are certainly active.
    """

    low: int
    knots: np.ndarray
    logits: np.ndarray

    def logits_of(self, margins: np.ndarray) -> np.ndarray:
        """Logits of margins: [...] int16 -> [...] int16 in 1/256 nat, +-CERTAIN where the state is certain."""
        curve = np.full(_MARGIN_END - _MARGIN_MIN, CERTAIN, np.int16)
        curve[: self.low - _MARGIN_MIN] = -CERTAIN
        logits = np.clip(self.logits * _LOGIT_STEP, -mixing.STRETCH_LIMIT, mixing.STRETCH_LIMIT)
        for i in range(len(self.knots) - 1):
            steps = int(self.knots[i + 1] - self.knots[i])
            line = logits[i] + (logits[i + 1] - logits[i]) * np.arange(steps) // steps
            curve[self.knots[i] - _MARGIN_MIN : self.knots[i + 1] - _MARGIN_MIN] = line
        if len(self.knots):
            curve[self.knots[-1] - _MARGIN_MIN] = logits[-1]
        result = np.empty(margins.shape, np.int16)
        flat, source = result.reshape(-1), np.ascontiguousarray(margins).reshape(-1)
        for first in range(0, flat.size, _CHUNK):
            flat[first : first + _CHUNK] = curve[source[first : first + _CHUNK].astype(np.int32) - _MARGIN_MIN]
        return result

    def write(self, writer: ByteWriter) -> None:
        """Append the curve to a header."""
        writer.varint(self.low - _MARGIN_MIN)
        writer.byte(len(self.knots))
        for step in np.diff(self.knots):
            writer.varint(int(step) - 1)
        writer.raw((self.logits + 128).astype(np.uint8).tobytes())


def read_calibration(reader: ByteReader) -> Calibration:
    """What `Calibration.write` wrote.

    Raises:
        FormatError: the bytes are no calibration.
    """
    low = reader.varint(_MARGIN_END - _MARGIN_MIN) + _MARGIN_MIN
    count = reader.byte()
    if count > _MAX_KNOTS:
        raise reader.error(f"a calibration of {count} knots, at most {_MAX_KNOTS} are allowed")
    steps = [reader.varint(_MARGIN_END - _MARGIN_MIN) + 1 for _ in range(count - 1)]
    if count and low + sum(steps) >= _MARGIN_END:
        raise reader.error(f"a calibration that ends at {low + sum(steps)}, above {_MARGIN_END - 1}")
    knots = low + np.cumsum([0, *steps][:count], dtype=np.int64)
    return Calibration(low, knots, np.frombuffer(reader.raw(count), np.uint8).astype(np.int64) - 128)


def calibrate(margins: np.ndarray, active: np.ndarray) -> Calibration:
    """The curve that fits margins and states: [...] int16 and [...] bool."""
    size = _MARGIN_END - _MARGIN_MIN
    counts, active_counts = np.zeros(size, np.int64), np.zeros(size, np.int64)
    flat, states = np.ravel(margins), np.ravel(active)
    for first in range(0, flat.size, _CHUNK):
        shifted = flat[first : first + _CHUNK].astype(np.int32) - _MARGIN_MIN
        counts += np.bincount(shifted, minlength=size)
        active_counts += np.bincount(shifted[states[first : first + _CHUNK]], minlength=size)
    with_active, with_inactive = np.flatnonzero(active_counts), np.flatnonzero(counts - active_counts)
    low = int(with_active[0]) if with_active.size else size
    high = int(with_inactive[-1]) if with_inactive.size else -1
    if low > high:
        return Calibration(low + _MARGIN_MIN, np.zeros(0, np.int64), np.zeros(0, np.int64))
    ones, total = active_counts[low : high + 1].astype(np.float64), counts[low : high + 1].astype(np.float64)
    curve = np.clip(np.rint(_isotonic_logits(ones, total) * (256 / _LOGIT_STEP)), -_LOGIT_MAX, _LOGIT_MAX)
    knots = _knots(curve, ones, total)
    return Calibration(low + _MARGIN_MIN, knots + (low + _MARGIN_MIN), curve[knots].astype(np.int64))


def _isotonic_logits(ones: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Logits that do not fall from margin to margin, fitted to `ones` of `total` voxels."""
    blocks: list[tuple[float, float, int]] = []  # active voxels, voxels, margins
    for block in zip(ones.tolist(), total.tolist(), [1] * len(total), strict=True):
        one, voxels, width = block
        while blocks and blocks[-1][0] * voxels >= one * blocks[-1][1]:
            before = blocks.pop()
            one, voxels, width = one + before[0], voxels + before[1], width + before[2]
        blocks.append((one, voxels, width))
    logits = [np.log((one + 0.4) / (voxels - one + 0.4)) for one, voxels, _ in blocks]
    return np.repeat(logits, [width for _, _, width in blocks])


def _knots(curve: np.ndarray, ones: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Positions of the curve from which it can be drawn: split where that saves most, while it pays."""

    def excess(logits: np.ndarray) -> np.ndarray:
        """Bits per position of coding with these logits, in units of 1/8 nat."""
        return (total * np.logaddexp(0, logits / 8) - ones * logits / 8) / np.log(2)

    places = np.arange(len(curve))
    best = excess(curve)
    knots = [0, len(curve) - 1] if len(curve) > 1 else [0]
    while len(knots) < _MAX_KNOTS:
        loss = excess(np.interp(places, knots, curve[knots])) - best
        sums = np.add.reduceat(np.maximum(loss, 0), knots)[: len(knots) - 1]
        if not sums.size or sums.max() < _KNOT_BITS:
            break
        first, last = knots[int(sums.argmax())], knots[int(sums.argmax()) + 1]
        gathered = np.cumsum(np.maximum(loss[first:last], 0))
        split = first + int(np.searchsorted(gathered, gathered[-1] / 2))
        split = min(max(split, first + 1), last - 1)
        if split in knots:
            break
        knots = sorted([*knots, split])
    return np.array(knots)
