"""Pages of HTML."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from fieldcodec.render import page

_VOID = {"meta", "img"}


class _Balance(HTMLParser):
    """Checks that elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        assert tag not in _VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_sound(text: str) -> None:
    """Elements are closed, and nothing is loaded from anywhere."""
    parser = _Balance()
    parser.feed(text)
    assert not parser.open
    assert not re.search(r"(src|href)=[\"'](?!data:)", text)
    assert "http" not in text


def test_a_page_is_sound_and_escapes_what_it_shows() -> None:
    bad = '<script>alert("x")</script>&'
    counts = np.array([0, 5, 1_000_000])
    text = page.page(
        bad,
        [
            page.heading(bad), page.paragraph(bad, is_faint=True), page.cards([(bad, bad)]), page.details(bad, bad),
            page.table([bad, "n"], [[bad, bad]], ["#123456"]), page.picture(Image.new("RGB", (4, 4)), bad),
            page.pair(page.share_bar([(bad, 3), ("b", 1)], page.PALETTE[:2]), ""),
            page.histogram(-1, 1, [(bad, counts), ("other", counts)], is_log=True, unit=bad),
            page.line_chart({bad: [(100, 1.0), (1e6, 2.0)], "one": [(2e9, 3.0)]}, bad, bad, (500, 1.5)),
        ],
    )  # fmt: skip
    assert_sound(text)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 12


def test_shares_fill_the_bar() -> None:
    bar = page.share_bar([("a", 3), ("b", 1)], page.PALETTE[:2])
    assert re.findall(r'width="([0-9.]+)"', bar) == ["750.00", "250.00"]
    assert "a: 75.0 %" in bar
    assert_sound(page.share_bar([("nothing", 0)], page.PALETTE[:1]))


def test_charts_of_nothing_and_of_points_at_infinity() -> None:
    assert page.line_chart({"lossless": [(5.0, np.inf)]}, "x", "y") == ""
    chart = page.line_chart({"a": [(10.0, 1.0), (20.0, np.inf)]}, "x", "y")
    assert "nan" not in chart
    assert "inf" not in chart
    assert chart.count("<circle") == 1
    assert "nan" not in page.histogram(0, 1, [("none", np.zeros(3, int))])


def test_pictures_are_png() -> None:
    data = re.search(r"base64,([^\"]+)", page.picture(Image.new("RGB", (4, 4), (255, 0, 0)), "red"))
    assert data is not None
    assert base64.b64decode(data[1]).startswith(b"\x89PNG")
