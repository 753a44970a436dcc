"""From arguments to an options class: the flags are generated from the fields of the dataclass."""

from collections.abc import Collection, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

import tyro

from fieldcodec.errors import UsageError

Options = TypeVar("Options")


def parse_options(
    kind: type[Options], arguments: Sequence[str], *, default: Options | None = None, command: str | None = None
) -> Options:
    """Fill an options class from the command line; help and usage errors end with SystemExit 0 or 2.

    Args:
        default: values of the fields that the command line does not name.
        command: as help shows it; the name of the class unless given.
    """
    command = command or kind.__name__.lower()
    config = (tyro.conf.OmitArgPrefixes,)  # options of nested classes stand beside the others
    if default is None:
        return tyro.cli(kind, prog=f"fieldcodec {command}", args=list(arguments), config=config)
    return tyro.cli(kind, prog=f"fieldcodec {command}", args=list(arguments), default=default, config=config)


def value_of(arguments: Sequence[str], flag: str) -> str | None:
    """The value given to a flag, as `--flag value` or `--flag=value`; the last one counts."""
    found = None
    for position, argument in enumerate(arguments):
        if argument == flag and position + 1 < len(arguments):
            found = arguments[position + 1]
        elif argument.startswith(f"{flag}="):
            found = argument.partition("=")[2]
    return found


def take_values(arguments: Sequence[str], flag: str) -> tuple[list[str], list[str]]:
    """The values of a flag that may be given several times, and the arguments without it."""
    values, rest = [], []
    waiting = iter(arguments)
    for argument in waiting:
        if argument.startswith(f"{flag}="):
            values.append(argument.partition("=")[2])
        elif argument == flag:
            value = next(waiting, None)
            if value is None:
                raise UsageError(f"{flag} needs a value")
            values.append(value)
        else:
            rest.append(argument)
    return values, rest


def positionals(arguments: Sequence[str], switches: Collection[str]) -> list[str]:
    """The arguments that are neither flags nor values of flags; all flags but `switches` take one value."""
    found: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--":
            return [*found, *waiting]
        if not argument.startswith("-") or argument == "-":
            found.append(argument)
        elif "=" not in argument and argument not in switches:
            next(waiting, None)
    return found


def switches_of(kind: Any) -> set[str]:
    """The flags of an options class that take no value, those of the classes in it included."""
    found = set()
    hints = get_type_hints(kind)
    for item in fields(kind):
        hint = hints[item.name]
        if is_dataclass(hint):
            found |= switches_of(hint)
        elif hint is bool:
            name = item.name.replace("_", "-")
            found |= {f"--{name}", f"--no-{name}"}
    return found
