"""The decorators for functions that numba compiles.

Kernels hold the interpreter lock no longer than needed (`nogil`), so that parts of an array or independent substreams
are worked on by ordinary threads, and they are compiled once per machine and user. Numba's own loops over threads
(`parallel=True`) take twice as long to compile and run no faster.

The first run on a machine waits for the compiler. What keeps that short: numbers that are written into a call of
another kernel are `np.int64`, since numba compiles a kernel anew for every literal; rows are copied number by number,
since an assignment of slices brings two seconds' worth of an error message about shapes with it.
"""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any, final

import numba

from fieldcodec.threads import available_threads, map_threads

_PARTS_OF_A_THREAD = 4  # so that rows of unequal work are shared fairly

# Called from compiled code and, as ever, from Python, but never by its address: that entry would be compiled, too.
_njit: Any = partial(numba.njit, nogil=True, no_cfunc_wrapper=True)


def inlined(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """For functions of a kernel's inner loop: called, each array among the arguments costs two atomic operations.

    All threads wait for these, since the count that they change is one for all.
    """
    decorate = _njit(forceinline=True, **options)
    return decorate if function is None else decorate(function)


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile `function` on its first call, with further `options` of numba; keep the machine code on disk if possible.

    The stored code of a kernel is not renewed when only a kernel that it calls has changed in another
    file: after editing one, delete the `*.nbi` and `*.nbc` files of its folder's `__pycache__`.
    """
    if function is None:
        return lambda function: kernel(function, **options)
    try:
        return _njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no writable folder for its cache
        return _njit(**options)(function)


@final
class RowKernel:
    """A kernel `function(first, last, ...)` for the rows first to last - 1 of arrays, shared among threads.

    Rows must not write what others read or write: then the result does not depend on the number of threads.
    """

    def __init__(self, function: Callable[..., Any], least: int) -> None:
        self._compiled, self._least = kernel(function), least
        update_wrapper(self, function)

    def __call__(self, rows: int, *arguments: Any, threads: int | None = None) -> None:
        """For the rows 0 to `rows` - 1; `threads` None means as many as this process may use."""
        wanted = available_threads() if threads is None else threads
        parts = self._num_parts(rows, wanted)
        if parts <= 1:
            self._compiled(0, rows, *arguments)
            return
        ends = [rows * part // parts for part in range(parts + 1)]
        map_threads(lambda part: self._compiled(ends[part], ends[part + 1], *arguments), range(parts), wanted)

    def _num_parts(self, rows: int, threads: int) -> int:
        return min(_PARTS_OF_A_THREAD * threads, rows // self._least) if threads > 1 else 1


def row_kernel(least: int) -> Callable[[Callable[..., Any]], RowKernel]:
    """Make a `RowKernel`; `least` rows, about a millisecond of work, are worth a turn on a thread."""
    return lambda function: RowKernel(function, least)
