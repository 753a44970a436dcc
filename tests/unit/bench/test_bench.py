"""`fieldcodec bench` from end to end on small volumes, and the pieces behind it."""

import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fieldcodec as fc
from fieldcodec import cli
from fieldcodec.bench import effort, machine, ours, registry, run
from fieldcodec.bench.demands import demands_of
from fieldcodec.bench.peer import Outcome, Peer, Setting
from fieldcodec.bench.reference import Reference
from fieldcodec.errors import ExitCode, InvalidValuesError, UnsupportedGridError, UsageError
from fieldcodec.fit.phases import FitEvent
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.io.mesh import Mesh
from fieldcodec.testing import samples

_POINT_KEYS = {
    "codec", "setting", "bytes", "rmse", "rmse_relative", "psnr", "mask_bytes_included", "mask_bytes", "iou", "mcd",
    "note", "encode_s", "decode_s", "encode_peak_bytes", "decode_peak_bytes", "encode_stages", "decode_stages",
    "encode_voxels_per_s", "decode_voxels_per_s", "sections",
}  # fmt: skip
_KEYS = {
    "name", "what", "source", "date", "commit", "machine", "definitions", "grid", "measure", "demands", "points",
    "left_out",
}  # fmt: skip


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory, small_fog: SparseGrid) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    fc.write_volumes(folder / "fog.vdb", VolumeFile((small_fog,)))
    fc.write_volumes(folder / "ball.vdb", VolumeFile((samples.sphere(),)))
    fc.write_volumes(folder / "mask.vdb", VolumeFile((samples.dense("mask"),)))
    return folder


def _bench(folder: Path, name: str, *arguments: str) -> int:
    return cli.main(["bench", str(folder / name), *arguments])


def _check(result: dict[str, Any], measure: str) -> None:
    """The schema of the JSON files."""
    assert set(result) == _KEYS
    assert result["measure"] == measure
    assert {"cpu", "cores", "threads", "python", "torch", "numpy", "fieldcodec"} <= set(result["machine"])
    assert result["grid"]["active_voxels"] > 0
    assert result["grid"]["bytes_tree"] > 0
    for point in result["points"]:
        assert set(point) == _POINT_KEYS
        assert point["bytes"] > 0
        assert point["encode_s"] > 0


def test_fog_beside_files_of_other_formats(volumes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, curve = tmp_path / "all.json", tmp_path / "curve.png"
    plot = ["--plot", str(curve)] if find_spec("matplotlib") else []
    arguments = ["--psnr", "25,35", "--peers", "openvdb,nanovdb-fpn-zip", "--sweep", "3", "-o", str(out), *plot]
    assert _bench(volumes, "fog.vdb", *arguments) == ExitCode.OK
    printed = capsys.readouterr()
    assert "fieldcodec-lattice" in printed.out
    assert "best other / ours" in printed.out
    assert f"wrote {out}" in printed.err
    result = json.loads(out.read_text(encoding="utf-8"))
    _check(result, "psnr")
    assert result["left_out"] == {}
    codecs = {point["codec"] for point in result["points"]}
    assert codecs == {"fieldcodec-lattice", "openvdb-16-blosc", "openvdb-32-blosc", "nanovdb-fpn-zip"}
    lattice = [point for point in result["points"] if point["codec"] == "fieldcodec-lattice"]
    assert [point["setting"] for point in lattice] == ["25 dB", "35 dB"]
    for point, asked in zip(lattice, (25, 35), strict=True):
        assert point["psnr"] >= asked
        assert sum(point["sections"].values()) == point["bytes"]
        assert sum(point["encode_stages"].values()) == pytest.approx(point["encode_s"], rel=0.01)
    if plot:
        assert Image.open(curve).format == "PNG"


def test_level_set_by_the_distance_of_its_surface(
    volumes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pysz", reason="pysz is not installed")
    out = tmp_path / "ball.json"
    arguments = ["--mcd", "0.1", "--peers", "sz3", "--sweep", "0", "-o", str(out), "--markdown"]
    assert _bench(volumes, "ball.vdb", *arguments) == ExitCode.OK
    assert "| codec | mcd 0.1 vx |" in capsys.readouterr().out
    result = json.loads(out.read_text(encoding="utf-8"))
    _check(result, "mcd")
    lattice = [point for point in result["points"] if point["codec"] == "fieldcodec-lattice"]
    assert [point["mcd"] <= 0.1 for point in lattice] == [True]
    assert any(point["codec"] == "sz3" and point["mask_bytes"] > 0 for point in result["points"])


@pytest.mark.parametrize(("package", "codec"), [("zfpy", "zfp"), ("pysz", "sz3-active")])
def test_a_missing_package_is_said_and_nothing_else_stops(
    volumes: Path, tmp_path: Path, package: str, codec: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / "x.json"
    arguments = ["--psnr", "30", "--methods", "lattice", "--peers", f"{codec},openvdb-16-blosc", "-o", str(out)]
    assert _bench(volumes, "fog.vdb", *arguments) == ExitCode.OK
    line = f"{package} is not installed; run: pip install 'fieldcodec[bench]'"
    assert f"Left out: {codec}: {line}" in capsys.readouterr().out
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["left_out"] == {codec: line}
    assert {point["codec"] for point in result["points"]} == {"fieldcodec-lattice", "openvdb-16-blosc"}


@pytest.mark.parametrize(
    ("name", "arguments", "code", "text"),
    [
        ("no.vdb", [], ExitCode.INPUT, "does not exist"),
        ("mask.vdb", [], ExitCode.INPUT, "no grid can be measured"),
        ("fog.vdb", ["--psnr", "a"], ExitCode.USAGE, "--psnr has 'a'"),
        ("fog.vdb", ["--psnr", "30", "--rmse", "1%"], ExitCode.USAGE, "--psnr and --rmse"),
        ("fog.vdb", ["--iou", "0.9"], ExitCode.USAGE, "surface"),
        ("fog.vdb", ["--methods", "magic"], ExitCode.USAGE, "unknown method 'magic'; known are lattice"),
        ("fog.vdb", ["--methods", "mesh"], ExitCode.USAGE, "--mesh"),
        ("fog.vdb", ["--peers", "jpeg"], ExitCode.USAGE, "unknown codec 'jpeg'; known are openvdb-16-blosc"),
        ("fog.vdb", ["--peers", "draco"], ExitCode.USAGE, "--mesh"),
        ("fog.vdb", ["--network-sizes", "big"], ExitCode.USAGE, "'big' is no size of a network"),
        ("fog.vdb", ["--methods", "none", "--peers", "none"], ExitCode.USAGE, "nothing is to be measured"),
        ("fog.vdb", ["--sweep", "-1"], ExitCode.USAGE, "--sweep is -1"),
        ("fog.vdb", ["--grid", "heat"], ExitCode.USAGE, "no grid is called 'heat'"),
        ("fog.vdb", ["--plot", "curve.bmp"], ExitCode.USAGE, ".png, .svg"),
        ("fog.vdb", ["-o", "no/such/folder.json"], ExitCode.INPUT, "does not exist"),
        ("fog.vdb", ["--device", "abacus"], ExitCode.USAGE, "abacus"),
        ("ball.vdb", ["--methods", "network", "--mcd", "0.1"], ExitCode.USAGE, "--network-sizes"),
    ],
)
def test_bad_arguments(
    volumes: Path, name: str, arguments: list[str], code: ExitCode, text: str,
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert _bench(volumes, name, *arguments) == code
    assert text in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_output_is_not_replaced_unasked(volumes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "taken.json"
    taken.write_text("mine")
    assert _bench(volumes, "fog.vdb", "-o", str(taken)) == ExitCode.USAGE
    assert "--overwrite" in capsys.readouterr().err
    assert taken.read_text() == "mine"


def test_networks_have_a_point_for_each_size(volumes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--methods", "network", "--network-sizes", "16x5,24x5", "--peers", "none", "--json"]
    assert _bench(volumes, "fog.vdb", *arguments, "-o", str(tmp_path / "n.json")) == ExitCode.OK
    result = json.loads(capsys.readouterr().out)
    assert [point["setting"] for point in result["points"]] == ["16x5", "24x5"]
    assert result["points"][0]["bytes"] < result["points"][1]["bytes"]
    assert result["points"][0]["note"] == "network"


def test_a_network_stops_at_the_psnr_asked_for(small_fog: SparseGrid) -> None:
    demands = demands_of(small_fog, 1.0, {"psnr": "20,40"})
    (peer,) = ours.methods(["network"], demands, ours.Surroundings())
    settings = peer.compress.keywords["settings_for"]  # type: ignore[attr-defined]
    assert peer.settings == ("20 dB", "40 dB")
    assert settings("20 dB").target_rmse == pytest.approx(0.1)
    assert settings("40 dB").target_rmse == pytest.approx(0.01)
    assert settings("40 dB").epochs > settings("20 dB").epochs


def test_codecs_go_by_name_or_the_beginning_of_it() -> None:
    assert [peer.name for peer in registry.peers(["nanovdb-fpn", "zfp"])] == [
        "nanovdb-fpn-none", "nanovdb-fpn-zip", "nanovdb-fpn-blosc", "zfp",
    ]  # fmt: skip
    assert registry.peers(["none"]) == []
    mesh = Mesh.of([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    assert {peer.name for peer in registry.peers(["all"], mesh)} == set(registry.NAMES)
    assert {peer.name for peer in registry.peers(["all"])} == set(registry.NAMES) - {"draco"}
    with pytest.raises(UsageError, match="unknown codec"):
        registry.peers([""])


def test_a_codec_that_cannot_hold_the_grid_is_left_out(small_fog: SparseGrid) -> None:
    def refuse(grid: SparseGrid, setting: Setting) -> Outcome:
        raise UnsupportedGridError("not this one")

    heard: list[str] = []
    events: list[FitEvent] = []
    result = run.measure(
        Reference(small_fog), [Peer("picky", refuse, "each", (1,))], demands_of(small_fog, 1.0, {}),
        on_codec=lambda name, what: heard.append(f"{name}: {what}"), on_event=events.append,
    )  # fmt: skip
    assert result["points"] == []
    assert result["left_out"] == {"picky": "not this one"}
    assert heard == ["picky: left out: not this one"]
    assert events[-1].step == events[-1].total == 1


def test_values_that_are_not_finite_are_refused(small_fog: SparseGrid) -> None:
    values = small_fog.leaf_values.copy()
    values[0, np.flatnonzero(small_fog.topology.leaf_active_bits[0])[0]] = np.inf
    with pytest.raises(InvalidValuesError, match="NaN or infinite"):
        run.measurable(VolumeFile((replace(small_fog, leaf_values=values),)))


def test_effort_tells_stages_and_memory() -> None:
    def work(tell: Any) -> str:
        block = bytearray(60 << 20)
        tell(FitEvent("density: fit", 0, 2))
        tell(FitEvent("density: fit", 2, 2, 0.5))
        return f"done with {len(block)}"

    heard: list[FitEvent] = []
    before = effort.measured(lambda _: None)[1]
    result, took = effort.measured(work, heard.append)
    assert result.startswith("done")
    assert set(took.stages) == {"fit", "other"}
    assert sum(took.stages.values()) == pytest.approx(took.seconds)
    assert [event.step for event in heard] == [0, 2]
    assert before.stages == {}
    if before.peak_bytes is not None and took.peak_bytes is not None:
        assert took.peak_bytes - before.peak_bytes > 50 << 20


def test_memory_is_none_where_the_system_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(effort.Path, "write_text", fail)
    assert effort.measured(lambda _: None)[1].peak_bytes is None


def test_the_commit_is_that_of_these_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.commit()
    assert found is None or len(found.removesuffix("-dirty")) == 40
    monkeypatch.setattr(machine.fieldcodec, "__file__", str(tmp_path / "__init__.py"))
    assert machine.commit() is None
