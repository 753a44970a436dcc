"""Independent substreams on ordinary threads: kernels release the interpreter lock."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def map_threads(function: Callable[[_T], _R], jobs: Sequence[_T], threads: int | None) -> list[_R]:
    """`function` of every job, in order; `threads` None means one per processor.

    The result does not depend on the number of threads: jobs share nothing that they write.
    """
    wanted = (os.cpu_count() or 1) if threads is None else threads
    if min(wanted, len(jobs)) <= 1:
        return [function(job) for job in jobs]
    with ThreadPoolExecutor(min(wanted, len(jobs))) as pool:
        return list(pool.map(function, jobs))
