"""Tasks side by side in processes of their own, ended cleanly whatever happens."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar, final

from fieldcodec import threads
from fieldcodec.errors import FieldcodecError

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_THREADS = (threads.VARIABLE, "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@final
class Workers:
    """Processes that run tasks, at most so many at a time; used in a `with` block.

    With one job all of it happens in this process. An interrupt (Ctrl-C) ends all workers at once.
    """

    def __init__(self, jobs: int) -> None:
        """`jobs` 0 stands for one for each processor."""
        self.jobs = jobs or os.cpu_count() or 1
        self._pool: ProcessPoolExecutor | None = None
        self._processes = 1
        self._others = set(multiprocessing.active_children())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        if kind is None or issubclass(kind, Exception):
            self._pool.shutdown(cancel_futures=True)
            return
        for child in set(multiprocessing.active_children()) - self._others:
            child.terminate()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def run(
        self, function: Callable[[_Task], _Result], tasks: Sequence[_Task], on_result: Callable[[_Task, _Result], None]
    ) -> None:
        """Runs `function` on every task and hands on results as they come.

        Where a task fails its error is raised and no other is begun; leaving the block waits for those under way.

        Args:
            function: picklable, as are tasks and results; workers are fresh interpreters.

        Raises:
            FieldcodecError: a worker died.
        """
        if self.jobs == 1 or len(tasks) < 2:
            for task in tasks:
                on_result(task, function(task))
            return
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._processes = min(self.jobs, len(tasks))
            self._pool = ProcessPoolExecutor(self._processes, context, _start_worker)
        try:
            with _environment_of_workers(self._processes):
                futures = {self._pool.submit(function, task): task for task in tasks}
            for future in as_completed(futures):
                on_result(futures[future], future.result())
        except BrokenProcessPool as error:
            raise FieldcodecError(
                "a worker process died: it was killed, ran out of memory (ask for fewer jobs or a smaller group "
                "size), or the script that asked for jobs has no `if __name__ == '__main__':`"
            ) from error


@contextmanager
def _environment_of_workers(processes: int) -> Iterator[None]:
    """While workers are started: processors are shared out among them, and Ctrl-C is this process's business only.

    Both are inherited, so they hold from a worker's first instruction on. What the user says of threads stands.
    """
    share = str(max(1, (os.cpu_count() or 1) // processes))
    added = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, share))
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        yield
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)
        for name in added:
            del os.environ[name]


def _start_worker() -> None:
    """Runs first in every worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next task for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
