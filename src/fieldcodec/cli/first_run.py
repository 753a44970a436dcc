"""The first run on a machine compiles some two hundred kernels; other processes take a part of that work.

While this process compiles what it needs first, which reads files and fits lattices, others code a few made-up leaves:
so they compile the coders, which are needed later. All keep what they compile on disk, and look there first.
"""

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fieldcodec.cli.console import say
from fieldcodec.coding import coefficient_kernels
from fieldcodec.coding.coefficients import decode_coefficients, encode_coefficients
from fieldcodec.coding.masks import encode_leaf_masks
from fieldcodec.coding.node_masks import decode_node_masks, encode_node_masks
from fieldcodec.coding.palette import decode_slot_values, encode_slot_values
from fieldcodec.coding.value_masks import encode_masks_given_values
from fieldcodec.threads import available_threads

_SIDE = 2  # leaves along each axis
_GARBAGE = 100_000  # objects between two collections: the compiler makes many, hardly any of which are garbage


@contextmanager
def helped_by_others() -> Iterator[None]:
    """In a `with` block other processes compile kernels where this machine has not done so yet."""
    if not is_first_run() or available_threads() < 2:
        yield
        return
    say("fieldcodec: the first run compiles kernels for this machine; later ones begin at once")
    before = gc.get_threshold()
    gc.set_threshold(_GARBAGE, *before[1:])
    parts = [[name] for name in PARTS] if available_threads() > len(PARTS) else [list(PARTS)]
    quiet = subprocess.DEVNULL
    helpers = [
        subprocess.Popen([sys.executable, "-m", __name__, *names], stdin=quiet, stdout=quiet, stderr=quiet)
        for names in parts
    ]
    try:
        yield
    finally:
        gc.set_threshold(*before)
        for helper in helpers:
            helper.terminate()
            helper.wait()


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
    """What codes masks of leaves and nodes, and values of inactive voxels."""
    origins = 8 * np.array(list(np.ndindex(_SIDE, _SIDE, _SIDE)), np.int32)
    margins = np.random.default_rng(0).integers(-1000, 1000, (len(origins), 512)).astype(np.int16)
    active = np.packbits(margins > 0, axis=-1, bitorder="little")
    encode_masks_given_values(active, origins, margins)
    encode_leaf_masks(active, origins)
    number = np.unpackbits(active).sum()
    values = np.where(np.arange(number) % 3, np.float32(1), np.float32(-1))[:, None]
    coded = encode_slot_values(values, active, 3, origins)
    decode_slot_values(coded, active, 3, origins, values.dtype, 1)
    for log2 in (4, 5):
        child = np.zeros((1, (1 << 3 * log2) // 8), np.uint8)
        child[0, :64] = active[0]
        nodes = np.zeros((1, 3), np.int32)
        decode_node_masks(encode_node_masks(child, np.zeros_like(child), log2, nodes), log2, nodes)


PARTS: dict[str, Callable[[], None]] = {"coefficients": compile_coefficients, "masks": compile_masks}

if __name__ == "__main__":
    gc.disable()
    for name in sys.argv[1:]:
        PARTS[name]()
