"""The file: literal bytes, damage of every byte, limits, versions, atomic writing."""

import errno
import os
import struct
from pathlib import Path

import pytest
import xxhash

from fieldcodec.container import files
from fieldcodec.container import format as fmt
from fieldcodec.container.container import Container, Section, SectionKey, open_container, save_container
from fieldcodec.errors import FormatError, InputError, OutputExistsError

OPTIONAL = 60_000  # an id that no release knows


def small() -> Container:
    return Container(
        [
            Section(OPTIONAL, b"leaves", grid=1, must_understand=False),
            Section.meta({"b": 1, "a": [1.5, None, "é"]}),
            Section(OPTIONAL, b"", grid=0, must_understand=False),
        ]
    )


def file_of(entries: list[tuple[int, int, int, int, int]], payload: bytes, version: tuple[int, int] = (1, 0)) -> bytes:
    """A file with a valid table checksum and whatever else; entries are id, flags, grid, offset, length."""
    table = b"".join(
        fmt.ENTRY.pack(*entry, xxhash.xxh3_64_intdigest(payload[entry[3] - start : entry[3] - start + entry[4]]))
        for start in [fmt.PREAMBLE.size + len(entries) * fmt.ENTRY.size]
        for entry in entries
    )
    size = fmt.PREAMBLE.size + len(table) + len(payload)
    blank = fmt.PREAMBLE.pack(fmt.MAGIC, *version, len(entries), size, 0)
    checksum = xxhash.xxh3_64_intdigest(blank + table)
    return fmt.PREAMBLE.pack(fmt.MAGIC, *version, len(entries), size, checksum) + table + payload


def test_literal_bytes() -> None:
    data = Container([Section.meta({})]).to_bytes()
    assert data[:8] == b"\x89FCD\r\n\x1a\n"
    assert data == file_of([(1, 1, 0xFFFFFFFF, 64, 2)], b"{}")
    assert data.hex() == (
        "894643440d0a1a0a010000000100000042000000000000009fb1afb21bb2acdb"
        "01000100ffffffff40000000000000000200000000000000165c7027e1cd4913"
        "7b7d"
    )


def test_round_trip_and_canonical_order() -> None:
    container = small()
    data = container.to_bytes()
    again = Container.from_bytes(data)
    assert list(again) == [SectionKey(1), SectionKey(OPTIONAL, 0), SectionKey(OPTIONAL, 1)] == list(container)
    assert again.meta() == {"a": [1.5, None, "é"], "b": 1}
    assert again.read(OPTIONAL, 1) == b"leaves"
    assert again.length(OPTIONAL, 1) == 6
    assert again.length(OPTIONAL, 7) == 0
    assert (OPTIONAL, 0) in again
    assert (OPTIONAL, 7) not in again
    assert again.num_bytes == len(data) == container.num_bytes
    assert again.to_bytes() == data
    again.verify()


def test_empty_container() -> None:
    assert len(Container.from_bytes(Container([]).to_bytes())) == 0


def test_twice_the_same_section_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        Container([Section(1, b"a"), Section(1, b"b")])


@pytest.mark.parametrize("id", [0, -1, 1 << 16])
def test_ids_out_of_range_are_refused(id: int) -> None:
    with pytest.raises(ValueError, match="id must be"):
        Container([Section(id, b"a")])


def test_every_prefix_is_refused() -> None:
    data = small().to_bytes()
    for length in range(len(data)):
        with pytest.raises(FormatError):
            Container.from_bytes(data[:length])


def test_every_flipped_bit_is_noticed() -> None:
    data = small().to_bytes()
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(FormatError):
                Container.from_bytes(bytes(damaged)).verify()


def test_damage_in_one_section_leaves_the_others_readable() -> None:
    data = bytearray(small().to_bytes())
    data[-1] ^= 1
    container = Container.from_bytes(bytes(data))
    assert container.meta()["b"] == 1
    with pytest.raises(FormatError, match="of grid 1 is damaged"):
        container.read(OPTIONAL, 1)


def test_missing_section_is_named() -> None:
    with pytest.raises(FormatError, match="lacks the section META"):
        Container([]).meta()


@pytest.mark.parametrize(
    ("entries", "payload", "message"),
    [
        ([(1, 1, 0, 65, 1)], b"ab", "lies at 65"),  # a hole
        ([(1, 1, 0, 64, 1)], b"ab", "belong to none"),  # bytes behind the last section
        ([(1, 1, 0, 64, 1 << 62)], b"ab", "lies at 64"),  # a huge length
        ([(1, 1, 0, 1 << 63, 1)], b"ab", "lies at"),
        ([(1, 1, 0, 96, 2), (1, 1, 1, 97, 1)], b"ab", "lies at 97"),  # overlap
        ([(1, 1, 0, 96, 1), (1, 1, 0, 97, 1)], b"ab", "twice"),
        ([(1, 1, 1, 96, 1), (1, 1, 0, 97, 1)], b"ab", "out of order"),
        ([(0, 0, 0, 64, 2)], b"ab", "out of order"),  # id 0 is no section
        ([(1, 2, 0, 64, 2)], b"ab", "unknown flags"),
        ([(OPTIONAL, 1, 0, 64, 2)], b"ab", "needs fieldcodec format 1.0 or newer"),
    ],
)
def test_hostile_tables(entries: list[tuple[int, int, int, int, int]], payload: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        Container.from_bytes(file_of(entries, payload))


def test_section_count_is_limited_before_reading() -> None:
    head = struct.pack("<8sHHIQQ", fmt.MAGIC, 1, 0, 0xFFFFFFFF, 32, 0)
    with pytest.raises(FormatError, match="at most 65536"):
        Container.from_bytes(head)


def test_unknown_sections_are_skipped_or_refused_by_name() -> None:
    assert Container.from_bytes(file_of([(OPTIONAL, 0, 0, 64, 2)], b"ab")).read(OPTIONAL, 0) == b"ab"
    with pytest.raises(FormatError, match=r"needs fieldcodec format 1\.7 or newer"):
        Container.from_bytes(file_of([(OPTIONAL, 1, 0, 64, 2)], b"ab", (1, 7)))


def test_versions() -> None:
    newer_minor = Container.from_bytes(file_of([(OPTIONAL, 2, 0, 64, 2)], b"ab", (1, 9)))  # a flag of the future
    assert newer_minor.version == (1, 9)
    with pytest.raises(FormatError, match=r"format 2\.0, this release reads 1\.x"):
        Container.from_bytes(file_of([], b"", (2, 0)))


def test_foreign_files() -> None:
    with pytest.raises(FormatError, match=r"not a \.fcodec file"):
        Container.from_bytes(b" BDV\0\0\0\0" + bytes(100))
    with pytest.raises(FormatError, match="cut"):
        Container.from_bytes(b"")


def test_text_mode_damage_is_noticed() -> None:
    data = small().to_bytes()
    with pytest.raises(FormatError):
        Container.from_bytes(data.replace(b"\r\n", b"\n"))


def test_save_and_open(tmp_path: Path) -> None:
    path = tmp_path / "a.fcodec"
    save_container(path, small())
    with open_container(path) as container:
        assert container.read(OPTIONAL, 1) == b"leaves"
        save_container(tmp_path / "b.fcodec", container)
    assert (tmp_path / "b.fcodec").read_bytes() == path.read_bytes()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        save_container(path, Container([]))
    save_container(path, Container([]), overwrite=True)
    with open_container(path) as container:
        assert len(container) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.fcodec", "b.fcodec"]


def test_open_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.fcodec"):
        open_container(tmp_path / "missing.fcodec")
    (tmp_path / "empty.fcodec").touch()
    with pytest.raises(FormatError, match=r"empty\.fcodec.*cut"):
        open_container(tmp_path / "empty.fcodec")


def test_bad_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        save_container(tmp_path, small(), overwrite=True)
    with pytest.raises(InputError, match="does not exist"):
        save_container(tmp_path / "no" / "a.fcodec", small())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full")
def test_no_space_left_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        with open("/dev/full", "wb", buffering=0) as device:
            device.write(b"x")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(InputError, match=os.strerror(errno.ENOSPC)):
        save_container(tmp_path / "a.fcodec", small())
    assert list(tmp_path.iterdir()) == []


def test_interruption_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def chunks():  # type: ignore[no-untyped-def]
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(path, chunks(), overwrite=True)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_a_view_is_verified_and_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "a.fcodec"
    save_container(path, small())
    opened = open_container(path)
    view = opened.view(OPTIONAL, 1)
    assert bytes(view) == b"leaves"
    assert not isinstance(view.obj, bytes)
    again = Container([Section(OPTIONAL, view, grid=1, must_understand=False)])
    assert Container.from_bytes(again.to_bytes()).read(OPTIONAL, 1) == b"leaves"
    assert bytes(small().view(OPTIONAL, 1)) == b"leaves"
    damaged = Container.from_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(FormatError, match="checksum"):
        damaged.view(OPTIONAL, 1)
    with pytest.raises(FormatError, match="lacks the section"):
        opened.view(OPTIONAL, 7)
