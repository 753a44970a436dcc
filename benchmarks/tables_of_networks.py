"""The table of networks beside lattices at equal error."""

from collections.abc import Sequence

from tabling import Result, markdown

from fieldcodec.bench.demands import score_of
from fieldcodec.bench.report import bytes_at, curves

_NETWORK, _LATTICE = "fieldcodec-network", "fieldcodec-lattice"


def networks(results: Sequence[Result]) -> str:
    """A row for each file of the network method: the lattice's bytes at its error, read off the lattice's curve."""
    head = [
        "volume", "network", "PSNR", "bytes", "leaf masks", "seconds", "lattice at that error",
        "of the network's bytes", "leaf masks left out",
    ]  # fmt: skip
    rows = [row for result in results for row in _rows(result)]
    return markdown(head, rows) if rows else "Nothing is recorded yet."


def _rows(result: Result) -> list[list[str]]:
    curve = curves(result).get(_LATTICE)
    masks = [point["sections"]["leaf masks"] for point in result["points"] if point["codec"] == _LATTICE]
    rows = []
    for point in result["points"]:
        if point["codec"] != _NETWORK or curve is None:
            continue
        score = score_of(result["measure"], point["rmse_relative"], point["iou"], point["mcd"])
        lattice = bytes_at(curve, score)
        assert lattice is not None  # the lattice's curve reaches further than any network
        most = "at most " if score < curve[0][1] else ""
        own = point["sections"]["leaf masks"]
        shares = lattice / point["bytes"], (lattice - max(masks)) / (point["bytes"] - own)
        rows.append([
            result["name"], str(point["setting"]), f"{score:.1f} dB", f"{point['bytes']:,}", f"{own:,}",
            f"{point['encode_s']:,.0f}", f"{most}{lattice:,.0f}", *(f"{most}{share:.2f}" for share in shares),
        ])  # fmt: skip
    return rows
