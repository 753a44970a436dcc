"""JSON in few bytes."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldcodec.container import packed_json
from fieldcodec.container.canonical_json import dump_json
from fieldcodec.container.packed_json import WORDS, pack_json, unpack_json
from fieldcodec.errors import FormatError

DESCRIPTION = {"grids": [{"name": "density", "nodes": {"leaves": 12}, "tree": "explicit"}], "kind": "volume"}


def packed(plain: bytes, words: bytes = WORDS) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, words)
    return b"\0" + packer.compress(plain) + packer.flush()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_there_and_back(value: object) -> None:
    data = pack_json(value)
    assert unpack_json(data) == value
    assert len(data) <= len(dump_json(value))


def test_descriptions_shrink_to_a_third() -> None:
    assert len(pack_json(DESCRIPTION)) < len(dump_json(DESCRIPTION)) / 2.5


def test_plain_json_is_read_as_before() -> None:
    assert unpack_json(dump_json(DESCRIPTION)) == DESCRIPTION


def test_the_words_are_frozen() -> None:
    """They are part of the format."""
    assert len(WORDS) == 2198
    assert zlib.crc32(WORDS) == 3_152_952_864


def test_what_is_no_packed_json_is_a_format_error() -> None:
    data = pack_json(DESCRIPTION)
    for wrong in (
        b"",
        b"\0",
        data[:-1],
        data + b"x",
        b"\1" + data[1:],
        packed(b"{"),
        packed(b"{}", b"other words")[:2],
    ):
        with pytest.raises(FormatError):
            unpack_json(wrong)


def test_bombs_are_refused_before_they_unpack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_json, "MAX_META_BYTES", 1000)
    with pytest.raises(FormatError, match="more than 1000 bytes"):
        unpack_json(packed(b'"' + b"a" * 100_000 + b'"'))
