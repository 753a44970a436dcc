"""The table of objects added to a finished collection."""

import json
from pathlib import Path
from statistics import mean

from tabling import machines, markdown


def added(path: Path) -> str:
    """A row for each object, a column for each level of details: gIoU, CD over its floor, bytes; means below."""
    if not path.is_file():
        return "Nothing is recorded yet; `python benchmarks/added_objects.py --data FOLDER` makes it."
    result = json.loads(path.read_text(encoding="utf-8"))
    found = {(item["level"], item["name"]): item for item in result["added"]}
    levels, names = sorted({level for level, _ in found}), list(dict.fromkeys(item["name"] for item in result["added"]))
    head = ["object", *(f"level {level}: gIoU, CD / floor, bytes" for level in levels)]
    rows = [[name, *(_cell([found[level, name]]) for level in levels)] for name in names]
    rows.append(["mean", *(_cell([found[level, name] for name in names]) for level in levels)])
    known = result["trained_on"]
    note = (
        f"The objects that the networks were trained on have a mean gIoU of {known['iou']:.1f}, in "
        f"{result['bytes_before']:,} bytes; {result['steps']} steps for those that are added."
    )
    return "\n\n".join([markdown(head, rows), note, "\n".join(machines([result]))])


def _cell(items: list[dict[str, float]]) -> str:
    iou, size = (mean(item[key] for item in items) for key in ("iou", "bytes"))
    ratio = mean(item["chamfer"] / item["chamfer_floor"] for item in items)
    return f"{iou:.1f}, {ratio:.1f}, {size:,.0f}"
