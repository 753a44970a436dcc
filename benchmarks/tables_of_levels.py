"""The tables of coarse levels, with and without one stored."""

import json
from pathlib import Path
from typing import Any

from tabling import Result, machines, markdown, percent, size

ORDER = ("smoke", "cloud", "iguana", "bunny")
_LEVELS = ("0", "1", "2", "3")


def levels(folder: Path) -> str:
    """The tables of `levels.py`: time and memory of full resolution and of levels; bytes and errors of stored ones."""
    results = [
        json.loads(path.read_text(encoding="utf-8")) for name in ORDER if (path := folder / f"{name}.json").is_file()
    ]
    if not results:
        return "Nothing is recorded yet; `python benchmarks/levels.py --data FOLDER` makes it."
    heads = (
        ["volume", "stored", "bytes", "full decode", "level 1", "level 2", "level 3", "memory: full", "level 1",
         "level 2", "level 3"],
        ["volume", "level", "bytes", "of the file", "stored to original", "to decoded", "decoded to original"],
    )  # fmt: skip
    costs = [_cost(result, file) for result in results for file in result["files"] if file["decodes"]]
    errors = [_error(result, file) for result in results for file in result["files"] if file["errors"]]
    left_out = sorted({result["name"] for result in results for file in result["files"] if file["no_level"]})
    parts = [markdown(heads[0], costs)]
    if left_out:
        parts.append(f"Nothing is stored of {', '.join(left_out)}: its levels cost little without.")
    if errors:
        parts += ["Errors of stored levels, as parts of the range of values:", markdown(heads[1], errors)]
    return "\n\n".join([*parts, "\n".join(machines(results))])


def _cost(result: Result, file: dict[str, Any]) -> list[str]:
    """Levels that the stored one gives are in bold."""
    decodes = file["decodes"]
    seconds = [f"{decodes[level]['processor_seconds']:.3f} s" for level in _LEVELS]
    memory = [size(decodes[level]["peak_bytes"] - decodes[level]["resident_bytes_before"]) for level in _LEVELS]
    stored = file["stored_level"]
    for cells in (seconds, memory):
        for level in range(1, len(cells)):
            if 0 < stored <= level:
                cells[level] = f"**{cells[level]}**"
    return [result["name"], str(stored or "-"), size(file["bytes"]), *seconds, *memory]


def _error(result: Result, file: dict[str, Any]) -> list[str]:
    errors = file["errors"]
    share = file["level_bytes"] / file["bytes"]
    said = [percent(errors[key]) for key in ("stored_to_original", "stored_to_decoded", "decoded_to_original")]
    return [result["name"], str(file["stored_level"]), size(file["level_bytes"]), percent(share), *said]
