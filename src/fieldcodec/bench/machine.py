"""What numbers were measured on: machine, versions, commit."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import fieldcodec
from fieldcodec.threads import available_threads

_PACKAGES = ("numpy", "numba", "blosc", "zfpy", "pysz", "DracoPy")


def machine(device: str) -> dict[str, Any]:
    """The machine and the versions of all that was at work; `device` is `cpu` or `cuda`."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "threads_kernels": available_threads(),
        "memory_bytes": _memory_bytes(),
        "device": device,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: _version(name) for name in _PACKAGES},
        "fieldcodec": fieldcodec.__version__,
    }


def _memory_bytes() -> int | None:
    """Of the machine; None where the system does not tell, as on Windows."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _version(package: str) -> str | None:
    """None for a package that is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_model() -> str:
    """The processor's name for people."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str | None:
    """The commit of fieldcodec's sources, with `-dirty` where they were changed; None outside a clone of it."""
    source = Path(fieldcodec.__file__)
    try:
        _git(source.parent, "ls-files", "--error-unmatch", source.name)  # not a clone of something around it
        head = _git(source.parent, "rev-parse", "HEAD")
        changed = _git(source.parent, "status", "--porcelain", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("-dirty" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
