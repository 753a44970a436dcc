"""How many threads work side by side: all processors, or what the environment allows this process."""

import os
import threading
import time

import pytest
from threadpoolctl import threadpool_info

from fieldcodec.errors import UsageError
from fieldcodec.threads import VARIABLE, available_threads, map_threads, one_thread_a_product


def _most_at_a_time(threads: int | None) -> int:
    """How many of 12 jobs are under way together at most."""
    lock, running, most = threading.Lock(), 0, 0

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return number * number

    assert map_threads(work, range(12), threads) == [number * number for number in range(12)]
    return most


def test_a_process_uses_as_many_threads_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    for text, expected in ((None, 6), ("", 6), ("1", 1), ("3", 3), ("20", 20)):
        if text is None:
            monkeypatch.delenv(VARIABLE, raising=False)
        else:
            monkeypatch.setenv(VARIABLE, text)
        assert available_threads() == expected
        assert 1 <= _most_at_a_time(None) <= expected
    monkeypatch.setenv(VARIABLE, "1")
    assert _most_at_a_time(None) == 1
    monkeypatch.setenv(VARIABLE, "3")
    assert _most_at_a_time(None) > 1
    assert _most_at_a_time(1) == 1  # who asks for a number gets it


@pytest.mark.parametrize("text", ["0", "-2", "many", "1.5", "\u0663"])
def test_a_number_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(UsageError, match=VARIABLE):
        available_threads()


def test_products_keep_to_the_thread_that_asks_for_them_and_may_spread_again_afterwards() -> None:
    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    with one_thread_a_product():
        assert threads() == [1] * len(before)
    assert threads() == before


def test_blocks_that_overlap_give_products_their_threads_back_when_the_last_one_ends() -> None:
    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before, first, second = threads(), one_thread_a_product(), one_thread_a_product()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert threads() == [1] * len(before)
    second.__exit__(None, None, None)
    assert threads() == before
