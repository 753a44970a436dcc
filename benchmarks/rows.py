"""Which rows of a benchmark are asked for."""

import argparse
from collections.abc import Collection

from fieldcodec.cli.inputs import split_names


def chosen_rows(
    parser: argparse.ArgumentParser, only: str | None, known: Collection[str], default: Collection[str] | None = None
) -> list[str]:
    """The names of `--only`, with commas between; without any the default ones, or all.

    Leaves the program with a message where a name is not known.
    """
    chosen = list(split_names(only)) or list(known if default is None else default)
    if unknown := [name for name in chosen if name not in known]:
        parser.error(f"--only: {', '.join(unknown)} is not known; known are {', '.join(known)}")
    return chosen
