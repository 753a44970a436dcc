"""Errors that say which frame they are about."""

from collections.abc import Iterator
from contextlib import contextmanager

from fieldcodec.errors import FieldcodecError


@contextmanager
def naming(label: str) -> Iterator[None]:
    """Puts a label before the message of every error that is raised on purpose inside."""
    try:
        yield
    except FieldcodecError as error:
        raise type(error)(f"{label}: {error}") from error
