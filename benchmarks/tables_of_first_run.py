"""The table of what the first run on a machine costs."""

import json
from pathlib import Path

from tabling import machines, markdown

_NAMES = {"before": "one process, kernels with threads of numba's own", "first-run": "now"}


def first_run(folder: Path) -> str:
    """Of `first_run.py`: seconds of encoding and decoding with no kernels on disk, and with them."""
    found = {name: folder / f"{name}.json" for name in _NAMES}
    results = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.is_file()}
    if not results:
        return "Nothing is recorded yet; `python benchmarks/first_run.py` makes it."
    rows = []
    for name, result in results.items():
        for command in ("encode", "decode"):
            cold, warm = (result["medians"][f"{command}-{state}"] for state in ("cold", "warm"))
            rows.append([
                _NAMES[name], command, f"{cold['seconds']:.1f} s", f"{warm['seconds']:.1f} s",
                f"{cold['seconds'] - warm['seconds']:.1f} s", f"{cold['processor_seconds']:.1f} s",
            ])  # fmt: skip
    heads = ["", "command", "first run", "later runs", "more", "processor seconds of the first run"]
    # `machines` names results by their name
    named = [result | {"name": _NAMES[name]} for name, result in results.items()]
    return "\n\n".join([markdown(heads, rows), "\n".join(machines(named))])
