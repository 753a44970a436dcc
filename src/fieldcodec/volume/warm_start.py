"""Where the networks of a later frame start from (NeuralVDB, section 3.6).

frame before, compressed --> subdomains of this frame, on the same lattice
                         \\-> range of values, so that the same weights mean the same values
                         \\-> Start: weights, rounding steps, and the loss to reach
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.nets.experts import ExpertNetwork
from fieldcodec.nets.frozen import FrozenNetwork, IntegerTensor
from fieldcodec.nets.spec import NetworkSpec
from fieldcodec.volume import values_codec
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.fields import ExpertField
from fieldcodec.volume.network_chain import earlier_experts, expert_field
from fieldcodec.volume.normalise import Normalisation
from fieldcodec.volume.subdomains import Subdomains, continued

_FACTOR = 2.0  # up to which the range of values may change before networks begin anew

_RANGES = {"values": "values", "tiles": "tile_range"}  # role of a regressor -> where its range is described


@dataclass(frozen=True, eq=False)
class Start:
    """A network of the frame before.

    Attributes:
        frozen: its weights.
        rows: [K] which of its experts each expert of this frame begins as, -1 where it is new.
        goal: the loss to reach; 0 where that of the first frame is not known.
    """

    frozen: FrozenNetwork
    rows: np.ndarray
    goal: float

    @property
    def new(self) -> np.ndarray:
        """Numbers of the experts that are new."""
        return np.flatnonzero(self.rows < 0)

    def network(self, spec: NetworkSpec, new: ExpertNetwork | None, device: torch.device) -> ExpertNetwork:
        """The network to be fitted, with the weights of the experts there were and of those that are `new`.

        It is rounded to the steps that they have in the file, so that weights differ by whole numbers of them.
        """
        network = ExpertNetwork(spec)
        kept, added = np.flatnonzero(self.rows >= 0), self.new
        steps: list[Tensor] = []
        for index, tensor in enumerate(network.stored):
            real = torch.from_numpy(self.frozen.real(index)[self.rows[kept]]).float()
            tensor.data[kept] = real.reshape(len(kept), *tensor.shape[1:])
            if new is not None:
                tensor.data[added] = new.stored[index].detach().cpu()
            of_tensor = torch.ones(spec.experts)
            stored = self.frozen.tensors[index]
            if isinstance(stored, IntegerTensor):
                of_tensor[kept] = torch.from_numpy(stored.scales[self.rows[kept]])
            if new is not None and new.steps is not None:
                of_tensor[added] = new.steps[index].float().cpu()
            steps.append(of_tensor.to(device))
        network.steps = steps if isinstance(self.frozen.tensors[0], IntegerTensor) else None
        return network.to(device)


@dataclass(frozen=True, eq=False)
class Earlier:
    """A grid of the frame before that is held by networks; `subdomains` are those of this frame on its lattice."""

    compressed: CompressedGrid
    subdomains: Subdomains
    _fields: dict[str, ExpertField | None] = field(default_factory=dict)

    @staticmethod
    def of(compressed: CompressedGrid | None, grid: SparseGrid, blocks: np.ndarray, weights: str) -> "Earlier | None":
        """None where networks of the grid cannot start from an earlier one.

        Args:
            blocks: [n, 3] origins of the grid's 8^3 blocks with something active.
            weights: how weights will be stored.
        """
        if compressed is None or compressed.is_opaque or compressed.instance_of is not None:
            return None
        if compressed.method != values_codec.NETWORK or compressed.meta["weights"] != weights:
            return None
        if compressed.value_type != grid.value_type:
            return None
        subdomains = continued(compressed.subdomains, blocks)
        return None if subdomains is None else Earlier(compressed, subdomains)

    def field(self, role: str) -> ExpertField | None:
        """The network of a role; None where there was none."""
        if role not in self._fields:
            self._fields[role] = expert_field(self.compressed, role)
        return self._fields[role]

    def range(self, role: str, own: Normalisation) -> Normalisation:
        """The range of values a regressor sees: that of the frame before while this frame's `own` is about the same."""
        known = self._range(role, own)
        if known is None:
            return own
        growth = own.scale / known.scale
        similar = (growth >= 1 / _FACTOR) & (growth <= _FACTOR) & (np.abs(own.offset - known.offset) <= known.scale)
        return replace(own, offset=known.offset, scale=known.scale) if similar.all() else own

    def start(
        self, role: str, spec: NetworkSpec, subdomains: Subdomains, of_values: Normalisation | None
    ) -> Start | None:
        """Where the network of a role starts from; None where there was none of its inputs, outputs and range.

        Args:
            subdomains: of its experts, in its units.
            of_values: the range it sees; None for classifiers.
        """
        before = self.field(role)
        if before is None or (before.frozen.spec.outputs, before.frozen.spec.extent) != (spec.outputs, spec.extent):
            return None
        known = None if of_values is None else self._range(role, of_values)
        if of_values is not None and (
            known is None or (known.offset != of_values.offset).any() or (known.scale != of_values.scale).any()
        ):
            return None
        rows = earlier_experts(subdomains, before.subdomains)
        if rows is None or (rows < 0).all():
            return None
        if any((t.scales <= 0).any() for t in before.frozen.tensors if isinstance(t, IntegerTensor)):
            return None
        fit = self.compressed.fits.get(role)
        return Start(before.frozen, rows, 0.0 if fit is None else fit.goal)

    def _range(self, role: str, own: Normalisation) -> Normalisation | None:
        if role not in self.compressed.network_specs:
            return None
        return Normalisation.from_json(self.compressed.meta[_RANGES[role]], len(own.scale))
