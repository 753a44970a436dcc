"""Any sections come back; random bytes never do anything but raise FormatError."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.container.canonical_json import dump_json, load_json
from fieldcodec.container.container import Container, Section
from fieldcodec.container.format import MAGIC, WHOLE_FILE
from fieldcodec.errors import FormatError

SECTIONS = st.lists(
    st.builds(
        Section,
        id=st.integers(1, 65535),
        data=st.binary(max_size=50),
        grid=st.one_of(st.just(WHOLE_FILE), st.integers(0, 5)),
        must_understand=st.just(False),
    ),
    unique_by=lambda section: (section.id, section.grid),
    max_size=8,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@settings(max_examples=50, deadline=None)
@given(SECTIONS, st.randoms())
def test_round_trip(sections: list[Section], random) -> None:  # type: ignore[no-untyped-def]
    data = Container(sections).to_bytes()
    container = Container.from_bytes(data)
    assert {(s.id, s.grid): s.data for s in sections} == {tuple(key): container.read(*key) for key in container}
    random.shuffle(sections)
    assert Container(sections).to_bytes() == data


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes(data: bytes, with_magic: bool) -> None:
    try:
        Container.from_bytes((MAGIC if with_magic else b"") + data)
    except FormatError:
        return
    raise AssertionError("random bytes were taken for a file")


@settings(max_examples=50, deadline=None)
@given(JSON)
def test_json_round_trip(value: object) -> None:
    assert load_json(dump_json(value)) == value


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40))
def test_json_of_random_bytes(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        load_json(data)
