"""The first run on a machine compiles some two hundred kernels; other processes take a part of that work.

While this process compiles what it needs first, which reads files and fits lattices, others code a few made-up leaves:
so they compile the coders, which are needed later. All keep what they compile on disk, and look there first.
"""

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fieldcodec.cli.console import say
from fieldcodec.coding import coefficient_kernels
from fieldcodec.coding.coefficients import decode_coefficients, encode_coefficients
from fieldcodec.coding.masks import encode_leaf_masks
from fieldcodec.coding.palette import decode_slot_values, encode_slot_values
from fieldcodec.coding.value_masks import encode_masks_given_values
from fieldcodec.threads import available_threads

_GARBAGE = 100_000  # objects between two collections: the compiler makes many, hardly any of which are garbage


@contextmanager
def helped_by_others(parts: Sequence[str]) -> Iterator[None]:
    """In a `with` block other processes compile `parts`, in this order, where this machine has not done so yet."""
    if not is_first_run():
        yield
        return
    say("fieldcodec: the first run compiles kernels for this machine; later ones begin at once")
    before = gc.get_threshold()
    gc.set_threshold(_GARBAGE, *before[1:])
    helpers = min(available_threads() - 1, len(parts))
    quiet = subprocess.DEVNULL
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", __name__, *parts[number::helpers]], stdin=quiet, stdout=quiet, stderr=quiet
        )
        for number in range(helpers)
    ]
    try:
        yield
    finally:
        gc.set_threshold(*before)
        for process in processes:
            process.terminate()
            process.wait()


def is_first_run() -> bool:
    """Whether kernels that every volume needs are not on disk yet, but may be kept there."""
    folder = getattr(coefficient_kernels.code_group.stats, "cache_path", None)
    return folder is not None and not any(Path(folder).glob("coefficient_kernels.code_group-*.nbi"))


def compile_coefficients() -> None:
    """What codes the coefficients of lattices."""
    cells = np.array(list(np.ndindex(6, 6, 6)), np.int64)
    values = (cells.sum(axis=1) % 5 - 2).astype(np.int32)
    starts = np.array([0, len(cells)], np.int64)
    parents = np.abs(values).astype(np.int32)
    for known in (None, parents):
        decode_coefficients(encode_coefficients(values, cells, starts, known), cells, starts, known)


def compile_masks() -> None:
    """What codes masks of leaves whose values are known."""
    origins, margins, active = _leaves()
    encode_masks_given_values(active, origins, margins)


def compile_leaves() -> None:
    """What codes values of inactive voxels, and masks of leaves whose values are not known."""
    origins, _, active = _leaves()
    values = np.where(np.arange(np.unpackbits(active).sum()) % 3, np.float32(1), np.float32(-1))[:, None]
    decode_slot_values(encode_slot_values(values, active, 3, origins), active, 3, origins, values.dtype, 1)
    encode_leaf_masks(active, origins)


def _leaves() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Origins [8, 3], margins [8, 512] and packed masks [8, 64] of some leaves."""
    origins = 8 * np.array(list(np.ndindex(2, 2, 2)), np.int32)
    margins = np.random.default_rng(0).integers(-1000, 1000, (len(origins), 512)).astype(np.int16)
    return origins, margins, np.packbits(margins > 0, axis=-1, bitorder="little")


_COMPILE: dict[str, Callable[[], None]] = {
    "masks": compile_masks, "coefficients": compile_coefficients, "leaves": compile_leaves
}  # fmt: skip
# What a command needs after other things, in the order in which it needs them.
OF_ENCODING = ("masks", "coefficients", "leaves")
OF_DECODING = ("masks", "leaves")  # coefficients come first

if __name__ == "__main__":
    gc.disable()
    for name in sys.argv[1:]:
        _COMPILE[name]()
