"""One step of training: zero the gradients, forward, loss, backward, Adam.

A small network keeps a GPU waiting for its kernels to be launched, so there a step is recorded once as a CUDA
graph and replayed with other samples:

    batch in host memory --copy--> static buffers --+
    learning rate --------fill--> tensor -----------+--> replay --> parameters, Adam's moments, smoothed loss

Nothing of that makes the host wait; the smoothed loss stays on the device until it is asked for.
"""

import math
import warnings
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from fieldcodec.fit.losses import Loss
from fieldcodec.nets.experts import ExpertNetwork

_SMOOTHING = 0.97
_CPU_PART = 8192  # samples; measured 1.3 to 1.5 times faster than a whole batch of 65,536 on two cores
_REHEARSALS = 3  # steps before the recording, in which libraries and Adam set themselves up


@runtime_checkable
class Step(Protocol):
    """Makes the training steps of one phase."""

    def make(self, local: Tensor, target: Tensor, learning_rate: float) -> None:
        """One step on a batch [K, n, 3], [K, n, C] in host memory; on a GPU it may still be running afterwards."""

    def loss(self) -> float:
        """The exponential mean of the loss of all steps so far, without the bias of its start; waits for them."""


class EagerStep:
    """Steps issued operation by operation."""

    def __init__(self, network: ExpertNetwork, loss: Loss) -> None:
        self._device = network.weights[0].device
        self._work = _Work(network, loss, torch.optim.Adam(network.parameters(), fused=True))
        self._made = 0

    def make(self, local: Tensor, target: Tensor, learning_rate: float) -> None:
        for group in self._work.optimizer.param_groups:
            group["lr"] = learning_rate
        self._work(local.to(self._device), target.to(self._device))
        self._made += 1

    def loss(self) -> float:
        return self._work.smoothed(self._made)


@runtime_checkable
class Recorder(Protocol):
    """Keeps work that was enqueued on a device, to enqueue it again at once."""

    def rehearse(self, work: Callable[[], None]) -> None:
        """Does the work, where it will be recorded."""

    def record(self, work: Callable[[], None]) -> None:
        """Keeps the work without doing it; RuntimeError where something in it cannot be kept."""

    def replay(self) -> None:
        """Does the work that was kept."""


class CudaRecorder:
    """A CUDA graph, with a side stream for rehearsals and recording.

    So PyTorch's notes on CUDA semantics ask for under "Whole-network capture". One stream serves both, for some
    libraries set themselves up once a stream.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._graph = torch.cuda.CUDAGraph()

    def rehearse(self, work: Callable[[], None]) -> None:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            work()
        current.wait_stream(self._stream)

    def record(self, work: Callable[[], None]) -> None:
        # thread_local: threads that draw samples may allocate page-locked memory meanwhile.
        # The outer context puts the stream back where a failed recording does not.
        recording = torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local")
        with torch.cuda.stream(self._stream), recording:
            work()

    def replay(self) -> None:
        self._graph.replay()


class GraphedStep:
    """Steps recorded once and replayed; where recording fails they are issued operation by operation.

    The first steps are rehearsals and, like all others, real steps on samples of their own. All batches must
    have the same shape.
    """

    def __init__(self, network: ExpertNetwork, loss: Loss, recorder: Recorder | None = None) -> None:
        self._device = network.weights[0].device
        rate = torch.zeros((), device=self._device)
        adam = torch.optim.Adam(network.parameters(), lr=rate, fused=True, capturable=True)
        self._work = _Work(network, loss, adam)
        self._recorder: Recorder = recorder or CudaRecorder(self._device)
        self._inputs: tuple[Tensor, ...] = ()  # what the recorded step reads; made by the first batch
        self._made = 0
        self._enqueue = self._rehearse

    def make(self, local: Tensor, target: Tensor, learning_rate: float) -> None:
        if not self._inputs:
            self._inputs = tuple(torch.empty_like(given, device=self._device) for given in (local, target))
        for static, given in zip(self._inputs, (local, target), strict=True):
            static.copy_(given, non_blocking=True)
        for group in self._work.optimizer.param_groups:
            group["lr"].fill_(learning_rate)
        if self._made == _REHEARSALS:
            self._record()
        self._enqueue()
        self._made += 1

    def loss(self) -> float:
        return self._work.smoothed(self._made)

    def _step(self) -> None:
        self._work(*self._inputs)

    def _rehearse(self) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
            self._recorder.rehearse(self._step)

    def _record(self) -> None:
        # gradients that the recorded backward pass allocates itself are written, not added to, at every replay
        self._work.optimizer.zero_grad(set_to_none=True)
        try:
            self._recorder.record(self._step)
        except RuntimeError as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            warnings.warn(f"training on the GPU is slower than it could be: no CUDA graph ({reason})", stacklevel=2)
            self._enqueue = self._step
        else:
            self._enqueue = self._recorder.replay


class _Work:
    """What a step enqueues, given samples on the device."""

    def __init__(self, network: ExpertNetwork, loss: Loss, optimizer: torch.optim.Optimizer) -> None:
        self._network, self._loss, self.optimizer = network, loss, optimizer
        device = network.weights[0].device
        precision = torch.float64 if device.type in ("cpu", "cuda") else torch.float32
        self._smooth = torch.zeros((), dtype=precision, device=device)

    def __call__(self, local: Tensor, target: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        value = self._accumulate(local, target)
        self.optimizer.step()
        self._smooth.mul_(_SMOOTHING).add_(value / self._network.spec.experts, alpha=1 - _SMOOTHING)

    def smoothed(self, made: int) -> float:
        """The smoothed loss of one expert after `made` calls."""
        return self._smooth.item() / (1 - _SMOOTHING**made) if made else math.inf

    def _accumulate(self, local: Tensor, target: Tensor) -> Tensor:
        """Gradients of the loss of one batch [K, n, ...], on a CPU in parts whose activations stay in the cache."""
        count = local.shape[1]
        part = max(1, _CPU_PART // local.shape[0]) if local.device.type == "cpu" else count
        total = torch.zeros((), device=local.device)
        for start in range(0, count, part):
            stop = min(start + part, count)
            predicted = self._network(local[:, start:stop])
            # the sum, not the mean: experts share no parameters, and so none shall share its step with others
            value = self._loss(predicted, target[:, start:stop]).sum() * ((stop - start) / count)
            value.backward()
            total += value.detach()
        return total.to(self._smooth.dtype)
