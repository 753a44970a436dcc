"""Sections of an opened file by the names that reports have for them."""

from collections.abc import Iterator, Mapping
from typing import final

from fieldcodec.container.container import Container
from fieldcodec.container.format import WHOLE_FILE, SectionId


@final
class StoredSections(Mapping[str, bytes]):
    """Some sections of a file, read (and their checksums verified) when asked for; those it has not are left out."""

    def __init__(self, opened: Container, names: Mapping[str, SectionId], grid: int = WHOLE_FILE) -> None:
        """
        Args:
            names: name in reports -> section.
            grid: the number of the grid whose sections these are.
        """
        self._opened = opened
        self._keys = {name: (section, grid) for name, section in names.items() if (section, grid) in opened}

    def __getitem__(self, name: str) -> bytes:
        return self._opened.read(*self._keys[name])

    def __contains__(self, name: object) -> bool:
        return name in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
