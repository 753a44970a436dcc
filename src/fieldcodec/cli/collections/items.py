"""Objects of a collection by name, for commands."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from fieldcodec.cli.console import say
from fieldcodec.collection.compressed import CompressedCollection
from fieldcodec.collection.item import ItemField
from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.errors import UnknownGridError, UsageError
from fieldcodec.nets.device import choose_device

_MOST_NAMED = 12


def find_item(names: Sequence[str], wanted: str, path: Path) -> int:
    """Position of an object, by its name or as `#position` from 0.

    Raises:
        UnknownGridError: there is none; the message names those that are written alike.
    """
    if wanted in names:
        return list(names).index(wanted)
    if wanted[:1] == "#" and wanted[1:].isdecimal() and int(wanted[1:]) < len(names):
        return int(wanted[1:])
    near = get_close_matches(wanted, names, 3, 0.5)
    if near:
        hint = f"did you mean {' or '.join(map(repr, near))}?"
    else:
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        hint = f"it has {', '.join(map(repr, names[:_MOST_NAMED])) or 'none'}{more}"
    raise UnknownGridError(f"{path} has no object called {wanted!r}; {hint}")


def open_item(
    collection: CompressedCollection, wanted: str, path: Path, *, lod: int | None = None, device: str = "auto"
) -> ItemField | RadianceItem:
    """An object as a field, of its coarser levels alone where a level of detail is given.

    Raises:
        UnknownGridError: there is no such object.
        UsageError: the level of detail is not one of the collection's.
    """
    position = find_item(collection.names, wanted, path)
    chosen = choose_device(device)
    if lod is not None and not 1 <= lod <= collection.spec.lods:
        raise UsageError(f"--lod is {lod}; {path} has the levels of detail 1 to {collection.spec.lods}")
    return collection.field(position, chosen, lod=lod)


def open_surface(
    collection: CompressedCollection, wanted: str, path: Path, *, lod: int | None = None, device: str = "auto"
) -> ItemField:
    """As `open_item`, of an object that has a surface.

    Raises:
        UsageError: it is a radiance field, too.
    """
    found = open_item(collection, wanted, path, lod=lod, device=device)
    if isinstance(found, RadianceItem):
        raise UsageError(f"the object {found.name!r} of {path} is a radiance field, which has no surface")
    return found


def warn_of_coarse_levels(collection: CompressedCollection, lod: int | None) -> None:
    """A line where a coarse level was asked for that training did not prepare."""
    dropout = collection.listing.settings.get("level_dropout", CollectionSettings().level_dropout)
    if lod is not None and lod < collection.spec.lods and not dropout:
        say(
            "fieldcodec: warning: this collection was trained for its finest level of detail alone "
            "(--level-dropout 0), so that coarser ones are poor"
        )
