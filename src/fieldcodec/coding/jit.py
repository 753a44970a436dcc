"""The decorators for compiled kernels of this folder.

Kernels hold the interpreter lock no longer than needed (`nogil`), so that independent
substreams are coded by ordinary threads, and they are compiled once per machine and user.
"""

from collections.abc import Callable
from typing import Any

import numba

# For small functions of a kernel's inner loop: called, each array among the arguments costs two atomic operations.
inlined = numba.njit(forceinline=True, nogil=True)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` on its first call; keep the machine code on disk where a folder can be written.

    The stored code of a kernel is not renewed when only a kernel that it calls has changed in another
    file: after editing one, delete the `*.nbi` and `*.nbc` files of this folder's `__pycache__`.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba found no writable folder for its cache
        return numba.njit(nogil=True)(function)
