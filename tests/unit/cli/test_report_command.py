"""`fieldcodec report`."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec import cli
from fieldcodec.errors import ExitCode
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile


class _Words(HTMLParser):
    """The words of a page, and its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.pictures = 0

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.pictures += tag == "img"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, small_fog: SparseGrid) -> tuple[Path, Path]:
    """A volume of three grids, one of them empty, and the compressed file."""
    folder = tmp_path_factory.mktemp("report")
    empty = grid_of_dense("nothing", np.zeros((4, 4, 4)), np.zeros((4, 4, 4), bool))
    volumes = VolumeFile((small_fog, sphere_level_set(9.0, name="ball & <chain>"), empty))
    fc.write_volumes(folder / "scene.vdb", volumes)
    fc.encode_volume(volumes, fc.VolumeSettings(quality=fc.Quality(psnr=30))).save(folder / "scene.fcodec")
    return folder / "scene.vdb", folder / "scene.fcodec"


def _page(path: Path) -> tuple[str, int]:
    parser = _Words()
    parser.feed(path.read_text(encoding="utf-8"))
    return " ".join(parser.words), parser.pictures


def test_page_tells_sizes_quality_and_shows_both_grids(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    assert cli.main(["report", *map(str, files), "-o", str(out), "--size", "64"]) == ExitCode.OK
    words, pictures = _page(out)
    assert pictures == 2 * 4  # an overview and three slices of each grid that is not empty
    for text in ("density", "ball & <chain>", "nothing", "leaf masks", "identical", "PSNR dB", "bits per active voxel"):
        assert text in words
    assert f"{files[1].stat().st_size / 1000:.3g} kB" in words or f"{files[1].stat().st_size} B" in words


def test_bench_results_are_drawn(files: tuple[Path, Path], tmp_path: Path, small_fog: SparseGrid) -> None:
    volume, small, bench = tmp_path / "fog.vdb", tmp_path / "fog.fcodec", tmp_path / "fog.bench.json"
    fc.write_volumes(volume, VolumeFile((small_fog,)))
    fc.encode_volume(small_fog, fc.VolumeSettings(quality=fc.Quality(psnr=25))).save(small)
    point = {"codec": "sz3", "rmse_relative": 0.01, "iou": None, "mcd": None, "mask_bytes": 0}
    point["mask_bytes_included"] = True
    points = [{**point, "setting": 0.1, "bytes": 900}, {**point, "setting": 0.2, "bytes": 700, "rmse_relative": 0.02}]
    result = {"measure": "psnr", "grid": {"name": "density"}, "points": points, "demands": []}
    bench.write_text(json.dumps(result))
    arguments = ["report", str(volume), str(small), "--size", "64", "--bench", str(bench), "--most-pictures", "0"]
    assert cli.main(arguments) == ExitCode.OK
    words, pictures = _page(small.with_suffix(".html"))
    assert "sz3" in words
    assert "this file" in words
    assert pictures == 0
    bench.write_text(json.dumps({"measure": "psnr"}))
    assert cli.main([*arguments, "--overwrite"]) == ExitCode.INPUT
    bench.write_text("[1]")
    assert cli.main([*arguments, "--overwrite"]) == ExitCode.INPUT


def test_refusals(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "taken.html"
    out.write_text("mine")
    assert cli.main(["report", *map(str, files), "-o", str(out)]) == ExitCode.USAGE
    assert out.read_text() == "mine"
    assert (
        cli.main(["report", str(tmp_path / "no.vdb"), str(files[1]), "-o", str(tmp_path / "x.html")]) == ExitCode.INPUT
    )
    assert "does not exist" in capsys.readouterr().err
