"""The tables of the documentation are those that benchmarks/table.py makes of the recorded results."""

import json
from pathlib import Path
from types import ModuleType

import pytest

from fieldcodec.testing.modules import load_module

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def table() -> ModuleType:
    return load_module(ROOT / "benchmarks" / "table.py")


def test_tables_are_up_to_date(table: ModuleType) -> None:
    for path, text in table.pages().items():
        assert path.read_text(encoding="utf-8") == text, "run: python benchmarks/table.py"


def test_recorded_results_have_exact_topology(table: ModuleType) -> None:
    for result in table.load():
        for grid in result["report"]["grids"]:
            assert grid["topology_differs"] == 0, result["name"]


def _result(name: str, device: str, iou: float | None) -> dict[str, object]:
    grid = {
        "active_voxels": 1000, "effective_resolution": [10, 20, 30], "bytes_raw": 8000, "bytes_vdb16_blosc": 2000,
        "bytes": 90, "iou": iou, "mcd": 0.05, "rmse_relative": 0.02, "max_error_relative": 0.5, "psnr": 34.0,
        "topology_differs": 0, "parameters": 77, "corrections": 5, "method": "[Hash,5,4,NN(3)]",
        "bits_per_active_voxel": 0.72, "sections": {"root": 90},
    }  # fmt: skip
    machine = {"cpu": "C", "threads": 2, "memory_bytes": 2**34, "python": "3.11", "torch": "2"}
    return {
        "name": name, "preset": "balanced", "date": "2026-01-01", "commit": "0123456789abcdef",
        "report": {"bytes": 100, "grids": [grid]}, "seconds": {"read": 1.0, "encode": 2.0, "decode": 0.5},
        "peak_memory_bytes": 5e8, "encode_samples_per_second": 2e6, "decode_active_voxels_per_second": 3e6,
        "machine": {**machine, "device": device, "gpu": "G" if device == "cuda" else None},
    }  # fmt: skip


def test_table_of_made_up_results(table: ModuleType, tmp_path: Path) -> None:
    assert table.overview(table.load(tmp_path)) == table.NOTHING
    made = [_result("bunny-paper", "cuda", 0.999), _result("smoke", "cpu", None), _result("bunny-paper", "cpu", 0.998)]
    for number, result in enumerate(made):
        (tmp_path / f"{number}.json").write_text(json.dumps(result))
    lines = [line for line in table.overview(table.load(tmp_path)).splitlines() if line.startswith("|")][2:]
    assert [line.split("|")[1].strip() for line in lines] == [
        "smoke", "bunny-paper", "bunny-paper (GPU)", "NeuralVDB, Table 2: Bunny",
    ]  # fmt: skip
    assert "| **100 B** | 20.0 | RMSE 2 % | identical | 2 s / 0.5 s |" in lines[0]
    assert "IoU 0.9980, mCD 0.050" in lines[1]
    assert "248 kB | 61.2 | IoU 0.999, mCD 0.072" in lines[3]
    text = table.details(table.load(tmp_path))
    assert "| root |" in text
    assert "3 |" in text


def test_markers_are_kept(table: ModuleType) -> None:
    page = f"a\n{table.BEGIN}\nold\n{table.END}\nb\n"
    once = table.with_table(page, "new")
    assert once == f"a\n{table.BEGIN}\nnew\n{table.END}\nb\n"
    assert table.with_table(once, "new") == once
    with pytest.raises(ValueError, match="has no"):
        table.with_table("nothing", "new")


def test_table_of_made_up_levels(table: ModuleType, tmp_path: Path) -> None:
    assert "Nothing is recorded yet" in table.levels(tmp_path)
    decode = {"resident_bytes_before": 1e8, "peak_bytes": 1.4e8}
    decodes = {str(level): decode | {"processor_seconds": 0.5 / (level + 1)} for level in range(4)}
    errors = {"stored_to_original": 0.03, "stored_to_decoded": 0.02, "decoded_to_original": 0.01}
    plain = {
        "stored_level": 0, "bytes": 2000, "level_bytes": 0, "no_level": "", "decodes": decodes, "errors": None,
    }  # fmt: skip
    stored = plain | {"stored_level": 2, "bytes": 2500, "level_bytes": 500, "errors": errors}
    cheap = plain | {"stored_level": 1, "decodes": {}, "no_level": "cheap"}
    for name, other in (("smoke", stored), ("bunny", cheap)):
        made = {"name": name, "files": [plain, other], "machine": _result(name, "cpu", None)["machine"]}
        (tmp_path / f"{name}.json").write_text(json.dumps(made))
    text = table.levels(tmp_path)
    assert "| smoke | - | 2 kB | 0.500 s | 0.250 s | 0.167 s | 0.125 s | 40 MB | 40 MB | 40 MB | 40 MB |" in text
    assert "| smoke | 2 | 2.5 kB | 0.500 s | 0.250 s | **0.167 s** | **0.125 s** | 40 MB | 40 MB | **40 MB** |" in text
    assert "| smoke | 2 | 500 B | 20 % | 3 % | 2 % | 1 % |" in text
    assert "Nothing is stored of bunny" in text
    assert text.count("| bunny |") == 1
