"""How PyTorch computes, for the time of a `with` block."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch's own threads keep out of products too small to share, and out of the way of ours.

    Such products take longer on several threads, and many times longer on a busy machine.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fitting_precision(device: torch.device) -> AbstractContextManager[None]:
    """TF32 products on CUDA while fitting: gradients do not need more; evaluation keeps full float32."""
    return product_precision("high") if device.type == "cuda" else nullcontext()


@contextmanager
def product_precision(precision: str) -> Iterator[None]:
    """Of products of float32 matrices: "highest", "high" or "medium"."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
