"""What the commands for collections are made of: what inputs mean, files counted once, a look at a training."""

import signal
from pathlib import Path

import numpy as np
import pytest

from fieldcodec.cli import options
from fieldcodec.cli.collections import choose, items, pictures
from fieldcodec.cli.collections.watch import TrainingWatch, quick_overlap
from fieldcodec.cli.console import ProgressBars
from fieldcodec.cli.encode import Encode
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.collection.training import CollectionTraining
from fieldcodec.errors import UnknownGridError, UsageError
from fieldcodec.testing.spheres import sphere_asset

SWITCHES = options.switches_of(Encode)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "m/a.obj",
        "m/b.stl.xz",
        "m/notes.txt",
        "v/s_1.vdb",
        "v/s_2.vdb",
        "both/a.ply",
        "both/s.vdb",
        "s/lego/transforms_train.json",
        "s/more/a.ply",
    ):
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("m -o x.fcodec", True),
        ("-o x.fcodec m", True),
        ("--output=x.fcodec --no-check m", True),
        ("m/a.obj m/b.stl.xz", True),
        ("m/*.obj", True),
        ("none/*.obj", True),
        ("m/a.obj", False),
        ("m/a.obj --collection", True),
        ("v/s_1.vdb --collection", True),
        ("v", False),
        ("v/*.vdb", False),
        ("v/s_1.vdb v/s_2.vdb", False),
        ("m/a_%04d.obj", False),
        ("v/s_1.vdb --mesh m/a.obj", False),
        ("both/*.vdb", False),
        ("s/lego", True),
        ("s", True),
        ("s/* m", True),
        ("missing.vdb", False),
        ("missing.obj", False),
        ("", False),
    ],
)
def test_what_inputs_mean(folder: Path, line: str, expected: bool) -> None:
    assert choose.wants_collection(line.split(), SWITCHES) is expected


def test_meshes_beside_volumes_are_asked_about(folder: Path) -> None:
    for line in ("both", "m/a.obj v/s_1.vdb", "both/*"):
        with pytest.raises(UsageError, match="both meshes and volumes"):
            choose.wants_collection(line.split(), SWITCHES)


def test_positionals() -> None:
    arguments = ["a", "--flag", "value", "b", "--switch", "c", "--x=1", "-o", "d", "-", "--", "--e"]
    assert options.positionals(arguments, {"--switch"}) == ["a", "b", "c", "-", "--e"]
    assert {"--overwrite", "--no-check", "--close-holes"} <= SWITCHES
    assert "--device" not in SWITCHES


def test_names_near_by_are_told() -> None:
    names = ["chair_07", "table", "chair_01"]
    assert items.find_item(names, "table", Path("x")) == 1
    assert items.find_item(names, "#2", Path("x")) == 2
    with pytest.raises(UnknownGridError, match="did you mean 'chair_07'"):
        items.find_item(names, "chair7", Path("x"))
    with pytest.raises(UnknownGridError, match="it has 'chair_07', 'table'"):
        items.find_item(names, "#3", Path("x"))


def test_a_look_at_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = CollectionSettings(
        lods=3, latent=8, base_width=32, width=16, steps=80, points_per_object=512, level_dropout=0.0
    )
    training = CollectionTraining([sphere_asset(points=4000)], settings, threads=1)
    before = [parameter.detach().clone() for parameter in training.network.parameters()]
    first = quick_overlap(training)
    assert all(bool((a == b).all()) for a, b in zip(before, training.network.parameters(), strict=True))
    for _ in training.run():
        pass
    last = quick_overlap(training)
    assert last is not None
    assert last > 85
    assert first is None or last > first + 10


def test_the_watch_looks_only_where_somebody_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with ProgressBars() as bars, TrainingWatch(bars) as watch:
        assert not bars.is_shown
        watch(object())  # type: ignore[arg-type]  # a look would fail


def _watched(presses: int, *, is_last: bool) -> list[str]:
    """What is still done when Ctrl-C is pressed in a step: "step" its end, "next" the step behind it."""
    done = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run may ignore it
    try:
        with TrainingWatch(ProgressBars()) as watch:
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)
            done.append("step")
            if not is_last:
                watch(object())  # type: ignore[arg-type]
                done.append("next")
    except KeyboardInterrupt:
        done.append("stopped")
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    return done


def test_ctrl_c_waits_for_the_end_of_a_step_once() -> None:
    assert _watched(0, is_last=False) == ["step", "next"]
    assert _watched(1, is_last=False) == ["step", "stopped"]
    assert _watched(1, is_last=True) == ["step", "stopped"]
    assert _watched(2, is_last=False) == ["stopped"]


def test_a_sheet_has_a_place_for_each() -> None:
    red = np.full((30, 30, 4), (255, 0, 0, 255), np.uint8)
    page = pictures.sheet([red] * 7, tuple(f"a very long name of object number {n}" for n in range(7)))
    assert int((page[..., 0] == 255).sum()) == 7 * 900
    assert page.shape == (8 + 2 * 58, 8 + 4 * 38, 3)
