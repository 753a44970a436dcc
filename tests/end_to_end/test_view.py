"""`fieldcodec view` as a person meets it: the command, the page in a real browser, and the end by Ctrl-C."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

import fieldcodec as fc
from fieldcodec import cli
from fieldcodec.cli.view import View, open_source
from fieldcodec.grid.build import dense_of_grid, grid_of_dense
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.view.answers import Answers
from fieldcodec.view.server import ViewServer
from fieldcodec.view.source import Frame, GridEntry, Source

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run",
]  # fmt: skip
DESKTOP, PHONE = {"width": 1000, "height": 600}, {"width": 390, "height": 780}
LOW_HIGH = ((-8, 0, 8), (24, 32, 40))  # around the fog of all tests
PATIENCE = 30  # seconds; software draws slowly where other tests run beside


@dataclass
class Command:
    """A running `fieldcodec view`."""

    process: subprocess.Popen[str]
    link: str

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


@dataclass
class Tab:
    """The page, and what it complained about or asked of others."""

    page: Any
    errors: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def picture(self, selector: str) -> np.ndarray:
        """[H, W, 3] float: a part of the page as it is seen."""
        png = self.page.locator(selector).screenshot()
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.float64)

    def until(self, what: str, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < end, f"{what} did not come; the page says {self.message()!r}, {self.errors}"
            self.page.wait_for_timeout(50)

    def settle(self) -> None:
        """Until nothing is on its way and the picture in space is a fine one."""
        self.until("rest", lambda: self.page.locator(".busy:visible").count() == 0)
        self.page.wait_for_timeout(250)

    def changes(self, action: Callable[[], object], *selectors: str) -> None:
        """The action changes what is seen in all of these places."""
        before = {selector: self.picture(selector) for selector in selectors}
        action()
        for selector in selectors:
            self.until(f"a change of {selector}", lambda here=selector: _differ(before[here], self.picture(here)))
        self.settle()

    def message(self) -> str:
        shown = self.page.locator("#message:visible")
        return str(shown.inner_text()) if shown.count() else ""

    def slide(self, name: str, value: float) -> None:
        self.page.locator(name).fill(str(value))


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape != b.shape or float(np.abs(a - b).mean()) > 0.05


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, small_fog: SparseGrid) -> Path:
    """A folder with scene.vdb (fog, and a ball as level set) and scene.fcodec."""
    folder = tmp_path_factory.mktemp("view")
    volumes = fc.VolumeFile((small_fog, sphere_level_set(7.0, name="ball")))
    fc.write_volumes(folder / "scene.vdb", volumes)
    fc.encode_volume(volumes, fc.VolumeSettings(quality=fc.Quality(psnr=30))).save(folder / "scene.fcodec")
    return folder


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory, small_fog: SparseGrid) -> Path:
    """A folder with fog_3.vdb and fog_4.vdb, which is thinner and further along z, and with fog.fcodec of both."""
    folder = tmp_path_factory.mktemp("frames")
    fc.write_volumes(folder / "fog_3.vdb", fc.VolumeFile((small_fog,)))
    values = np.roll(dense_of_grid(small_fog, *LOW_HIGH)[0], 4, axis=2)[..., 0] * np.float32(0.6)
    moved = grid_of_dense("density", values, values > 0, origin=LOW_HIGH[0], grid_class="fog volume")
    fc.write_volumes(folder / "fog_4.vdb", fc.VolumeFile((moved,)))
    assert cli.main(["encode", str(folder / "fog_%d.vdb"), "-o", str(folder / "fog.fcodec"), "--no-check"]) == 0
    return folder


def _start(*arguments: object) -> Command:
    process = subprocess.Popen(
        [sys.executable, "-m", "fieldcodec", "view", *map(str, arguments), "--no-browser"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a test run may ignore it
    )  # fmt: skip
    assert process.stdout is not None
    return Command(process, process.stdout.readline().strip())


@pytest.fixture(scope="module")
def command(files: Path) -> Iterator[Command]:
    running = _start(files / "scene.fcodec", "--original", files / "scene.vdb")
    yield running
    if running.process.poll() is None:
        assert running.stop() == 0


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    module = pytest.importorskip("playwright.sync_api")
    with module.sync_playwright() as found:
        yield found


@pytest.fixture(scope="module")
def program() -> str:
    """A Chromium: named by FIELDCODEC_CHROMIUM, or on the path."""
    named = os.environ.get("FIELDCODEC_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if named is None:
        pytest.skip("no Chromium on the path, and FIELDCODEC_CHROMIUM names none")
    return named


@pytest.fixture(scope="module")
def browser(playwright: Any, program: str) -> Iterator[Any]:
    found = playwright.chromium.launch(executable_path=program, args=FLAGS)
    yield found
    found.close()


def _open(browser: Any, link: str, size: dict[str, int] = DESKTOP) -> Tab:
    tab = Tab(browser.new_page(viewport=size))
    tab.page.on("console", lambda said: tab.errors.append(said.text) if said.type in ("error", "warning") else None)
    tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.page.on("request", lambda request: tab.addresses.append(request.url))
    tab.page.goto(link)
    tab.until("the report", lambda: tab.page.locator("#report[aria-busy=false]").count() == 1)
    tab.settle()
    return tab


def _choose(tab: Tab, group: str, value: object) -> Callable[[], object]:
    return lambda: tab.page.locator(f'#{group} input[value="{value}"]').check()


def _read_off(tab: Tab) -> tuple[np.ndarray, float]:
    """Index and value of the voxel in the middle of the layer, as the page writes them below a pointer."""
    box = tab.page.locator("#layer").bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2 - 3)
    place, _, value = tab.page.locator("#plane-note").inner_text().partition(" = ")
    return np.array([float(part) for part in place.strip("()").split(",")]), float(value)


def test_the_page_shows_fog(command: Command, browser: Any, small_fog: SparseGrid) -> None:
    tab = _open(browser, command.link)
    press = tab.page.keyboard.press
    assert tab.picture("#stage").std() > 10
    assert tab.picture("#layer").std() > 10
    words = tab.page.locator("#report").inner_text()
    for expected in ("scene.vdb", "exact", "RMSE", "bits per active voxel", "leaf masks"):
        assert expected in words
    tab.changes(lambda: tab.slide("#index", 12), "#layer", "#stage")  # the frame of the layer moves too
    assert "z = 12" in tab.page.locator("#plane-title").inner_text()
    tab.changes(lambda: press("x"), "#layer")
    tab.changes(lambda: press("3"), "#stage", "#layer")
    assert "Error" in tab.page.locator("#space-title").inner_text()
    tab.changes(lambda: press("1"), "#stage", "#layer")
    index, value = _read_off(tab)
    assert value == pytest.approx(float(small_fog.sample(index, space="index", interpolation="nearest")[0]), rel=1e-5)
    assert value > 0
    tab.changes(lambda: tab.slide("#density", -12), "#stage")
    tab.changes(lambda: tab.slide("#cut", 60), "#stage")
    tab.changes(_choose(tab, "mode", "maximum"), "#stage")
    assert tab.errors == []
    assert len(tab.addresses) > 15
    assert all(address.startswith((command.link, "data:", "blob:")) for address in tab.addresses)
    tab.page.close()


def test_surfaces_follow_the_iso_value_and_the_hand(command: Command, browser: Any) -> None:
    tab = _open(browser, command.link)
    tab.changes(_choose(tab, "mode", "surface"), "#stage")
    triangles = tab.page.locator("#space-note").inner_text()
    tab.changes(lambda: tab.slide("#iso", 800), "#stage", "#layer")  # the line on the layer moves too
    assert tab.page.locator("#space-note").inner_text() != triangles
    box = tab.page.locator("#stage").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def drag() -> None:
        tab.page.mouse.move(*middle)
        tab.page.mouse.down()
        tab.page.mouse.move(middle[0] + 90, middle[1] + 40, steps=4)
        tab.page.mouse.up()

    tab.changes(drag, "#stage")
    tab.changes(lambda: tab.page.mouse.wheel(0, -400), "#stage")
    tab.page.locator("#stage").focus()
    tab.changes(lambda: tab.page.keyboard.press("ArrowLeft"), "#stage")
    tab.changes(lambda: tab.page.locator("#reset").click(), "#stage")
    tab.changes(lambda: tab.page.locator("#grid").select_option(label="ball"), "#stage", "#layer")
    assert "level set" in tab.page.locator("#summary").inner_text()
    tab.changes(lambda: tab.page.keyboard.press("3"), "#stage", "#layer")
    assert tab.message() == ""
    assert tab.errors == []
    tab.page.close()


def test_narrow_pages_have_one_column(command: Command, browser: Any) -> None:
    tab = _open(browser, command.link, PHONE)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    boxes = [tab.page.locator(name).bounding_box() for name in ("#space", "#plane", "#report")]
    assert all(box["width"] > 0.9 * PHONE["width"] for box in boxes)
    assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"]
    assert tab.errors == []
    tab.page.close()


def test_without_webgl_the_server_draws(command: Command, playwright: Any, program: str) -> None:
    flags = [flag for flag in FLAGS if "swiftshader" not in flag]
    plain = playwright.chromium.launch(executable_path=program, args=[*flags, "--disable-3d-apis"])
    tab = _open(plain, command.link)
    assert "No WebGL" in tab.page.locator("#space-note").inner_text()
    tab.until("a picture", lambda: tab.page.evaluate("document.querySelector('#stage img').naturalWidth") > 100)
    tab.settle()
    tab.changes(lambda: tab.page.keyboard.press("3"), "#stage", "#layer")
    tab.page.locator("#stage").focus()
    tab.changes(lambda: tab.page.keyboard.press("ArrowRight"), "#stage")
    assert tab.message() == ""
    plain.close()


def test_the_command_serves_until_it_is_interrupted(files: Path) -> None:
    running = _start(files / "scene.vdb", "--port", "0")
    with urlopen(running.link, timeout=20) as answer:
        assert b"<title>fieldcodec view</title>" in answer.read()
    assert running.stop() == 0
    out, err = running.process.communicate()
    assert out == ""  # the link was all
    assert "stopped" in err
    assert "Traceback" not in err


def test_bad_arguments_end_before_anything_is_served(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["view", str(files / "none.fcodec"), "--no-browser"]) == 3
    assert cli.main(["view", str(files / "scene.fcodec"), "--original", str(files / "none.vdb")]) == 3
    assert cli.main(["view", str(files / "scene.fcodec"), "--port", "70000", "--no-browser"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("fieldcodec: error: ") == 3


@contextmanager
def _served(source: Source, **about: object) -> Iterator[str]:
    """The link to a page about a source, served by this process."""
    facts = {"file": "x", "bytes": 1, "original": None, "original_bytes": None, **about}
    with ViewServer(Answers(source, facts)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server.address
        finally:
            server.shutdown()
            thread.join(5)


def test_frames_are_shown_one_after_another(frames: Path, browser: Any) -> None:
    """A compressed sequence beside the files that it was made from."""
    source = open_source(View(frames / "fog.fcodec", original=frames / "fog_%d.vdb"))
    with _served(source, original="fog_%d.vdb", original_bytes=100) as link:
        tab = _open(browser, link)
        assert tab.page.locator("#frame-text").inner_text() == "3"
        assert "exact" in tab.page.locator("#report").inner_text()
        first = tab.picture("#layer")
        tab.changes(lambda: tab.page.locator("#frame").fill("1"), "#stage", "#layer")
        assert tab.page.locator("#frame-text").inner_text() == "4"
        tab.changes(lambda: tab.page.keyboard.press("3"), "#stage", "#layer")
        tab.page.keyboard.press("2")
        tab.page.locator("#play").click()
        tab.until("another frame", lambda: tab.page.locator("#frame-text").inner_text() == "3")
        tab.page.locator("#play").click()
        tab.page.locator("#frame").fill("0")
        tab.settle()
        tab.until("the first picture", lambda: not _differ(tab.picture("#layer"), first))
        assert tab.errors == []
        tab.page.close()


def test_files_are_a_sequence_too(frames: Path) -> None:
    source = open_source(View(frames, original=frames))
    assert source.frames == ("3", "4")
    pair = source.pair(1, 0)
    assert pair.original is not None
    assert fc.compare_grids(pair.original, pair.decoded).is_exact
    for one, other in ((frames, frames / "fog_3.vdb"), (frames / "fog_3.vdb", frames)):
        with pytest.raises(fc.errors.UsageError, match="one is a sequence"):
            open_source(View(one, original=other))


def test_a_file_without_anything_to_see(browser: Any) -> None:
    ball = sphere_level_set(5.0, name="empty")
    empty = replace(ball, topology=replace(ball.topology, leaf_active=ball.topology.leaf_active & 0))
    source = Source.of(Frame((GridEntry("empty", "float", "level set", 0),), lambda row: empty))
    with _served(source) as link:
        tab = Tab(browser.new_page(viewport=DESKTOP))
        tab.page.goto(link)
        tab.until("the message", lambda: "no active voxels" in tab.message())
        assert not tab.page.locator("#which").is_visible()  # there is nothing to compare with
        tab.page.close()


def test_an_ended_server_is_told(command: Command, browser: Any) -> None:
    tab = _open(browser, command.link)
    assert command.stop() == 0
    tab.slide("#index", 11)
    tab.until("the message", lambda: "does not answer" in tab.message())
    tab.page.close()
