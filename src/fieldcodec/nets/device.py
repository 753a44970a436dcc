"""Where lattices and networks are fitted, and networks evaluated."""

import torch

from fieldcodec.errors import UsageError

CPU = torch.device("cpu")


def choose_device(name: str | None) -> torch.device:
    """The device of a name ("cpu", "cuda", "cuda:1", "mps"); None or "auto": CUDA where there is one, else the CPU.

    Raises:
        UsageError: the device is not known or not there.
    """
    if name in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(str(name))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        message = f"device {name!r} cannot be used: {reason}. Use auto, cpu, or cuda with an NVIDIA GPU"
        raise UsageError(message) from error
    return device
