"""Encoding sequences in memory's bounds: finished groups are kept, nothing is mixed up, errors name the frame."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec.errors import (
    FieldcodecError,
    FrameNumberError,
    InputError,
    InvalidValuesError,
    OutputExistsError,
    UsageError,
)
from fieldcodec.grid.sparse_grid import SparseGrid, VolumeFile
from fieldcodec.testing.samples import dense
from fieldcodec.volume.sequence.encode import SequenceJob
from fieldcodec.volume.sequence.group_work import load_frame
from fieldcodec.volume.sequence.partial import PartialFolder
from fieldcodec.volume.sequence.summary import summarise
from fieldcodec.volume.sequence.workers import Workers

TWO = fc.SequenceSettings(group_size=2)


def _grid(seed: int) -> SparseGrid:
    return replace(dense("int32", side=4, seed=seed), name="labels")


@pytest.fixture
def frames(tmp_path: Path) -> list[tuple[int, Path]]:
    paths = [(number, tmp_path / f"s_{number:04d}.vdb") for number in (2, 3, 5, 6, 7)]
    for number, path in paths:
        fc.write_volumes(path, VolumeFile((_grid(number),)))
    return paths


@dataclass(frozen=True)
class CountingLoader:
    """Reads files, notes which, and fails at one name."""

    fails_at: str = ""
    seen: list[str] = field(default_factory=list, repr=False)

    def __call__(self, source: Path) -> VolumeFile:
        self.seen.append(source.name)
        if source.name == self.fails_at:
            raise InputError("the disk is on fire")
        return load_frame(source)


def _check(sequence: fc.CompressedSequence, numbers: list[int]) -> None:
    assert list(sequence) == numbers
    for number in numbers:
        (back,) = sequence.frame(number).to_grids(device="cpu")
        assert isinstance(back, SparseGrid)
        assert np.array_equal(back.leaf_values, _grid(number).leaf_values)


def test_files_become_a_sequence(tmp_path: Path, frames: list[tuple[int, Path]]) -> None:
    output = tmp_path / "s.fcodec"
    events: list[Any] = []
    sequence = fc.encode_sequence(reversed(frames), output, sequence=TWO, device="cpu", on_event=events.append)
    _check(sequence, [2, 3, 5, 6, 7])
    assert [group.frames for group in sequence.layout.groups] == [(2, 3), (5, 6), (7,)]
    assert sequence.layout.pattern == "s_%04d.vdb"
    assert sequence.name(5) == "s_0005.vdb"
    assert not PartialFolder(output).path.exists()
    assert [event.step for event in events if event.stage == "frames"] == [0, 2, 4, 5]


def test_grids_in_memory_become_a_sequence(tmp_path: Path) -> None:
    frames = [(1, VolumeFile((_grid(1),))), (2, _grid(2))]
    sequence = fc.encode_sequence(frames, tmp_path / "s.fcodec", device="cpu")
    _check(sequence, [1, 2])
    assert sequence.name(2) == "frame_0002.vdb"


def test_only_frames_of_one_group_are_in_memory(tmp_path: Path, frames: list[tuple[int, Path]]) -> None:
    loader, groups = CountingLoader(), []
    fc.encode_sequence(
        frames, tmp_path / "s.fcodec", sequence=TWO, load=loader, device="cpu",
        on_event=lambda event: groups.append(len(loader.seen)) if event.stage == "frames" else None,
    )  # fmt: skip
    assert groups == [0, 2, 4, 5]


def test_a_failing_frame_is_named_and_finished_groups_are_kept(tmp_path: Path, frames: list[tuple[int, Path]]) -> None:
    output = tmp_path / "s.fcodec"
    os.rename(frames[3][1], tmp_path / "hidden")
    (tmp_path / "s_0006.vdb").write_bytes(b"no volume")
    stamp = (tmp_path / "s_0006.vdb").stat()
    with pytest.raises(InputError, match=r"^frame 6 \(.*s_0006\.vdb\): "):
        fc.encode_sequence(frames, output, sequence=TWO, device="cpu")
    assert not output.exists()
    assert PartialFolder(output).has_group(0)
    # the frame is mended: its file is another one now, so nothing is taken over silently
    os.replace(tmp_path / "hidden", tmp_path / "s_0006.vdb")
    with pytest.raises(UsageError, match="differs in frames; give the same again to go on, or --restart"):
        fc.encode_sequence(frames, output, sequence=TWO, device="cpu")
    assert stamp.st_size != (tmp_path / "s_0006.vdb").stat().st_size
    _check(fc.encode_sequence(frames, output, sequence=replace(TWO, restart=True), device="cpu"), [2, 3, 5, 6, 7])


def test_an_interrupted_run_goes_on(tmp_path: Path, frames: list[tuple[int, Path]]) -> None:
    output = tmp_path / "s.fcodec"
    whole = fc.encode_sequence(frames, tmp_path / "whole.fcodec", sequence=TWO, load=CountingLoader(), device="cpu")
    with pytest.raises(InputError, match="on fire"):
        fc.encode_sequence(
            frames, output, sequence=TWO, device="cpu", load=_Interrupted(6),
        )  # fmt: skip
    loader = _Interrupted(0)
    sequence = fc.encode_sequence(frames, output, sequence=TWO, load=loader, device="cpu")
    assert loader.seen == ["s_0005.vdb", "s_0006.vdb", "s_0007.vdb"]
    assert sequence.to_bytes() == whole.to_bytes()


@dataclass
class _Interrupted:
    """A disk that fails once; the same reader as far as the job can tell."""

    fails_at: int = field(repr=False)
    seen: list[str] = field(default_factory=list, repr=False)

    def __call__(self, source: Path) -> VolumeFile:
        self.seen.append(source.name)
        if self.fails_at and source.name == f"s_{self.fails_at:04d}.vdb":
            raise InputError("the disk is on fire")
        return load_frame(source)


@pytest.mark.parametrize("damage", ["cut", "measures", "flipped"])
def test_a_finished_group_that_is_damaged_is_made_again(
    tmp_path: Path, frames: list[tuple[int, Path]], damage: str
) -> None:
    output = tmp_path / "s.fcodec"
    with pytest.raises(InputError):
        fc.encode_sequence(frames, output, sequence=TWO, device="cpu", load=_Interrupted(7))
    group = PartialFolder(output).path / "group_000000.fcodec"
    if damage == "measures":
        group.with_suffix(".json").write_text("{")
    else:
        data = group.read_bytes()
        group.write_bytes(data[:-5] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    loader = _Interrupted(0)
    _check(fc.encode_sequence(frames, output, sequence=TWO, load=loader, device="cpu"), [2, 3, 5, 6, 7])
    assert loader.seen == ["s_0002.vdb", "s_0003.vdb", "s_0007.vdb"]


def test_other_settings_are_refused_and_named(tmp_path: Path, frames: list[tuple[int, Path]]) -> None:
    output = tmp_path / "s.fcodec"
    with pytest.raises(InputError):
        fc.encode_sequence(frames, output, sequence=TWO, device="cpu", load=_Interrupted(7))
    for settings, sequence, name in (
        (fc.VolumeSettings(seed=7), TWO, "settings"),
        (None, fc.SequenceSettings(group_size=3), "group_size"),
    ):
        with pytest.raises(UsageError, match=f"differs in {name};"):
            fc.encode_sequence(frames, output, settings, sequence, device="cpu", load=_Interrupted(0))
    assert PartialFolder(output).has_group(0)


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path, frames: list[tuple[int, Path]]) -> None:
    folder = tmp_path / "s.fcodec.partial"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    for restart in (False, True):
        with pytest.raises(InputError, match="move it away"):
            fc.encode_sequence(frames, tmp_path / "s.fcodec", sequence=fc.SequenceSettings(restart=restart))
    assert (folder / "thesis.txt").exists()


def test_frames_are_appended(tmp_path: Path, frames: list[tuple[int, Path]]) -> None:
    output = tmp_path / "s.fcodec"
    before = fc.encode_sequence([frames[0], frames[3]], output, sequence=TWO, device="cpu")
    first = bytes(before.group_bytes(0))
    odd = tmp_path / "odd_name_9.vdb"
    fc.write_volumes(odd, VolumeFile((_grid(9),)))
    more = [*frames[1:3], frames[4], (9, odd)]
    after = fc.encode_sequence(more, output, sequence=TWO, device="cpu", append=True)
    _check(after, [2, 3, 5, 6, 7, 9])
    assert [group.frames for group in after.layout.groups] == [(2, 6), (3, 5), (7, 9)]
    assert bytes(after.group_bytes(0)) == first
    assert [after.name(number) for number in (2, 7, 9)] == ["s_0002.vdb", "s_0007.vdb", "odd_name_9.vdb"]
    data = output.read_bytes()
    with pytest.raises(FrameNumberError, match="has the frames 3, 9 already"):
        fc.encode_sequence([frames[1], (9, odd), (10, odd)], output, append=True)
    assert output.read_bytes() == data


def test_a_damaged_group_is_not_carried_into_a_new_file(tmp_path: Path, frames: list[tuple[int, Path]]) -> None:
    output = tmp_path / "s.fcodec"
    fc.encode_sequence(frames[:2], output, device="cpu")
    data = bytearray(output.read_bytes())
    data[-1] ^= 1
    output.write_bytes(data)
    with pytest.raises(FieldcodecError, match="damaged"):
        fc.encode_sequence(frames[2:], output, append=True, device="cpu")
    assert output.read_bytes() == bytes(data)


def test_bad_calls_are_refused_before_any_work(tmp_path: Path, frames: list[tuple[int, Path]]) -> None:
    output = tmp_path / "s.fcodec"
    with pytest.raises(FrameNumberError, match="frame 2 is given twice"):
        fc.encode_sequence([frames[0], frames[0]], output)
    with pytest.raises(FrameNumberError, match="31 bits"):
        fc.encode_sequence([(2**31, frames[0][1])], output)
    with pytest.raises(InputError, match="no frame"):
        fc.encode_sequence([], output)
    with pytest.raises(InputError, match=r"cannot read .*nowhere"):
        fc.encode_sequence([(1, tmp_path / "nowhere_1.vdb")], output)
    output.write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        fc.encode_sequence(frames, output)
    for bad in ({"group_size": 0}, {"group_size": 257}, {"jobs": -1}):
        with pytest.raises(UsageError, match="allowed is"):
            fc.SequenceSettings(**bad)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".fcodec", *[".vdb"] * 5]


def test_a_frame_with_values_that_are_not_finite_is_named(tmp_path: Path) -> None:
    grid = dense("float", side=4)
    bad = replace(grid, leaf_values=np.full_like(grid.leaf_values, np.nan))
    with pytest.raises(InvalidValuesError, match=r"^frame 2 \(frame_0002\.vdb\): grid 'float' holds"):
        fc.encode_sequence([(1, grid), (2, bad)], tmp_path / "s.fcodec", device="cpu")


def test_measures_cover_all_frames_and_the_borders_of_groups(tmp_path: Path) -> None:
    frames = [(number, dense("float", side=20, seed=number)) for number in range(4)]
    job = SequenceJob(tuple(frames), tmp_path / "s.fcodec", sequence=TWO, device="cpu")
    measures = job.run()
    assert [measure.number for measure in measures] == [0, 1, 2, 3]
    assert [measure.grids[0].flicker is None for measure in measures] == [True, False, False, False]
    opened = fc.open_sequence(tmp_path / "s.fcodec")
    for measure, (number, grid) in zip(measures, frames, strict=True):
        quality = fc.compare_grids(grid, opened.frame(number).to_grids(device="cpu")[0])  # type: ignore[arg-type]
        assert measure.grids[0].rmse == pytest.approx(quality.rmse)
        assert measure.grids[0].topology_identical
    assert sum(measure.bytes or 0 for measure in measures) == sum(
        len(opened.group_bytes(row)) for row in range(len(opened.layout.groups))
    )
    (summary,) = summarise(measures)
    worst = max(measures, key=lambda measure: measure.grids[0].rmse or 0)
    assert summary.rmse is not None
    assert (summary.rmse.worst, summary.rmse.frame) == (worst.grids[0].rmse, worst.number)
    assert summary.frames == ((0, 3),)
    assert summary.ratio is not None


def test_demands_on_grids_that_come_later_are_no_error(tmp_path: Path) -> None:
    later = replace(_grid(1), name="later")
    settings = fc.VolumeSettings(grid_quality=("later:lossless",))
    sequence = fc.encode_sequence(
        [(1, _grid(1)), (2, VolumeFile((_grid(2), later)))], tmp_path / "s.fcodec", settings, device="cpu"
    )
    assert {grid.name: grid.frames for grid in sequence.layout.grids} == {"labels": (1, 2), "later": (2,)}
    assert sequence.settings["grid_quality"] == ["later:lossless"]


def test_workers_run_side_by_side_and_hand_on_errors() -> None:
    found: dict[Any, int] = {}
    environment = dict(os.environ)
    with Workers(2) as workers:
        workers.run(abs, [-5, -6, -7], found.__setitem__)
        with pytest.raises(ValueError, match="'x'"):
            workers.run(int, ["8", "x"], found.__setitem__)
        workers.run(abs, [-8, -9], found.__setitem__)
        with pytest.raises(FieldcodecError, match="a worker process died"):
            workers.run(os._exit, [9, 9], found.__setitem__)
    assert {-5: 5, -6: 6, -7: 7, -8: 8, -9: 9}.items() <= found.items()
    assert dict(os.environ) == environment


def test_workers_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes of eight processors: four threads each, but what is set already stands."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    for name in ("FIELDCODEC_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    found: dict[str, str | None] = {}
    with Workers(5) as workers:
        workers.run(os.getenv, ["FIELDCODEC_THREADS", "OMP_NUM_THREADS"], found.__setitem__)
        workers.run(os.getenv, ["MKL_NUM_THREADS", "MKL_NUM_THREADS", "HOME"], found.__setitem__)
    assert [found[name] for name in ("FIELDCODEC_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")] == ["4", "3", "4"]
    assert "FIELDCODEC_THREADS" not in os.environ
