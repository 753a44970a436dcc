"""What the system raises while a file is read, as errors that name the file."""

from collections.abc import Iterator
from contextlib import contextmanager

from fieldcodec.errors import FieldcodecError, InputError


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turns what the system raises into InputErrors that name the file."""
    try:
        yield
    except FieldcodecError:
        raise
    except FileNotFoundError as problem:
        raise InputError(f"{path}: no such file") from problem
    except OSError as problem:
        raise InputError(f"{path}: cannot be read: {problem.strerror or problem}") from problem
    except MemoryError as problem:
        raise InputError(f"{path}: there is not enough memory to hold its grids") from problem
