"""Independent jobs on ordinary threads: kernels and NumPy release the interpreter lock."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock, local
from typing import Any, TypeVar, final

from threadpoolctl import ThreadpoolController

from fieldcodec.errors import UsageError

_T = TypeVar("_T")
_R = TypeVar("_R")

VARIABLE = "FIELDCODEC_THREADS"  # of the environment: threads of a process, so that several can share the processors


def available_threads() -> int:
    """How many threads this process may use at a time: what FIELDCODEC_THREADS says, or one per processor.

    Raises:
        UsageError: the variable is no whole number from 1.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return os.cpu_count() or 1
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise UsageError(f"{VARIABLE} is {text!r}; allowed are whole numbers from 1; unset it to use all processors")
    return int(text)


@final
class _Products:
    """The limit of NumPy's threads, which is one for the whole process, and how many blocks hold it."""

    def __init__(self) -> None:
        self._lock, self._blocks = Lock(), 0
        self._pools: ThreadpoolController | None = None
        self._limit: Any = None

    def enter(self) -> None:
        with self._lock:
            if not self._blocks:
                self._pools = self._pools or ThreadpoolController()
                self._limit = self._pools.limit(limits=1, user_api="blas")
            self._blocks += 1

    def leave(self) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self._limit.restore_original_limits()


_products = _Products()


@contextmanager
def one_thread_a_product() -> Iterator[None]:
    """NumPy's products stay on the thread that asks for them, for the time of a `with` block.

    Their own threads wait for work by spinning, and so take the processors from ours between any two products. Blocks
    of several threads may overlap: the last one to end gives products their threads back.
    """
    _products.enter()
    try:
        yield
    finally:
        _products.leave()


_mine = local()  # .share: how many threads may work on a job of the thread that looks


def map_threads(function: Callable[[_T], _R], jobs: Sequence[_T], threads: int | None) -> list[_R]:
    """`function` of every job, in order; `threads` None means as many as this process may use.

    The result does not depend on the number of threads: jobs share nothing that they write. A job that calls this
    again shares its threads' part of the processors, so that there are never more at work than were asked for.
    """
    wanted = available_threads() if threads is None else threads
    wanted = min(wanted, getattr(_mine, "share", wanted))
    count = min(wanted, len(jobs))
    if count <= 1:
        return [function(job) for job in jobs]
    with ThreadPoolExecutor(count, initializer=setattr, initargs=(_mine, "share", wanted // count)) as pool:
        return list(pool.map(function, jobs))
