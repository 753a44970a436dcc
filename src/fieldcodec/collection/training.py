"""Fits the shared networks and the latents of a collection (refine: training with teacher forcing)."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import astuple, replace
from functools import partial
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from fieldcodec.collection.asset import AnyAsset
from fieldcodec.collection.batches import Batch, BatchOptions, make_batch
from fieldcodec.collection.losses import Losses, losses_of, radiance_at
from fieldcodec.collection.sections import Details
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.errors import UsageError
from fieldcodec.fit.muon import Muon
from fieldcodec.fit.phases import FitEvent, OnEvent, ignore_event
from fieldcodec.nets.balanced_steps import balanced_steps
from fieldcodec.nets.frozen_recursive import frozen_latents, latent_step_for, round_latents, rounded, steps_for
from fieldcodec.nets.modes import fitting_precision, one_thread
from fieldcodec.nets.recursive import RecursiveField, new_latents
from fieldcodec.nets.recursive_spec import Kind, RecursiveSpec
from fieldcodec.threads import map_threads

_BETAS = (0.9, 0.99)
_REPORT_EVERY = 5
_SMOOTHING = 0.98
_MOST_STARTS = 32  # latents that are tried for an object
_PROBED_OBJECTS, _PROBED_POINTS = 8, 2048
_DETAIL_BITS = 6  # of most numbers that are added to latents
_LOGIT_SCALE = 2e-3  # an error of one in a logit counts like one of this in a distance
_COLOUR_SCALE = 0.02  # and one of a colour or an opacity


@final
class CollectionTraining:
    """Networks and latents, and all that is needed to go on training them.

    `state()` and `load()` make a training that was stopped go on as if it had not been: with a number of steps in
    `settings` every later number is the same on the same machine.
    """

    def __init__(
        self,
        assets: Sequence[AnyAsset],
        settings: CollectionSettings,
        *,
        network: RecursiveField | None = None,
        latent_step: int | None = None,
        device: torch.device | str = "cpu",
        threads: int | None = None,
    ) -> None:
        """
        Args:
            network: networks that are not to be changed: only latents are fitted. None means new ones, fitted too.
            latent_step: what latents are to be multiples of from the start; None means one that suits them at the end.
            threads: that share the objects of a step on a CPU; None means one per processor. Changes no result.

        Raises:
            UsageError: the networks are not for the kind of an object, or have no such level of detail.
        """
        self.assets, self.settings = list(assets), settings
        self.device, self._threads = torch.device(device), threads
        self._fits_networks = network is None
        wanted = [_wanted_kind(asset, settings) for asset in assets]
        spec = settings.spec(RecursiveSpec.colour_for(wanted)) if network is None else network.spec
        self.kinds = [_kind_in(spec, asset.name, kind) for asset, kind in zip(assets, wanted, strict=True)]
        self.network = (RecursiveField(spec, settings.seed) if network is None else network).to(self.device)
        self.network.requires_grad_(self._fits_networks)
        latents = new_latents(len(assets), spec.latent, settings.seed).to(self.device)
        self.latents = torch.nn.Parameter(latents)
        self.trees = [asset.octree(spec.lods) for asset in self.assets]
        self.details = [torch.nn.Parameter(zeros) for zeros in self._no_details(spec)]
        self._options = BatchOptions(
            settings.points_per_object, colours="coloured" in spec.kinds, lods=spec.lods,
            level_dropout=settings.level_dropout,
        )  # fmt: skip
        self._optimisers = _optimisers(
            self.network if self._fits_networks else None, [self.latents, *self.details], settings
        )
        self._rates = [[group["lr"] for group in optimiser.param_groups] for optimiser in self._optimisers]
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "mixed")
        self._rng = np.random.default_rng(settings.seed)
        self._queue: list[int] = []
        self._weight_steps: list[Tensor] | None = None
        self._latent_step, self._detail_step = latent_step or 0, 0
        self.step, self.seconds, self.smooth = 0, 0.0, math.nan

    def run(self, on_event: OnEvent = ignore_event) -> Iterator[Losses]:
        """Trains to the end of the schedule, a step at each turn, so that a caller can look, save or stop."""
        # on a CPU the threads work on different objects, not on the same product
        with fitting_precision(self.device), one_thread() if self.device.type == "cpu" else nullcontext():
            if self.progress < 1:
                self._warm_up()
            while self.progress < 1:
                start = time.monotonic()
                losses = self._make_step()
                self.seconds += time.monotonic() - start
                self.step += 1
                total = self._total(losses)
                self.smooth = total if math.isnan(self.smooth) else _SMOOTHING * self.smooth + (1 - _SMOOTHING) * total
                if self.step % _REPORT_EVERY == 0 or self.progress >= 1:
                    on_event(FitEvent("training", round(1000 * min(self.progress, 1)), 1000, self.smooth))
                yield losses

    @property
    def progress(self) -> float:
        """Of the schedule, 0 to 1."""
        if self.settings.steps:
            return self.step / self.settings.steps
        return self.seconds / (60 * self.settings.minutes) if self.settings.minutes else 1.0

    @property
    def is_settling(self) -> bool:
        """Whether weights and latents are rounded as they will be stored."""
        return self.progress >= 1 - self.settings.settle

    @property
    def sees_pictures(self) -> bool:
        """Whether radiance fields are fitted to pictures, too."""
        return self.progress >= 1 - self.settings.picture_share

    @property
    def weight_steps(self) -> list[Tensor]:
        """What weights are multiples of in a file: chosen when settling begins."""
        return steps_for(self.network, self.settings.weight_bits) if self._weight_steps is None else self._weight_steps

    @property
    def latent_step(self) -> int:
        """What latents are multiples of in a file, see `nets.frozen_recursive`."""
        return self._latent_step or latent_step_for(self.latents, self.settings.latent_bits)

    @property
    def stored_details(self) -> list[Details | None]:
        """What a file holds of them, one for each object; None where there are none.

        Raises:
            UsageError: a number is not finite.
        """
        if not self.details:
            return [None] * len(self.assets)
        level, step = self.settings.detail_level, self._detail_step or self._step_of_details()
        found = [Details(level, step, frozen_latents(each, step)) for each in self.details]
        return [each if each.numbers.any() else None for each in found]

    @torch.no_grad()
    def begin_near(self, latents: Tensor) -> None:
        """Starts each object at that of some latents [n, D] which suits it best: those of others, or their mean.

        For networks that are not to be changed: from nowhere near, what is fitted may never reach a good latent.
        """
        latents = latents.to(self.device)
        starts = torch.cat([latents[:: 1 + len(latents) // _MOST_STARTS], latents.mean(dim=0, keepdim=True)])
        weights = torch.tensor(self._weights, device=self.device)
        for row, (asset, tree) in enumerate(zip(self.assets, self.trees, strict=True)):
            batch = make_batch([asset], [tree], self._options, np.random.default_rng(0), self.device)
            totals = [(losses_of(self.network, start[None], batch) * weights).sum() for start in starts]
            self.latents[row] = starts[int(torch.stack(totals).argmin())]

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs: tensors, numbers and lists of them, for torch.save."""
        return {
            "settings": self.settings.to_json(),
            "names": [asset.name for asset in self.assets],
            "network": self.network.state_dict(),
            "latents": self.latents.detach(),
            "details": [each.detach() for each in self.details],
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
            "scaler": self._scaler.state_dict(),
            "random": self._rng.bit_generator.state,
            "queue": list(self._queue),
            "weight_steps": self._weight_steps,
            "latent_step": self._latent_step,
            "detail_step": self._detail_step,
            "progress": [self.step, self.seconds, self.smooth],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Goes on where `state()` was taken, of a training of the same settings and objects."""
        self.network.load_state_dict(state["network"])
        with torch.no_grad():
            self.latents.copy_(state["latents"])
            for each, saved in zip(self.details, state["details"], strict=True):
                each.copy_(saved)
        for optimiser, saved in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self._scaler.load_state_dict(state["scaler"])
        self._rng.bit_generator.state = state["random"]
        self._queue = list(state["queue"])
        self._weight_steps, self._latent_step = state["weight_steps"], state["latent_step"]
        self._detail_step = state["detail_step"]
        self.step, self.seconds, self.smooth = state["progress"]

    def _warm_up(self) -> None:
        """Gradients for an object of each kind: what is compiled or loaded at first takes no time of the fit."""
        options = replace(self._options, rays=1 if self.settings.picture_share else 0)
        for number in {kind: number for number, kind in enumerate(self.kinds)}.values():
            batch = make_batch(
                [self.assets[number]], [self.trees[number]], options, np.random.default_rng(0), self.device
            )
            self._gradients([number], batch, 1.0)

    def _make_step(self) -> Losses:
        chosen = self._choose()
        trees = [self.trees[number].cut(self._levels()) for number in chosen]
        seeds = self._rng.integers(0, 1 << 62, len(chosen))
        self._set_rates()
        if self.is_settling:
            self._settle()
        options = replace(self._options, rays=self.settings.rays_per_object) if self.sees_pictures else self._options
        # on a CPU each object is a piece of work of its own, on a GPU they share every product
        parts = [[place] for place in range(len(chosen))] if self.device.type == "cpu" else [list(range(len(chosen)))]

        def work(part: list[int]) -> tuple[list[Tensor | None], Tensor]:
            rng = np.random.default_rng(seeds[part])
            assets, some = [self.assets[chosen[place]] for place in part], [trees[place] for place in part]
            batch = make_batch(assets, some, options, rng, self.device)
            return self._gradients([chosen[place] for place in part], batch, len(part) / len(chosen))

        with rounded(self.network, self._weight_steps) if self._weight_steps else nullcontext():
            results = map_threads(work, parts, self._threads)
        self._apply([gradients for gradients, _ in results])
        return Losses(*torch.stack([losses for _, losses in results]).sum(dim=0).tolist())

    def _settle(self) -> None:
        """Chooses what weights and latents are multiples of from now on, once."""
        if self._fits_networks and self._weight_steps is None:
            outputs = partial(self._outputs, *self._probes())
            self._weight_steps = balanced_steps(self.network, self.settings.weight_bits, outputs)
        self._latent_step = self._latent_step or latent_step_for(self.latents, self.settings.latent_bits)
        if self.details:
            self._detail_step = self._detail_step or self._step_of_details()

    def _no_details(self, spec: RecursiveSpec) -> list[Tensor]:
        """[cells, D] zeros for each object."""
        level = self.settings.detail_level
        if level > spec.lods:
            raise UsageError(f"details of level {level} were asked for; the networks have {spec.lods} levels")
        return [torch.zeros(tree.num_cells[level], spec.latent).to(self.device) for tree in self.trees] if level else []

    def _step_of_details(self) -> int:
        return latent_step_for(torch.cat(list(self.details)), _DETAIL_BITS)

    def _added(self, numbers: Sequence[int], batch: Batch) -> tuple[int, Tensor] | None:
        """What is added to the latents of some objects, in the cells that a batch of these makes."""
        level = self.settings.detail_level
        if not self.details or level > len(batch.cells):
            return None
        more = torch.cat([self.details[number] for number in numbers]).index_select(0, batch.cells[level - 1])
        return level, round_latents(more, self._detail_step) if self._detail_step else more

    def _probes(self) -> tuple[list[int], Batch]:
        """Some objects, and samples of them by which the harm of rounding is judged."""
        rng = np.random.default_rng(self.settings.seed)
        numbers = rng.permutation(len(self.assets))[:_PROBED_OBJECTS].tolist()
        assets, trees = [self.assets[number] for number in numbers], [self.trees[number] for number in numbers]
        options = replace(self._options, points=_PROBED_POINTS, occupancy=_PROBED_POINTS, level_dropout=0.0)
        return numbers, make_batch(assets, trees, options, rng, self.device)

    def _outputs(self, numbers: list[int], batch: Batch) -> Tensor:
        """What the network says of the probes, all in the scale of distances."""
        network = self.network
        unfolded = network(self.latents[numbers], batch.kept, batch.asked, self._added(numbers, batch))
        said = [_LOGIT_SCALE * (logits[:, 1] - logits[:, 0]) for logits in unfolded.occupancy]
        if batch.distances is not None:
            said.append(network.distance(network.fused(unfolded.latents, batch.distances.stencil)))
        if batch.colours is not None:
            said.append(
                _COLOUR_SCALE * network.colour(network.fused(unfolded.latents, batch.colours.stencil)).flatten()
            )
        if batch.opacities is not None:
            opacity = network.opacity(network.fused(unfolded.latents, batch.opacities.stencil))
            said.append(_COLOUR_SCALE * opacity.clamp(0, 1))
        if batch.radiance is not None:
            said.append(_COLOUR_SCALE * radiance_at(network, unfolded, batch.radiance)[0].flatten())
        return torch.cat(said)

    def _gradients(self, numbers: list[int], batch: Batch, share: float) -> tuple[list[Tensor | None], Tensor]:
        """Of everything that is fitted, and the parts of the loss [6], in the share of these objects in the step."""
        latents = self.latents[numbers]
        if self._latent_step:
            latents = round_latents(latents, self._latent_step)
        with torch.autocast(self.device.type, torch.float16, enabled=self.settings.precision == "mixed"):
            losses = losses_of(self.network, latents, batch, self._added(numbers, batch))
        total = (losses * losses.new_tensor(self._weights)).sum() * share
        gradients = torch.autograd.grad(self._scaler.scale(total), self._fitted, allow_unused=True)
        return list(gradients), losses.detach().float().cpu() * share

    def _apply(self, gradients: list[list[Tensor | None]]) -> None:
        for parameter, parts in zip(self._fitted, zip(*gradients, strict=True), strict=True):
            some = [part for part in parts if part is not None]
            parameter.grad = torch.stack(some).sum(dim=0) if some else None
        for optimiser in self._optimisers:
            self._scaler.unscale_(optimiser)
        if self.settings.clip and self._fits_networks:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        for optimiser in self._optimisers:
            self._scaler.step(optimiser)
        self._scaler.update()

    @property
    def _fitted(self) -> list[Tensor]:
        return [*(self.network.parameters() if self._fits_networks else []), self.latents, *self.details]

    @property
    def _weights(self) -> tuple[float, ...]:
        """As `Losses`."""
        s = self.settings
        return (
            s.occupancy_weight, s.geometry_weight, s.colour_weight,
            s.density_weight, s.radiance_weight, s.picture_weight,
        )  # fmt: skip

    def _total(self, losses: Losses) -> float:
        return sum(weight * part for weight, part in zip(self._weights, astuple(losses), strict=True))

    def _choose(self) -> list[int]:
        """The objects of a step: all take their turns, in random order."""
        wanted = min(self.settings.objects_per_step, len(self.assets))
        while len(self._queue) < wanted:
            self._queue += self._rng.permutation(len(self.assets)).tolist()
        chosen, self._queue = self._queue[:wanted], self._queue[wanted:]
        return chosen

    def _levels(self) -> int:
        """Levels that are trained: all, or one more after every equal part of the first half of the schedule."""
        lods = self.network.spec.lods
        if self.settings.unfolding == "teacher":
            return lods
        first = min(2, lods)
        return min(lods, first + int(2 * self.progress * (lods - first + 1)))

    def _set_rates(self) -> None:
        progress, warm_up = min(self.progress, 1.0), self.settings.warm_up
        factor = min(1.0, (progress + 1e-3) / warm_up) if warm_up else 1.0
        if self.settings.schedule == "cosine":
            factor *= 0.5 * (1 + math.cos(math.pi * progress))
        for optimiser, rates in zip(self._optimisers, self._rates, strict=True):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor


def _wanted_kind(asset: AnyAsset, settings: CollectionSettings) -> Kind:
    return "distance" if settings.colour == "none" and asset.kind == "coloured" else asset.kind


def _kind_in(spec: RecursiveSpec, name: str, kind: Kind) -> Kind:
    """What an object becomes in a file of some networks: colours that these do not have are left out."""
    if kind == "coloured" and kind not in spec.kinds:
        kind = "distance"
    if kind not in spec.kinds:
        raise UsageError(
            f"object {name!r} is of kind {kind!r}, but the collection's networks are for {', '.join(spec.kinds)}"
        )
    return kind


def _optimisers(
    network: RecursiveField | None, latents: list[Tensor], settings: CollectionSettings
) -> list[torch.optim.Optimizer]:
    parameters = list(network.parameters()) if network is not None else []
    groups = [{"params": parameters, "lr": settings.learning_rate}] if parameters else []
    if settings.optimiser == "adamw":
        groups.append({"params": latents, "lr": settings.latent_rate})
        return [torch.optim.AdamW(groups, betas=_BETAS, weight_decay=settings.weight_decay)]
    found: list[torch.optim.Optimizer] = []
    if settings.optimiser == "muon" and parameters:
        found.append(Muon([each for each in parameters if each.dim() > 1], settings.matrix_rate))
        groups[0]["params"] = [each for each in parameters if each.dim() == 1]
    groups.append({"params": latents, "lr": settings.latent_rate})
    return [*found, torch.optim.Adam(groups, betas=_BETAS)]
