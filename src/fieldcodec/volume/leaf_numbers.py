"""From F to what values are made of, for any leaves: residuals, refinement and signs on top.

    numbers --> F --> residuals, group by group --> refinement, which looks at the leaves around --> signs

The full decoder asks for all leaves at once, random access for a few; both go this way, so values agree bit for bit.
"""

from collections import OrderedDict
from functools import cached_property

import numpy as np

from fieldcodec.coding.residuals import CodedResiduals
from fieldcodec.coding.value_masks import decode_masks_given_values
from fieldcodec.grid import masks
from fieldcodec.grid.topology import Topology
from fieldcodec.lattice.refinement import Refinement
from fieldcodec.threads import map_threads
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.fields import leaf_blocks
from fieldcodec.volume.lattice_codec import Numbers, Rows, coded_residuals, exact_integers, refined, signed
from fieldcodec.volume.lattice_spec import LatticeSpec

_AROUND = np.array([offset for offset in np.ndindex(3, 3, 3) if offset != (1, 1, 1)], np.int32) - 1
_GROUPS_AT_ONCE = 16  # decoded on threads; bounds the memory for their predictions


class LeafNumbers:
    """F of leaves with all that a file has on top of it.

    Residuals come in groups of some thousand leaves; those decoded last are kept.
    """

    def __init__(
        self, grid: CompressedGrid, spec: LatticeSpec, topology: Topology, source: Numbers, kept_bytes: int
    ) -> None:
        """`kept_bytes`: how much memory groups may take that are kept for later."""
        self.spec = spec
        self._grid, self._topology, self._source = grid, topology, source
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._kept_bytes = kept_bytes
        self._inside: np.ndarray | None = None  # [N, 64] packed, where signs are stored and were needed

    def numbers(self, rows: Rows) -> np.ndarray:
        """[C, n, 512]: of leaves in rising order; a slice may be `slice(None)` only.

        Raises:
            FormatError: sections are damaged.
        """
        result = self._unsigned(rows)
        if not self.spec.signs:
            return result
        if isinstance(rows, slice) and self._inside is None:
            self._read_signs(self._sign_margins(result, rows))
        elif self._inside is None:
            self._read_signs(self._all_sign_margins())
        assert self._inside is not None
        return signed(result, masks.unpack(self._inside[rows]))

    def _read_signs(self, margins: np.ndarray) -> None:
        self._inside = decode_masks_given_values(self._grid.section("signs"), self._topology.leaf_origins, margins)

    def _all_sign_margins(self) -> np.ndarray:
        """Block by block: masks of signs depend on the margins of all leaves."""
        margins = np.empty((self._topology.num_leaves, masks.LEAF_SLOTS), np.int16)
        for block in leaf_blocks(len(margins)):
            rows = np.arange(block.start, block.stop)
            margins[block] = self._sign_margins(self._unsigned(rows), rows)
        return margins

    def _sign_margins(self, numbers: np.ndarray, rows: Rows) -> np.ndarray:
        active = masks.unpack(self._topology.leaf_active[rows])
        return self.spec.sign_margins(numbers[0], active, self._grid.background.astype(np.float64))

    @cached_property
    def _network(self) -> Refinement:
        return Refinement.from_bytes(self._grid.section("refinement"))

    def _unsigned(self, rows: Rows) -> np.ndarray:
        if not self.spec.refined:
            return self._with_residuals(rows)
        topology, count, seen = self._topology, None, rows
        if isinstance(rows, np.ndarray):
            around = (topology.leaf_origins[rows][:, None] + _AROUND * masks.LEAF_DIM).reshape(-1, 3)
            near = np.unique(topology.leaf_table.find(around))
            extra = np.setdiff1d(near[near >= 0], rows, assume_unique=True)
            count, seen = len(rows), np.concatenate([rows, extra])
        numbers = self._with_residuals(seen)
        return refined(
            self._network, self.spec, numbers, topology.leaf_active[seen], topology.leaf_origins[seen], count
        )

    @cached_property
    def _residuals(self) -> list[CodedResiduals]:
        return coded_residuals(self._grid.section("voxel residuals"), self.spec, self._topology)

    def _with_residuals(self, rows: Rows) -> np.ndarray:
        """[C, n, 512]: rows in any order."""
        if not self.spec.residual:
            return self._source.fixed(rows)
        groups = self._residuals[0].groups
        starts = np.array([first for first, _ in groups], np.int64)
        wanted = np.arange(self._topology.num_leaves)[rows]
        group_of = np.searchsorted(starts, wanted, side="right") - 1
        kind = np.int64 if self.spec.exact else np.int32
        result = np.empty((len(self.spec.unit), len(wanted), masks.LEAF_SLOTS), kind)
        needed = np.unique(group_of).tolist()
        for start in range(0, len(needed), _GROUPS_AT_ONCE):
            for number, values in self._groups_of(needed[start : start + _GROUPS_AT_ONCE]).items():
                mine = np.flatnonzero(group_of == number)
                result[:, mine] = values[:, wanted[mine] - starts[number]]
        return result

    def _groups_of(self, numbers: list[int]) -> dict[int, np.ndarray]:
        """[C, n, 512] of the leaves of each group, decoded or kept; those used last are kept on."""
        found = {number: self._kept.pop(number) for number in numbers if number in self._kept}
        missing = [number for number in numbers if number not in found]
        groups = self._residuals[0].groups
        jobs = [(number, self._source.fixed(np.arange(*groups[number]))) for number in missing]
        found |= dict(zip(missing, map_threads(self._decoded, jobs, None), strict=True))
        self._kept.update(found)
        size = sum(values.nbytes for values in self._kept.values())
        while size > self._kept_bytes:
            size -= self._kept.popitem(last=False)[1].nbytes
        return found

    def _decoded(self, job: tuple[int, np.ndarray]) -> np.ndarray:
        number, fixed = job
        decoded = []
        for channel, (coded, of_channel) in enumerate(zip(self._residuals, fixed, strict=True)):
            predictions = exact_integers(self.spec, channel, of_channel) if self.spec.exact else of_channel
            decoded.append(coded.decode(number, predictions))
        return np.stack(decoded)
