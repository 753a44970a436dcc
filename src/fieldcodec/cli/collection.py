"""`fieldcodec collection`: what is done to a finished collection of objects, and what its latents say."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fieldcodec.cli.collections.edit import Add, Remove, add_objects, remove_objects
from fieldcodec.cli.collections.space import Blend, Map, Neighbours, blend_objects, draw_map, list_neighbours
from fieldcodec.cli.options import parse_options
from fieldcodec.errors import ExitCode, UsageError


@dataclass(frozen=True)
class Action:
    """One of the things that `fieldcodec collection` does."""

    text: str
    kind: type[Any]
    run: Callable[[Any], ExitCode]


ACTIONS = {
    "add": Action("add objects: only their latents are fitted", Add, add_objects),
    "remove": Action("remove objects", Remove, remove_objects),
    "map": Action("a picture on which objects with like latents are neighbours", Map, draw_map),
    "neighbours": Action("the objects that are most like one of them", Neighbours, list_neighbours),
    "blend": Action("one object turned into another, frame by frame", Blend, blend_objects),
}

USAGE = "\n".join(
    [
        "usage: fieldcodec collection ACTION FILE [options]",
        "",
        "Works on a .fcodec file of objects, as `fieldcodec encode FOLDER_OF_MESHES` makes it.",
        "",
        "actions:",
        *(f"  {name:<12}{action.text}" for name, action in ACTIONS.items()),
        "",
        "`fieldcodec collection ACTION --help` prints the options of an action.",
        "The commands info, decode, render, sample and compare take such files too.",
        "",
    ]
)


def parse(arguments: Sequence[str]) -> tuple[Action, Any]:
    """The action and its options; without an action the usage is printed and the program ends."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE)
        raise SystemExit(int(ExitCode.OK if arguments else ExitCode.USAGE))
    name = arguments[0]
    if name not in ACTIONS:
        raise UsageError(f"unknown action {name!r} of `fieldcodec collection`; known are {', '.join(ACTIONS)}")
    action = ACTIONS[name]
    return action, parse_options(action.kind, arguments[1:], command=f"collection {name}")


def run(chosen: tuple[Action, Any]) -> ExitCode:
    action, options = chosen
    return action.run(options)
