"""Exact unfolding: from the latent of an object to its octree and the latents of all cells, the same everywhere.

One wrong decision about a cell changes all that lies below it, so phi and omega are evaluated in integers:

- Latents are integers in units of 2^-20, sines in units of 2^-22, weights are the integers of the file. A float64
  matrix product of them is exact in any order: |sum| <= 4096 * 2^27 * 2047 < 2^53, and 2^14 * 2^22 * 2047 < 2^53.
- A phase is an integer modulo 2^64, which is one turn: what overflows is whole turns. The sine comes from a table of
  4096 entries a turn, interpolated in integers; its error, 3e-7, is below that of float32 at the phases that occur.
- The sums of phi's last layer become latents by a multiplication and a shift; omega's are compared with a threshold.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import final

import numpy as np
import torch
from torch import Tensor

from fieldcodec.errors import FormatError
from fieldcodec.grid.octree import CHILDREN, Octree
from fieldcodec.jit import kernel
from fieldcodec.nets.frozen_recursive import LATENT_LIMIT, LATENT_UNIT, FrozenRecursive

SINE_UNIT = 1 << 22
TURNS = 4.7746482927568605  # of the phase for each unit of a layer's output: 30 / (2 pi)
_TABLE_BITS = 12
_FRACTION_BITS = 20  # of the place between two entries of the table
_SUM_BITS = 32  # of the sums of phi's last layer that are kept
_MOST_SHIFT = 62
_CHUNK_NUMBERS = 1 << 20  # of 8 bytes in memory at a time
_GPU_CHUNK_NUMBERS = 1 << 25

Select = Callable[[int, int, np.ndarray], np.ndarray]
"""(level, first child, [n] bool as predicted) -> [n] bool, the children of a level that are occupied."""


def as_predicted(level: int, first: int, predicted: np.ndarray) -> np.ndarray:
    """What the network says, uncorrected."""
    return predicted


@dataclass(frozen=True)
class _Hidden:
    """A sine layer: phase = sum * multiplier + offset, modulo 2^64."""

    weight: Tensor  # [inputs, outputs] float64 holding integers
    multiplier: int
    offsets: Tensor  # [outputs] int64


@dataclass(frozen=True)
class _Output:
    """phi's last layer: (((sum + 2^(cut - 1)) >> cut) * multiplier + 2^(shift - 1) >> shift) + bias."""

    weight: Tensor  # [inputs, outputs] float64 holding integers
    cut: int
    multiplier: int
    shift: int
    biases: Tensor  # [outputs] int64


@final
class ExactUnfolding:
    """Unfolds latents by a frozen network; device: "cpu" or that of an NVIDIA GPU, both give the same integers."""

    def __init__(self, frozen: FrozenRecursive, device: torch.device | str = "cpu") -> None:
        self.spec = frozen.spec
        self.device = torch.device(device)
        self._compiled = self.device.type == "cpu"  # kernels of the host; elsewhere torch computes the same
        phi, omega = frozen.network("phi"), frozen.network("omega")
        self._phi = self._hidden_layers(phi)
        self._output = self._output_layer(*phi[-1])
        self._omega = self._hidden_layers(omega)
        weight, step, bias, bias_step = omega[-1]
        self._difference = self._on_device((weight[1] - weight[0])[:, None].astype(np.float64))
        self._threshold = _threshold(bias, bias_step, step)
        self._sines = self._on_device(sine_table())
        widest = self.spec.base_width + CHILDREN * (self.spec.latent + 2 * self.spec.width)
        numbers = _CHUNK_NUMBERS if self._compiled else _GPU_CHUNK_NUMBERS
        self.chunk = max(numbers // widest, 16)  # cells that are split at a time

    def unfold(
        self, root: np.ndarray, most: Sequence[int], select: Select = as_predicted,
        added: tuple[int, np.ndarray] | None = None,
    ) -> tuple[Octree, list[Tensor]]:  # fmt: skip
        """The octree of one object, and the latents of its cells.

        Args:
            root: [D] integers in 1 / LATENT_UNIT, up to LATENT_LIMIT in magnitude.
            most: for each level from 1 on, how many cells it may have.
            select: has the last word on which children are occupied.
            added: a level, and what is added to the latents of its cells: [cells, D] integers like those of the root.

        Returns:
            The octree, and of each level from 1 on [cells, D] float32 on the device.

        Raises:
            FormatError: a level has more cells than it may, or others than something is added to.
        """
        cells = self._on_device(root.astype(np.int32))[None]
        masks, latents = [], []
        for level in range(1, self.spec.lods + 1):
            mask, cells = self._split_level(cells, level, most[level - 1], select)
            if added is not None and level == added[0]:
                cells = self._added(cells, added[1])
            masks.append(mask)
            latents.append(cells.float() / LATENT_UNIT)
        return Octree(1, tuple(masks)), latents

    def _added(self, cells: Tensor, more: np.ndarray) -> Tensor:
        """The sums of latents, int32 within the limit."""
        if more.shape != tuple(cells.shape):
            raise FormatError(
                f"something is added to {len(more)} latents, where an object unfolds to {len(cells)}; the file is "
                "damaged, get it again from its source"
            )
        total = cells.to(torch.int64) + self._on_device(more.astype(np.int64))
        return total.clamp(-LATENT_LIMIT, LATENT_LIMIT).to(torch.int32)

    def _split_level(self, cells: Tensor, level: int, most: int, select: Select) -> tuple[np.ndarray, Tensor]:
        """[cells, 8] bool, and the latents of those kept, int32."""
        masks, kept, count = [np.zeros(0, bool)], [cells[:0]], 0
        for start in range(0, len(cells), self.chunk):
            children = self._children(cells[start : start + self.chunk])
            mask = select(level, CHILDREN * start, self._occupied(children))
            count += int(np.count_nonzero(mask))
            if count > most:
                raise FormatError(
                    f"an object unfolds to more than {most} cells of level {level}, which is what the file says, or "
                    "may say; the file is damaged, get it again from its source"
                )
            masks.append(mask)
            kept.append(children[self._on_device(np.flatnonzero(mask))].to(torch.int32))
        return np.concatenate(masks).reshape(-1, CHILDREN), torch.cat(kept)

    def _children(self, cells: Tensor) -> Tensor:
        """[8 cells, D] float64 holding integers."""
        hidden = self._through(cells.double(), self._phi)
        layer = self._output
        out = hidden @ layer.weight
        if self._compiled:
            _rescale(out.numpy(), layer.cut, layer.multiplier, layer.shift, layer.biases.numpy(), LATENT_LIMIT)
        else:
            out = _rescale_in_torch(out, layer)
        return out.reshape(-1, self.spec.latent)

    def _occupied(self, children: Tensor) -> np.ndarray:
        """[children] bool."""
        sums = self._through(children, self._omega) @ self._difference
        return (sums[:, 0] > self._threshold).cpu().numpy()

    def _through(self, x: Tensor, layers: Sequence[_Hidden]) -> Tensor:
        for layer in layers:
            x = x @ layer.weight
            if self._compiled:
                _sine(x.numpy(), layer.multiplier, layer.offsets.numpy(), self._sines.numpy())
            else:
                x = _sine_in_torch(x, layer, self._sines)
        return x

    def _hidden_layers(self, layers: Sequence[tuple[np.ndarray, float, np.ndarray, float]]) -> list[_Hidden]:
        """Integer constants of all layers but the last; IEEE double basic operations only."""
        made, unit = [], LATENT_UNIT
        for weight, step, bias, bias_step in layers[:-1]:
            multiplier = round(step / unit * TURNS * 2.0**64)
            offsets = [_wrapped(round(value * bias_step * TURNS * 2.0**64)) for value in bias.tolist()]
            product = self._on_device(weight.T.astype(np.float64))
            made.append(_Hidden(product, multiplier, self._on_device(np.array(offsets, np.int64))))
            unit = SINE_UNIT
        return made

    def _output_layer(self, weight: np.ndarray, step: float, bias: np.ndarray, bias_step: float) -> _Output:
        heaviest = int(np.abs(weight).sum(axis=1, dtype=np.int64).max(initial=0))
        cut = max((heaviest * SINE_UNIT).bit_length() - _SUM_BITS, 0)
        scale = math.ldexp(step, cut) * (LATENT_UNIT / SINE_UNIT)
        shift = min(30 - math.frexp(scale)[1], _MOST_SHIFT)
        biases = np.array([round(value * bias_step * LATENT_UNIT) for value in bias.tolist()], np.int64)
        product = self._on_device(weight.T.astype(np.float64))
        return _Output(product, cut, round(math.ldexp(scale, shift)), shift, self._on_device(biases))

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


@cache
def sine_table() -> np.ndarray:
    """[4097] int64: a turn of the sine in 1 / SINE_UNIT, symmetric by construction.

    Only a quarter is computed. `math.sin` may differ in its last bit between systems; a test checks that no entry lies
    that close to a rounding boundary.
    """
    quarter = 1 << (_TABLE_BITS - 2)
    rising = [round(SINE_UNIT * math.sin(math.pi / 2 * i / quarter)) for i in range(quarter + 1)]
    half = rising + rising[-2:0:-1]
    return np.array([*half, *(-value for value in half), 0], np.int64)


def _threshold(bias: np.ndarray, bias_step: float, step: float) -> int:
    """A child is occupied where the sum for "occupied" less that for "empty" is larger."""
    empty, occupied = (float(value) * bias_step for value in bias.tolist())
    limit = float(1 << 60)  # beyond all sums
    return math.floor(min(max((empty - occupied) * SINE_UNIT / step, -limit), limit))


def _wrapped(value: int) -> int:
    """Modulo 2^64, as a signed number of 64 bits."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _half(shift: int) -> int:
    return 1 << shift >> 1


def _sine_in_torch(sums: Tensor, layer: _Hidden, table: Tensor) -> Tensor:
    phase = sums.to(torch.int64) * layer.multiplier + layer.offsets
    index = (phase >> (64 - _TABLE_BITS)) & ((1 << _TABLE_BITS) - 1)
    place = (phase >> (64 - _TABLE_BITS - _FRACTION_BITS)) & ((1 << _FRACTION_BITS) - 1)
    low = table[index]
    return (low + (((table[index + 1] - low) * place + _half(_FRACTION_BITS)) >> _FRACTION_BITS)).double()


def _rescale_in_torch(sums: Tensor, layer: _Output) -> Tensor:
    cut = ((sums.to(torch.int64) + _half(layer.cut)) >> layer.cut) * layer.multiplier
    out = ((cut + _half(layer.shift)) >> layer.shift) + layer.biases
    return out.clamp(-LATENT_LIMIT, LATENT_LIMIT).double()


# The functions below are compiled; numba infers their types, so they carry none.


@kernel
def _sine(sums, multiplier, offsets, table):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """In place: [n, w] float64 sums -> sines. Products wrap at 64 bits."""
    for row in range(sums.shape[0]):
        for column in range(sums.shape[1]):
            phase = np.int64(sums[row, column]) * multiplier + offsets[column]
            index = (phase >> 52) & 4095
            place = (phase >> 32) & 1048575
            low = table[index]
            sums[row, column] = low + (((table[index + 1] - low) * place + 524288) >> 20)


@kernel
def _rescale(sums, cut, multiplier, shift, biases, limit):  # type: ignore[no-untyped-def]  # pragma: no cover
    """In place: [n, w] float64 sums -> latents."""
    half_cut, half_shift = (1 << cut) >> 1, (1 << shift) >> 1
    for row in range(sums.shape[0]):
        for column in range(sums.shape[1]):
            value = ((np.int64(sums[row, column]) + half_cut) >> cut) * multiplier
            value = ((value + half_shift) >> shift) + biases[column]
            sums[row, column] = min(max(value, -limit), limit)
