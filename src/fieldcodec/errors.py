"""Every error a user can meet, with the exit code the command ends with.

A message says what was wrong, what was found, what is allowed and what to do next.
Each class also inherits the builtin it resembles, so that callers may catch either.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the `fieldcodec` command."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    INPUT = 3
    FORMAT = 4
    QUALITY = 5
    MISSING_PACKAGE = 6
    INTERRUPTED = 130


class FieldcodecError(Exception):
    """Base of all errors raised on purpose by fieldcodec."""

    exit_code = ExitCode.INTERNAL


class UsageError(FieldcodecError, ValueError):
    """An option, argument or setting is not allowed."""

    exit_code = ExitCode.USAGE


class UnknownGridError(UsageError, KeyError):
    """A grid was asked for by a name or index that the file does not have."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])


class UnknownFrameError(UsageError, KeyError):
    """A frame was asked for by a number that the sequence does not have."""

    def __str__(self) -> str:
        return str(self.args[0])


class UnknownItemError(UsageError, KeyError):
    """An object was asked for by a name or number that the collection does not have."""

    def __str__(self) -> str:
        return str(self.args[0])


class OutputExistsError(UsageError, FileExistsError):
    """The output exists and overwriting was not asked for."""


class InputError(FieldcodecError, OSError):
    """An input file is missing, unreadable or not what its name says; or an output cannot be written."""

    exit_code = ExitCode.INPUT


class FrameNumberError(InputError):
    """Files of a sequence have no number in their names, or two have the same."""


class UnsupportedGridError(InputError):
    """A grid is of a kind that the operation cannot process."""


class InvalidValuesError(InputError, ValueError):
    """A grid holds NaN or infinite values where only finite ones can be stored."""


class FormatError(FieldcodecError, ValueError):
    """A `.fcodec` file is foreign, damaged, cut or too new."""

    exit_code = ExitCode.FORMAT


class QualityError(FieldcodecError):
    """A quality target was missed, or a comparison failed."""

    exit_code = ExitCode.QUALITY


class MissingPackageError(FieldcodecError, ImportError):
    """An optional package is not installed; the message names the `pip install` line."""

    exit_code = ExitCode.MISSING_PACKAGE
