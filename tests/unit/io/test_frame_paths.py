"""Patterns of the names of frames."""

import os
from pathlib import Path

import pytest

from fieldcodec.errors import FrameNumberError, InputError, UsageError
from fieldcodec.io import frame_paths
from fieldcodec.io.frame_paths import common_pattern, find_frames, format_frame, is_pattern


def _make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def _numbers(*patterns: str | Path) -> list[int]:
    return [frame.number for frame in find_frames(patterns)]


@pytest.mark.parametrize(
    ("pattern", "number", "name"),
    [
        ("smoke_%04d.vdb", 7, "smoke_0007.vdb"),
        ("smoke_%d.vdb", 7, "smoke_7.vdb"),
        ("smoke_%04d.vdb", 12345, "smoke_12345.vdb"),
        ("smoke_$F4.vdb", 7, "smoke_0007.vdb"),
        ("smoke_${F3}.vdb", 7, "smoke_007.vdb"),
        ("smoke.$F.vdb", 70, "smoke.70.vdb"),
        ("smoke_####.vdb", 7, "smoke_0007.vdb"),
        ("a%04d/50%_#.vdb", 7, "a%04d/50%_7.vdb"),
        ("%d_%03d.vdb", 7, "%d_007.vdb"),
        ("smoke_%04d.vdb", -7, "smoke_-007.vdb"),
    ],
)
def test_a_number_is_written_as_the_pattern_says(pattern: str, number: int, name: str) -> None:
    assert format_frame(pattern, number) == name.replace("/", os.sep)


@pytest.mark.parametrize("pattern", ["smoke.vdb", "%04d/smoke.vdb", "smoke_*.vdb"])
def test_a_pattern_without_a_place_for_the_number_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="no place for the number"):
        format_frame(pattern, 1)


def test_all_kinds_of_patterns_find_the_same_files(tmp_path: Path) -> None:
    _make(tmp_path, "smoke_0009.vdb", "smoke_0010.vdb", "smoke_0011.vdb", "notes.txt", "smoke_9.vdb.bak")
    for pattern in ("smoke_*.vdb", "smoke_00??.vdb", "smoke_%04d.vdb", "smoke_$F4.vdb", "smoke_####.vdb", ""):
        assert _numbers(tmp_path / pattern) == [9, 10, 11], pattern
    assert _numbers(*sorted(tmp_path.glob("*.vdb"), reverse=True)) == [9, 10, 11]
    assert find_frames([tmp_path])[0].path == tmp_path / "smoke_0009.vdb"


def test_the_width_of_a_number_is_that_of_the_pattern(tmp_path: Path) -> None:
    _make(tmp_path, "a_7.vdb", "a_0008.vdb", "a_12345.vdb", "a_-003.vdb")
    assert _numbers(tmp_path / "a_%04d.vdb") == [-3, 8, 12345]
    assert _numbers(tmp_path / "a_%d.vdb") == [7, 12345]


def test_the_number_is_the_last_run_of_digits_that_varies(tmp_path: Path) -> None:
    _make(tmp_path, "v2_0001_half16.vdb", "v2_0002_half16.vdb", "v2_0010_half16.vdb")
    assert _numbers(tmp_path / "*.vdb") == [1, 2, 10]


def test_one_frame_has_the_last_number_of_its_name(tmp_path: Path) -> None:
    assert _numbers(_make(tmp_path, "v2_0005.vdb")) == [5]


def test_two_files_of_one_number_are_refused_by_name(tmp_path: Path) -> None:
    _make(tmp_path, "a_01.vdb", "a_1.vdb", "a_2.vdb")
    with pytest.raises(FrameNumberError, match=r"a_01\.vdb and .*a_1\.vdb are both frame 1"):
        find_frames([tmp_path / "a_*.vdb"])


def test_files_without_a_number_are_refused_by_name(tmp_path: Path) -> None:
    _make(tmp_path, "a_1.vdb", "a_2.vdb", "last.vdb")
    with pytest.raises(FrameNumberError, match=r"last\.vdb has no number"):
        find_frames([tmp_path])


@pytest.mark.parametrize("pattern", ["smoke_*.vdb", "smoke_%04d.vdb", "nowhere/smoke_$F4.vdb", "nowhere/smoke_1.vdb"])
def test_nothing_found_says_what_was_looked_for(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(InputError, match=r"smoke_"):
        find_frames([tmp_path / pattern])
    with pytest.raises(InputError, match="holds no volumes"):
        find_frames([tmp_path])
    with pytest.raises(InputError, match=r"a_1\.vdb and 1 more: there is no such file"):
        find_frames([tmp_path / "a_1.vdb", tmp_path / "a_2.vdb"])


def test_gaps_and_ranges() -> None:
    assert frame_paths.missing_numbers([1, 2, 5, 7]) == [(3, 4), (6, 6)]
    assert frame_paths.missing_numbers([]) == []
    assert frame_paths.ranges_text(frame_paths.number_ranges([1, 2, 3, 7, 9, 10])) == "1-3, 7, 9-10"
    assert frame_paths.ranges_text([(n, n) for n in range(0, 40, 2)]).endswith("14 and 12 more")


def test_frames_are_chosen_by_ranges() -> None:
    assert frame_paths.choose_numbers([1, 2, 5, 7, 9], "2-6,9") == [2, 5, 9]
    assert frame_paths.choose_numbers([-3, -2, 1], "-3--2") == [-3, -2]
    assert frame_paths.choose_numbers([1, 2], None) == [1, 2]
    with pytest.raises(UsageError, match="there are 1-2"):
        frame_paths.choose_numbers([1, 2], "5-9")
    for text in ("", "a", "5-2", "1,,2"):
        with pytest.raises(UsageError, match="not understood"):
            frame_paths.choose_numbers([1, 2], text)


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ([(9, "s_0009.vdb"), (10, "s_0010.vdb")], "s_%04d.vdb"),
        ([(9, "s_9.vdb"), (10, "s_10.vdb")], "s_%d.vdb"),
        ([(100, "s_100.vdb"), (1000, "s_1000.vdb")], "s_%d.vdb"),
        ([(2, "v2_s_02.vdb")], "v2_s_%02d.vdb"),
        ([(-2, "s_-02.vdb"), (3, "s_003.vdb")], "s_%03d.vdb"),
        ([(1, "a_1.vdb"), (2, "b_2.vdb")], None),
        ([(1, "50%d_1_#.vdb")], None),
    ],
)
def test_the_pattern_of_names_is_found(names: list[tuple[int, str]], pattern: str | None) -> None:
    assert common_pattern(names) == pattern


def test_a_file_that_exists_is_no_pattern(tmp_path: Path) -> None:
    path = _make(tmp_path, "odd[1]#.vdb") / "odd[1]#.vdb"
    assert not is_pattern(path)
    assert is_pattern(tmp_path / "odd_##.vdb")
    assert is_pattern("a*/smoke.vdb")
    assert not is_pattern(tmp_path / "smoke.vdb")
