"""Checks of output paths, made before the long work starts."""

import os
from pathlib import Path

from fieldcodec.errors import InputError, OutputExistsError, UsageError


def check_output(path: Path, *, overwrite: bool, source: Path | None = None) -> None:
    """Refuse an output that could not be written at the end.

    Raises:
        OutputExistsError: it exists and `overwrite` is off.
        UsageError: it is the input itself.
        InputError: its folder is missing or cannot be written to, or it is a folder.
    """
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise UsageError(f"the output {path} is the input itself; choose another path")
    if path.is_dir():
        raise InputError(f"the output {path} is a folder; give the name of a file")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists already; use --overwrite to replace it, or choose another --output")
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"the folder {folder} of the output {path.name} does not exist; create it first")
    if not os.access(folder, os.W_OK):
        raise InputError(f"the folder {folder} of the output {path.name} cannot be written to")


def default_output(source: Path, suffix: str) -> Path:
    """The input's name with another suffix; packing suffixes such as `.gz` go as well."""
    while source.suffix.lower() in (".gz", ".xz"):
        source = source.with_suffix("")
    return source.with_suffix(suffix)
