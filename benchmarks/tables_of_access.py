"""The tables of random access."""

import json
from pathlib import Path

from tabling import Result, machines, markdown, number, whole

ORDER = ("smoke", "sphere", "cloud", "bunny", "sphere-network")


def access(folder: Path) -> str:
    """The tables of random access: times beside NanoVDB's, and errors at equal numbers stored."""
    results = [
        json.loads(path.read_text(encoding="utf-8")) for name in ORDER if (path := folder / f"{name}.json").is_file()
    ]
    equal = folder / "equal-memory.json"
    if not results or not equal.is_file():
        return "Nothing is recorded yet; `python benchmarks/random_access.py` and `equal_memory.py` make it."
    heads = (
        ["volume", "threads", "NanoVDB nearest / trilinear / tricubic", "ours, decoded", "ours, from the file, warm",
         "warm, of NanoVDB's time", "trilinear, world space, warm", "trilinear, cold", "continuous field",
         "bare network", "opening"],
        ["stored", "numbers", "voxels", "ours", "nearest", "trilinear", "tricubic"],
    )  # fmt: skip
    entries = json.loads(equal.read_text(encoding="utf-8"))["entries"]
    errors = [
        [entry["stored"], f"{entry['numbers']:,}", f"{entry['voxels_per_side']}³"]
        + [f"{entry['rmse'][name]:.4f}" for name in ("ours", "nearest", "trilinear", "tricubic")]
        for entry in entries
    ]
    times = [row for result in results for row in _rows(result)]
    between = "Root mean square error of what stores equally many numbers:"
    return "\n\n".join([markdown(heads[0], times), "\n".join(machines(results)), between, markdown(heads[1], errors)])


def _rows(result: Result) -> list[list[str]]:
    """Milliseconds, of each number of threads."""
    kinds = ("nearest", "trilinear", "tricubic")
    rows = []
    for threads, taken in result["milliseconds"].items():
        three = {who: [taken.get(f"{who}-{kind}") for kind in kinds] for who in ("nanovdb", "decoded", "warm")}
        ratios = [a / b if b else None for a, b in zip(three["warm"], three["nanovdb"], strict=True)]
        single = [taken.get(name) for name in ("warm-trilinear-world", "cold-trilinear", "field", "network", "open")]
        rows.append([
            result["name"], threads, *[" / ".join(map(whole, three[who])) for who in three],
            " / ".join(map(number, ratios)), *map(whole, single),
        ])  # fmt: skip
    return rows
