"""Writing a file so that it is there completely or not at all."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from fieldcodec.errors import InputError, OutputExistsError

_LONGEST_NAME = 255
_FORBIDDEN = frozenset('/\\:*?"<>|')  # in names of files, somewhere


def write_atomically(path: str | os.PathLike[str], chunks: Iterable[bytes], *, overwrite: bool = False) -> None:
    """Write bytes under a temporary name next to `path` and rename; on any error or Ctrl-C nothing is left behind.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is False.
        InputError: the folder is missing, not writable or full.
    """
    target = Path(path)
    check_output(target, overwrite=overwrite)
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        check_output(target, overwrite=overwrite)  # somebody may have made it meanwhile
        os.replace(temporary, target)
    except OSError as error:
        if isinstance(error, InputError | OutputExistsError):
            raise
        raise InputError(f"cannot write {target}: {error.strerror or error}; choose another place") from error
    finally:
        temporary.unlink(missing_ok=True)


def is_file_name(name: object) -> bool:
    """Whether a file may be written by this name on any system, so that no file ever says where its parts go."""
    if not isinstance(name, str) or name in (".", ".."):
        return False
    if not 1 <= len(name.encode("utf-8", "surrogatepass")) <= _LONGEST_NAME:
        return False
    return not any(letter in _FORBIDDEN or ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name)


def check_output(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Raise unless `path` may be written: call it before long work."""
    target = Path(path)
    if target.is_dir():
        raise InputError(f"cannot write {target}: it is a folder; give the name of a file")
    if not target.parent.is_dir():
        raise InputError(f"cannot write {target}: the folder {target.parent} does not exist; make it first")
    if target.exists() and not overwrite:
        raise OutputExistsError(f"{target} exists already; choose another name or allow overwriting (--overwrite)")
