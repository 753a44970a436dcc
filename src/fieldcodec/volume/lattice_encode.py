"""Fitting lattices to a grid: candidates of strides, and what each gives at a step.

LatticeProblem --> fit, level by level, each to what the coarser ones left --> rounded --> F on all leaf voxels
               \\-> residual, refinement and signs of active voxels, where a candidate has them
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import torch

from fieldcodec.coding.bytestream import ByteWriter
from fieldcodec.coding.masks import encode_leaf_masks
from fieldcodec.coding.residuals import encode_residuals
from fieldcodec.coding.value_masks import encode_masks_given_values
from fieldcodec.container.canonical_json import dump_json
from fieldcodec.fit.torch_equations import equations_on
from fieldcodec.io.mesh.coded import encode_mesh
from fieldcodec.io.mesh.read import Mesh
from fieldcodec.lattice.basis import MAX_COEFFICIENT
from fieldcodec.lattice.equations import MakeEquations
from fieldcodec.lattice.fit import FitOptions, LatticeFit
from fieldcodec.lattice.nodes import NodeSet
from fieldcodec.lattice.operator import MAX_FIXED, Lattice
from fieldcodec.lattice.refinement import Refinement
from fieldcodec.nets.device import CPU
from fieldcodec.volume.lattice_choice import Candidate
from fieldcodec.volume.lattice_codec import (
    encode_integers,
    encode_signs,
    exact_integers,
    fixed_of_mesh,
    refined,
    signed,
)
from fieldcodec.volume.lattice_problem import LatticeProblem
from fieldcodec.volume.lattice_refinement import fit_network
from fieldcodec.volume.lattice_spec import STEP_UNITS, LatticeSpec, Level

_SMOOTHNESS = 0.2  # at stride 8; in proportion to the voxels of a node at others
_BEND_STEPS = 4.0  # second differences of so many steps count as large
_MESH_UNITS = 1024  # units of F in a third of a level set's half width, for distances to a mesh
_ECONOMY = 65  # per cent: how dearly a residual may be bought (see `encode_residuals`)
_COARSE = 50  # per cent of the step for the voxels from which the others are predicted
_CHAIN_UNIT = 1 / 2048  # scaled
_RESIDUAL_SHARE = (STEP_UNITS - 2) / STEP_UNITS  # of the step a bound allows: rounding to units takes the rest


@dataclass(frozen=True, eq=False)
class Attempt:
    """What a candidate gives at a step.

    Attributes:
        integers: [channel][level] coefficients.
        fixed: [C, N, 512] int32, F without residuals.
        unsigned: [C, N, 512] int32, F with residuals, refined.
        decoded: [C, N, 512] int32, F with residuals, refined, with signs.
        residuals, refinement, mesh: coded; empty where there is none.
    """

    candidate: Candidate
    step: float
    spec: LatticeSpec
    integers: tuple[tuple[np.ndarray, ...], ...]
    fixed: np.ndarray
    unsigned: np.ndarray
    decoded: np.ndarray
    residuals: bytes = b""
    refinement: bytes = b""
    mesh: bytes = b""


@dataclass(eq=False)
class LatticeFitter:
    """Makes attempts of candidates at one problem; keeps lattices and the fits of first levels: the slow part.

    Attributes:
        device: where lattices are fitted.
        share: of the whole, where the problem is a sample; what is stored once counts by it.
        motion: of the problem's prediction, see `LatticeSpec`; None where it has none.
        networks: the refinements fitted last, with which others begin.
        found: the attempt with the fewest bytes that a search found, which need not be made again.
    """

    problem: LatticeProblem
    device: torch.device = CPU
    share: float = 1.0
    motion: tuple[int, int] | None = None
    networks: dict[Candidate, Refinement] = field(default_factory=dict)
    found: Attempt | None = None
    _lattices: dict[tuple[int, int], Lattice] = field(default_factory=dict)
    _first: dict[tuple[int, int], tuple[float, list[LatticeFit]]] = field(default_factory=dict)
    _coded: WeakKeyDictionary[Attempt, tuple[LatticeSpec, dict[str, bytes]]] = field(default_factory=WeakKeyDictionary)

    @cached_property
    def _make_equations(self) -> MakeEquations:
        return equations_on(self.device)

    def lattice(self, stride: int, degree: int) -> Lattice:
        key = (stride, degree)
        if key not in self._lattices:
            self._lattices[key] = Lattice(NodeSet.of_leaves(self.problem.origins, stride, degree))
        return self._lattices[key]

    def attempt(self, candidate: Candidate, step: float, *, bounded: bool = False) -> Attempt:
        """Fits, rounds and evaluates.

        Args:
            step: in scaled units.
            bounded: with a residual, no error exceeds half a step; else the mean error is what counts, and residuals
                that cost more than they are worth are left out.
        """
        found = self.found
        if found is not None and (found.candidate, found.step) == (candidate, step):
            return found
        problem = self.problem
        spec = self._spec(candidate, step)
        fixed = problem.predicted_fixed(spec)
        integers = []
        for channel in range(problem.channels):
            integers.append(tuple(self._levels(candidate, spec, channel, fixed[channel])))
        unsigned, coded = fixed, b""
        if candidate.residual:
            unsigned, coded = self._residuals(spec, fixed, 0 if bounded else _ECONOMY)
        network = b""
        if candidate.refined:
            fitted = fit_network(problem, spec, unsigned, self.share, self.networks.get(candidate))
            self.networks[candidate], network = fitted, fitted.to_bytes()
            unsigned = refined(fitted, spec, unsigned, problem.packed, problem.origins)
        decoded = signed(unsigned, problem.inside) if candidate.signs else unsigned
        return Attempt(candidate, step, spec, tuple(integers), fixed, unsigned, decoded, coded, network)

    def mesh_attempt(self, mesh: Mesh, voxel: float, bits: int) -> Attempt:
        """Distances to a coded mesh in the place of lattices.

        Args:
            mesh: closed, in index space.
            voxel: side of a voxel in the units of the values.
        """
        problem = self.problem
        unit = float(problem.scale[0]) / _MESH_UNITS
        spec = LatticeSpec(
            unit=(unit,), offset=tuple(problem.offset.tolist()), low=tuple(problem.low.tolist()),
            high=tuple(problem.high.tolist()), levels=(), banded=True, mesh=voxel / unit,
        )  # fmt: skip
        data = encode_mesh(mesh, bits)
        fixed = fixed_of_mesh(data, spec, problem.origins)
        return Attempt(Candidate((), mesh_bits=bits), 0.0, spec, (), fixed, fixed, fixed, mesh=data)

    def exact(self, attempt: Attempt) -> Attempt:
        """The attempt with residuals of the values' own bits on top."""
        problem = self.problem
        name, numbers = problem.exact_numbers
        spec = replace(attempt.spec, residual=1, exact=name)
        writer = ByteWriter()
        for channel, fixed in enumerate(attempt.fixed):
            predictions = exact_integers(spec, channel, fixed)
            writer.blob(encode_residuals(numbers[channel], predictions, problem.packed, problem.origins, 1)[0])
        return replace(attempt, spec=spec, decoded=numbers, residuals=writer.getvalue())

    @cached_property
    def _plain_masks(self) -> bytes:
        return encode_leaf_masks(self.problem.packed, self.problem.origins, self.problem.hints)

    def coded(self, attempt: Attempt) -> tuple[LatticeSpec, dict[str, bytes]]:
        """The sections of an attempt, the leaf masks among them; the specification says how those are coded."""
        if attempt not in self._coded:  # for a size the bytes were asked for before
            self._coded[attempt] = self._code(attempt)
        return self._coded[attempt]

    def _code(self, attempt: Attempt) -> tuple[LatticeSpec, dict[str, bytes]]:
        problem = self.problem
        lattices = [self.lattice(stride, degree) for stride, degree, _ in attempt.candidate.levels]
        margins = attempt.spec.margins(attempt.fixed, problem.background)
        guided = encode_masks_given_values(problem.packed, problem.origins, margins)
        plain = guided if problem.surface else self._plain_masks
        spec = replace(attempt.spec, guided=len(guided) < len(plain) or problem.surface)
        return spec, {
            "lattice coefficients": encode_integers(lattices, attempt.integers) if lattices else b"",
            "mesh": attempt.mesh,
            "leaf masks": guided if spec.guided else plain,
            "refinement": attempt.refinement,
            "signs": self._signs(attempt) if spec.signs else b"",
            "voxel residuals": attempt.residuals,
        }

    def num_bytes(self, attempt: Attempt) -> int:
        """Of all sections and the specification; of a sample, its share of a network."""
        spec, sections = self.coded(attempt)
        once = int((1 - self.share) * len(sections["refinement"]))
        return len(dump_json(spec.to_json())) + sum(len(data) for data in sections.values()) - once

    def _spec(self, candidate: Candidate, step: float) -> LatticeSpec:
        problem = self.problem
        reach = 4 * max(1.0, problem.largest_target)
        finest = reach / MAX_COEFFICIENT  # below, coefficients could not be stored
        steps = [max(step * ratio, finest) for _, _, ratio in candidate.levels] + [step] * candidate.residual
        unit = max(min(steps or [step]) / STEP_UNITS, reach / MAX_FIXED)
        if problem.predicted is not None:  # numbers are rounded to units in every frame of a chain
            unit = min(unit, _CHAIN_UNIT)
        whole = [max(1, round(each / unit)) for each in steps]
        residual = max(1, int(whole[-1] * _RESIDUAL_SHARE)) if candidate.residual else 0
        levels = tuple(
            Level(stride, degree, each) for (stride, degree, _), each in zip(candidate.levels, whole, strict=False)
        )
        return LatticeSpec(
            banded=problem.surface, unit=tuple((problem.scale * unit).tolist()), offset=tuple(problem.offset.tolist()),
            low=tuple(problem.low.tolist()), high=tuple(problem.high.tolist()), levels=levels, residual=residual,
            refined=candidate.refined, signs=candidate.signs, motion=self.motion,
        )  # fmt: skip

    def _levels(self, candidate: Candidate, spec: LatticeSpec, channel: int, fixed: np.ndarray) -> Sequence[np.ndarray]:
        """Coefficients of all levels of a channel; adds their values to `fixed` [N, 512]."""
        problem, unit = self.problem, spec.unit[channel] / self.problem.scale[channel]
        integers = []
        for number, level in enumerate(spec.levels):
            lattice = self.lattice(level.stride, level.degree)
            step = level.step * unit
            if number == 0:
                fit = self._first_fit(level, channel, step)
            else:
                rest = problem.targets[channel] - fixed * np.float32(unit)
                options = _options(level.stride, step)
                fit = LatticeFit(lattice, rest, problem.importance, options, self._make_equations)
            coefficients = fit.quantised(step)
            lattice.add_exact(coefficients, float(level.step), fixed)
            integers.append(coefficients)
        return integers

    def _first_fit(self, level: Level, channel: int, step: float) -> LatticeFit:
        """The fit of a first level, made again only where the step is far from that it was made for."""
        key = (level.stride, level.degree)
        if key not in self._first or not 0.6 < step / self._first[key][0] < 1.7:
            options, lattice, problem = _options(level.stride, step), self.lattice(*key), self.problem
            fits = [
                LatticeFit(lattice, target, problem.importance, options, self._make_equations)
                for target in problem.unpredicted
            ]
            self._first[key] = step, fits
        return self._first[key][1][channel]

    def _signs(self, attempt: Attempt) -> bytes:
        problem = self.problem
        return encode_signs(
            attempt.spec, attempt.unsigned, problem.inside, problem.active, problem.origins, problem.background
        )

    def _residuals(self, spec: LatticeSpec, fixed: np.ndarray, economy: int) -> tuple[np.ndarray, bytes]:
        problem = self.problem
        writer, decoded = ByteWriter(), []
        for channel, of_channel in enumerate(fixed):
            unit = spec.unit[channel] / problem.scale[channel]
            targets = np.rint(problem.targets[channel] / unit).astype(np.int32)
            coded, result = encode_residuals(
                targets, of_channel, problem.packed, problem.origins, spec.residual, economy=economy, coarse=_COARSE
            )
            writer.blob(coded)
            decoded.append(result)
        return np.stack(decoded), writer.getvalue()


def _options(stride: int, step: float) -> FitOptions:
    return FitOptions(smoothness=_SMOOTHNESS * (stride / 8) ** 3, bend=_BEND_STEPS * step)
