"""Kernels over rows: every row once, whatever the number of threads."""

import threading

import numpy as np
import pytest

from fieldcodec.jit import row_kernel
from fieldcodec.threads import VARIABLE, map_threads


@row_kernel(10)
def count_rows(first, last, seen, starts):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    starts[first] = 1
    for row in range(first, last):
        seen[row] += 1


@pytest.mark.parametrize("threads", ["1", "3", "8"])
@pytest.mark.parametrize("rows", [0, 1, 9, 19, 20, 1001])
def test_every_row_is_seen_once(threads: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, threads)
    seen, starts = np.zeros(rows, np.int64), np.zeros(rows + 1, np.int64)
    count_rows(rows, seen, starts)
    assert (seen == 1).all()
    most = 1 if threads == "1" else 4 * int(threads)
    assert starts.sum() == min(most, max(rows // 10, 1))
    count_rows(rows, seen, starts, threads=1)
    assert (seen == 2).all()


def test_threads_within_threads_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "8")
    lock, running, most = threading.Lock(), 0, 0
    together = threading.Barrier(4, timeout=20)

    def inner(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait()  # four of them are under way at a time
        with lock:
            running -= 1

    map_threads(lambda _: map_threads(inner, range(4), None), range(2), 4)
    assert most == 4
