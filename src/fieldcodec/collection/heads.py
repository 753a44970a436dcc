"""The heads of a recursive network, ready to be asked at points of one object."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from fieldcodec.errors import UsageError
from fieldcodec.grid.octree import Octree
from fieldcodec.nets.fused_interpolation import LevelTable, first_layer_table, mix_levels
from fieldcodec.nets.interpolation import Stencil
from fieldcodec.nets.modes import one_thread
from fieldcodec.nets.recursive import RecursiveField
from fieldcodec.nets.recursive_spec import RecursiveSpec
from fieldcodec.nets.siren import OMEGA_0, Siren
from fieldcodec.threads import map_threads

_POINTS_AT_ONCE = 1 << 14  # with 256 channels 16 MB for a hidden layer
_POINTS_OF_A_JOB = 1 << 15


@final
@dataclass(frozen=True, eq=False)
class Decoder:
    """One of the heads for one object; the sines' frequency is in the weights."""

    table: LevelTable  # the first layer's products with the latents of all cells
    extra: Tensor  # [k, width]: the first layer's weights for what stands behind the fused latent, such as a direction
    bias: Tensor  # of the first layer
    layers: tuple[tuple[Tensor, Tensor], ...]  # weights and biases of the others

    @staticmethod
    def of(spec: RecursiveSpec, net: Siren, latents: Sequence[Tensor]) -> "Decoder":
        linear = [layer for layer in net.layers if isinstance(layer, nn.Linear)]
        scales = [OMEGA_0] * (len(linear) - 1) + [1.0]
        (weight, bias), *others = [
            (scale * layer.weight.detach(), scale * layer.bias.detach())
            for scale, layer in zip(scales, linear, strict=True)
        ]
        return Decoder(first_layer_table(spec, weight, latents), weight[:, spec.fused :].T, bias, tuple(others))

    def __call__(self, stencil: Stencil, lod: int | None = None, extra: Tensor | None = None) -> Tensor:
        """[n, outputs] at the points of a stencil, of the levels to `lod` alone.

        Args:
            extra: [n, k] inputs behind the fused latent; None means zeros.
        """
        x = mix_levels(self.table if lod is None else self.table.cut(lod), stencil) + self.bias
        x = torch.sin(x if extra is None else x + extra @ self.extra)
        for weight, bias in self.layers[:-1]:
            x = torch.sin(nn.functional.linear(x, weight, bias))
        return nn.functional.linear(x, *self.layers[-1])


@final
class Heads:
    """Calling gives what a head says at points, without gradients, on all processors."""

    def __init__(
        self, network: RecursiveField, octree: Octree, latents: Sequence[Tensor], threads: int | None = None
    ) -> None:
        """
        Args:
            octree: of this object alone.
            latents: of each level from 1 on [cells, D], in the order of its cells, on the device of the network.
            threads: on the host; by default one for each processor.

        Raises:
            UsageError: these do not fit each other.
        """
        shapes = [tuple(values.shape) for values in latents]
        expected = [(cells, network.spec.latent) for cells in octree.num_cells[1:]]
        if octree.roots != 1 or octree.lods > network.spec.lods or shapes != expected:
            raise UsageError(
                f"latents of shapes {shapes} do not fit one object whose levels of detail have {octree.num_cells[1:]} "
                f"cells, or a network of {network.spec.lods} levels and {network.spec.latent} numbers to a cell"
            )
        self.network, self.octree, self.latents = network, octree, [values.detach() for values in latents]
        self.device = self.latents[0].device
        self._threads = threads
        self._decoders: dict[str, Decoder] = {}
        self._cut: dict[int, Octree] = {}  # by level of detail, with the tables that were made for it

    def decoder(self, name: str) -> Decoder:
        """Of one of the heads in `spec.networks`; made once."""
        if name not in self._decoders:
            net = getattr(self.network, name)
            assert isinstance(net, Siren)
            self._decoders[name] = Decoder.of(self.network.spec, net, self.latents)
        return self._decoders[name]

    def stencil(self, points: np.ndarray, lod: int | None = None) -> Stencil:
        """At [n, 3] points of the cube, of the levels to `lod` alone."""
        octree = self.octree if lod is None else self._cut.setdefault(lod, self.octree.cut(lod))
        return Stencil.of(octree, np.zeros(len(points), np.int64), points, self.device)

    def __call__(
        self, name: str, points: np.ndarray, lod: int | None = None, extra: np.ndarray | None = None
    ) -> np.ndarray:
        """[n, outputs] float32 of a head at [n, 3] points of the cube; `extra` as of `Decoder`."""
        decoder = self.decoder(name)

        @torch.no_grad()  # the mode is a thread's own
        def of(job: slice) -> np.ndarray:
            some, more = points[job], None if extra is None else extra[job]
            found = []
            for part in parts_of(len(some)):
                inputs = None if more is None else torch.from_numpy(np.ascontiguousarray(more[part])).to(self.device)
                found.append(decoder(self.stencil(some[part], lod), lod, inputs).cpu().numpy())
            return np.concatenate(found)

        none, jobs = np.zeros((0, len(decoder.layers[-1][1])), np.float32), _jobs(len(points))
        if len(jobs) <= 1 or self._threads == 1 or self.device.type != "cpu":
            return np.concatenate([none, *map(of, jobs)])
        with one_thread():
            return np.concatenate([none, *map_threads(of, jobs, self._threads)])


def parts_of(count: int) -> Iterator[slice]:
    """Slices of so many points that hidden layers stay small."""
    return (slice(start, start + _POINTS_AT_ONCE) for start in range(0, count, _POINTS_AT_ONCE))


def _jobs(count: int) -> list[slice]:
    return [slice(start, start + _POINTS_OF_A_JOB) for start in range(0, count, _POINTS_OF_A_JOB)]
