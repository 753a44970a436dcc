"""Muon: gradient descent on matrices with orthogonal steps (Jordan et al., 2024)."""

from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from torch import Tensor

_MOMENTUM = 0.95
_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of a quintic that pulls singular values into about 0.7 .. 1.2


@final
class Muon(torch.optim.Optimizer):
    """Steps of matrices all of whose singular values are about one, times the rate, whatever the gradient's are.

    Directions that hardly show in the gradient are followed as fast as those that dominate it. For vectors use Adam.
    """

    def __init__(self, parameters: Iterable[Tensor], rate: float) -> None:
        super().__init__(list(parameters), {"lr": rate})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._move(matrix, matrix.grad, group["lr"])

    def _move(self, matrix: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[matrix]
        momentum = state.setdefault("momentum", torch.zeros_like(matrix))
        momentum.lerp_(gradient, 1 - _MOMENTUM)
        ahead = torch.lerp(gradient, momentum, _MOMENTUM)  # Nesterov's
        tall = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        matrix.add_(orthogonalised(ahead), alpha=-rate * tall)


def orthogonalised(matrix: Tensor) -> Tensor:
    """A matrix of the same singular vectors with singular values of about one, by Newton and Schulz's iteration."""
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = x / (x.norm() + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T
