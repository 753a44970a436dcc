"""What the page can ask, without a server around it."""

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fieldcodec.errors import FieldcodecError, UnsupportedGridError, UsageError
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.grid.transform import GridTransform
from fieldcodec.metrics.quality import compare_grids
from fieldcodec.testing.samples import dense
from fieldcodec.view import facts, layers, surfaces
from fieldcodec.view.answers import Answer, Answers, Query
from fieldcodec.view.source import Frame, GridEntry, Pair, Source, Which


def _answers(*pairs: Pair) -> Answers:
    entries = [_entry(pair.decoded) for pair in pairs]
    originals = VolumeFile(tuple(pair.original for pair in pairs if pair.original))
    frame = Frame(tuple(entries), lambda row: pairs[row].decoded, originals if len(originals) else None)
    return Answers(Source.of(frame), {"file": "x.fcodec"})


def _entry(grid: SparseGrid) -> GridEntry:
    return GridEntry(grid.name, grid.value_type.name, grid.grid_class, grid.topology.num_active_voxels, 1000)


def _ask(answers: Answers, name: str, **parameters: object) -> Answer:
    return answers.by_name[name](Query({key: str(value) for key, value in parameters.items()}))


def _json(answers: Answers, name: str, **parameters: object) -> dict[str, Any]:
    (data,) = _ask(answers, name, **parameters).parts
    found: dict[str, Any] = json.loads(data, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    return found


def test_grids_are_listed_without_decoding() -> None:
    entries = (GridEntry("a", "float", "fog volume", 5), GridEntry("p", "points", "unknown", is_carried=True))
    answers = Answers(Source.of(Frame(entries, lambda row: pytest.fail("decoded"))), {"file": "x"})
    about = _json(answers, "about")
    assert about["frames"] == [""]
    assert not about["has_originals"]
    assert len(about["colormaps"]["heat"]) == 3 * 256
    listed = _json(answers, "grids")
    assert [grid["name"] for grid in listed["grids"]] == ["a", "p"]
    assert listed["first"] == 0


def test_frames_are_asked_by_position(fog_pair: Pair, ball_pair: Pair) -> None:
    pairs = [fog_pair, ball_pair]
    frames = [Frame((_entry(pair.decoded),), lambda row, pair=pair: pair.decoded) for pair in pairs]
    answers = Answers(Source(("7", "9"), lambda place: frames[place], has_originals=False), {})
    assert _json(answers, "about")["frames"] == ["7", "9"]
    assert [_json(answers, "grids", frame=place)["grids"][0]["name"] for place in (0, 1)] == ["density", "ball"]
    assert [_json(answers, "grid", frame=place)["is_level_set"] for place in (0, 1)] == [False, True]
    assert _json(answers, "report", frame=0) != _json(answers, "report", frame=1)
    with pytest.raises(UsageError, match="frame is 2"):
        _ask(answers, "grids", frame=2)


def test_fog_is_described(fog_pair: Pair) -> None:
    found = _json(_answers(fog_pair), "grid", grid=0)
    low, high = fog_pair.box or pytest.fail("empty")
    assert found["box"] == [low.tolist(), high.tolist()]
    assert found["modes"] == ["fog", "maximum", "surface"]
    values = fog_pair.decoded.active_values()
    assert found["range"] == pytest.approx([min(0.0, values.min()), values.max()])
    assert found["iso"]["low"] <= found["iso"]["start"] <= found["iso"]["high"]
    errors = np.abs(values - fog_pair.original.active_values()) if fog_pair.original else values
    assert found["error"]["largest"] == pytest.approx(errors.max(), rel=1e-5)
    assert 0 < found["error"]["scale"] <= found["error"]["largest"]
    assert found["matrix"] == fog_pair.decoded.transform.matrix.reshape(-1).tolist()


def test_other_kinds_are_described(ball_pair: Pair) -> None:
    ball = _json(_answers(ball_pair), "grid")
    assert ball["modes"] == ["surface"]
    assert ball["iso"]["start"] == 0
    assert -ball["iso"]["low"] < float(ball_pair.decoded.background[0]) > ball["iso"]["high"]
    assert ball["scale"] == ball["range"]
    vector = _json(_answers(Pair(dense("vec3s"), None)), "grid")
    assert vector["modes"] == ["fog", "maximum"]
    assert vector["iso"] is None
    assert vector["error"] is None
    empty = grid_of_dense("nothing", np.zeros((4, 4, 4)), np.zeros((4, 4, 4), bool))
    assert _json(_answers(Pair(empty, None)), "grid")["box"] is None
    bent = replace(dense("float"), transform=GridTransform("NonlinearFrustumMap", b"\0" * 100))
    frustum = _json(_answers(Pair(bent, None)), "grid")
    assert frustum["matrix"] == np.eye(4).reshape(-1).tolist()


def test_the_report_is_that_of_compare(ball_pair: Pair) -> None:
    answers = _answers(ball_pair)
    found = _json(answers, "report")
    assert ball_pair.original
    expected = compare_grids(ball_pair.original, ball_pair.decoded)
    assert found["quality"]["iou"] == expected.iou
    assert found["quality"]["rmse"] == expected.rmse
    assert found["bits_per_active_voxel"] == 8000 / expected.active_voxels
    assert _json(answers, "report") == found
    assert _json(_answers(replace(ball_pair, original=None)), "report")["quality"] is None


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("which", list(Which))
def test_layers_are_the_voxels(fog_pair: Pair, unpacked: Any, axis: int, which: Which) -> None:
    low, high = fog_pair.box or pytest.fail("empty")
    index = int(low[axis] + 9)
    header, arrays = unpacked(_ask(_answers(fog_pair), "layer", axis=axis, index=index, which=which.value))
    assert header == {"step": 1}
    right, up = layers.ACROSS[axis]
    assert arrays["values"].shape == (high[up] - low[up] + 1, high[right] - low[right] + 1)
    for row, column in ((0, 0), (5, 11), (arrays["values"].shape[0] - 1, 3)):
        place = np.zeros(3)
        place[axis], place[right], place[up] = index, low[right] + column, high[up] - row
        assert fog_pair.original
        there = [
            float(grid.sample(place, space="index", interpolation="nearest")[0])
            for grid in (fog_pair.original, fog_pair.decoded)
        ]
        expected = {"original": there[0], "decoded": there[1], "error": abs(there[1] - there[0])}[which.value]
        assert arrays["values"][row, column] == pytest.approx(expected, abs=1e-6)


def test_wide_layers_skip_voxels(fog_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = layers.layer(fog_pair, Which.DECODED, 2, 15)
    monkeypatch.setattr(layers, "MOST", 10)
    few = layers.layer(fog_pair, Which.DECODED, 2, 15)
    assert few.step == 3
    assert max(few.values.shape) <= 10
    np.testing.assert_array_equal(few.values[::-1], whole.values[::-1][::3, ::3])


def test_volumes_fall_on_the_scale(fog_pair: Pair, unpacked: Any) -> None:
    header, arrays = unpacked(_ask(_answers(fog_pair), "volume", size=64))
    cells = arrays["cells"]
    assert cells.dtype == np.float16
    assert header["factor"] == 1
    voxel = np.array([9, 12, 17])  # of the box of cells
    expected = fog_pair.decoded.sample(voxel + header["low"], space="index", interpolation="nearest")[0]
    assert expected > 0.1
    assert cells[17, 12, 9, 0] * header["largest"] == pytest.approx(expected, rel=2e-3)
    assert float(cells[..., 0].max()) == 1.0
    passed = cells[..., 1]
    assert (np.diff(passed.astype(np.float32), axis=1) <= 0).all()  # along y, less above
    assert passed[:, 0].max() > 0.1
    assert header["density"] > 1


def test_errors_are_a_volume(fog_pair: Pair, unpacked: Any) -> None:
    header, _ = unpacked(_ask(_answers(fog_pair), "volume", which="error", size=64))
    assert header["largest"] == pytest.approx(_json(_answers(fog_pair), "grid")["error"]["largest"], rel=1e-5)


@pytest.mark.parametrize("most_blocks", [10_000, 100])
def test_surfaces_lie_where_the_ball_is(
    ball_pair: Pair, unpacked: Any, monkeypatch: pytest.MonkeyPatch, most_blocks: int
) -> None:
    monkeypatch.setattr(surfaces, "_MOST_BLOCKS", most_blocks)
    header, arrays = unpacked(_ask(_answers(ball_pair), "surface", iso=0, which="original"))
    assert (header["level"] > 0) == (most_blocks == 100)
    assert ball_pair.box
    world = ball_pair.decoded.transform.to_world(arrays["vertices"] + ball_pair.box[0])
    radius = np.linalg.norm(world - [1.5, 0.5, -1.0], axis=1)
    assert np.ptp(radius) < 0.3 * (1 + header["level"])
    outward = arrays["vertices"] - arrays["vertices"].mean(axis=0)
    assert (np.sum(outward * arrays["normals"], axis=1) > 0).all()
    assert arrays["triangles"].max() == len(radius) - 1


def test_surfaces_carry_errors(ball_pair: Pair, unpacked: Any) -> None:
    _, arrays = unpacked(_ask(_answers(ball_pair), "surface", iso=0.1, which="error"))
    assert arrays["errors"].shape == arrays["vertices"].shape[:1]
    assert 0.0005 < arrays["errors"].mean() < 0.02


def test_surfaces_of_other_types() -> None:
    for kind in ("int32", "bool", "half"):
        pair = Pair(dense(kind), None)
        iso = facts.describe(pair)["iso"]["start"]
        assert len(surfaces.surface(pair, Which.DECODED, iso).triangles) > 10, kind
    with pytest.raises(UnsupportedGridError):
        surfaces.surface(Pair(dense("vec3s"), None), Which.DECODED, 0.0)


@pytest.mark.parametrize("which", list(Which))
def test_pictures_are_drawn_here_too(fog_pair: Pair, which: Which) -> None:
    answer = _ask(_answers(fog_pair), "picture", which=which.value, width=64, height=48, turn=30, tilt=100)
    pixels = np.asarray(Image.open(io.BytesIO(b"".join(answer.parts))))
    assert pixels.shape == (48, 64, 3)
    assert pixels.std() > 5


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("grid", {"grid": 1}, "grid is 1"),
        ("grid", {"grid": "x"}, "whole number"),
        ("grid", {"frame": 1}, "frame is 1"),
        ("grid", {"grid": 0, "gird": 0}, "gird"),
        ("layer", {"axis": 3, "index": 0}, "axis"),
        ("layer", {"axis": 0}, "index is missing"),
        ("layer", {"axis": 0, "index": 10**6}, "outside the grid"),
        ("layer", {"axis": 0, "index": 10**12}, "index"),
        ("layer", {"axis": 0, "index": 0, "which": "both"}, "allowed are decoded"),
        ("volume", {"size": 100000}, "size is 100000"),
        ("surface", {"iso": "nan"}, "finite"),
        ("surface", {"iso": "much"}, "number is needed"),
        ("surface", {}, "iso is missing"),
        ("picture", {"width": 5000}, "width"),
    ],
)
def test_bad_questions(fog_pair: Pair, name: str, parameters: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        _ask(_answers(fog_pair), name, **parameters)


def test_no_original_no_errors(fog_pair: Pair) -> None:
    alone = _answers(replace(fog_pair, original=None))
    low = (fog_pair.box or pytest.fail("empty"))[0]
    for name, parameters in (("volume", {}), ("surface", {"iso": 0.2}), ("layer", {"axis": 0, "index": low[0]})):
        for which in ("original", "error"):
            with pytest.raises(UsageError, match="--original"):
                _ask(alone, name, which=which, **parameters)
    with pytest.raises(FieldcodecError):
        _ask(alone, "picture", which="error")


def test_an_empty_grid_is_refused_in_words() -> None:
    empty = _answers(Pair(grid_of_dense("nothing", np.zeros((4, 4, 4)), np.zeros((4, 4, 4), bool)), None))
    for name, parameters in (("volume", {}), ("layer", {"axis": 0, "index": 0})):
        with pytest.raises(UsageError, match="no active voxels"):
            _ask(empty, name, **parameters)
