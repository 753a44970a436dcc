"""Everything that is wrong with a scene, told at once."""

from fieldcodec.errors import InputError
from fieldcodec.io.posed.camera import Fault

_MOST_SHOWN = 3  # views of each kind of problem
_LONGEST = 80  # letters of a name or of what was found


class Problems:
    """Collects faults of views and raises them as one InputError: each kind with its count and a few views."""

    def __init__(self, scene: str) -> None:
        self._scene = scene
        self._faults: dict[str, list[str]] = {}

    def add(self, view: str, fault: Fault) -> None:
        """Notes a fault of a view."""
        found = f" ({_short(fault.found)})" if fault.found else ""
        self._faults.setdefault(fault.kind, []).append(_short(view) + found)

    def raise_any(self) -> None:
        """InputError where a fault was noted."""
        if not self._faults:
            return
        kinds = []
        for kind, views in self._faults.items():
            more = f" and {len(views) - _MOST_SHOWN} more" if len(views) > _MOST_SHOWN else ""
            number = "1 view" if len(views) == 1 else f"{len(views)} views, each of which"
            kinds.append(f"{number} {kind}: {', '.join(views[:_MOST_SHOWN])}{more}")
        raise InputError(f"{self._scene} cannot be used as posed images: {'; '.join(kinds)}")


def _short(text: str) -> str:
    """`text` as it can be printed, its middle left out where it is long."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}...{text[-_LONGEST // 2 :]}"
