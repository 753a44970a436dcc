"""The server: who may ask, what is answered to bad questions, and that the page needs nothing from elsewhere."""

import hashlib
import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

import fieldcodec.view
from fieldcodec.errors import InputError, UsageError
from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.view.answers import Answers
from fieldcodec.view.server import ViewServer
from fieldcodec.view.source import Frame, GridEntry, Pair, Source

STATIC = Path(fieldcodec.view.__file__).parent / "static"
OWN = [path for path in STATIC.rglob("*.*") if "vendor" not in path.parts]


@pytest.fixture(scope="module")
def server(fog_pair: Pair) -> Iterator[ViewServer]:
    assert fog_pair.original
    entry = GridEntry("density", "float", "fog volume", 1000, 100)
    source = Source.of(Frame((entry,), lambda row: fog_pair.decoded, VolumeFile((fog_pair.original,))))
    with ViewServer(Answers(source, {"file": "x.fcodec"})) as made:
        thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join(5)
    assert not thread.is_alive()


def _get(
    server: ViewServer, path: str, *, host: str | None = None, method: str = "GET", below: bool = True
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest(method, f"/{server.word}/{path}" if below else path, skip_host=True)
    connection.putheader("Host", f"127.0.0.1:{server.server_port}" if host is None else host)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def _refused(answer: HTTPResponse, body: bytes, status: int) -> str:
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json"
    message = json.loads(body)["error"]
    assert message
    return str(message)


def test_the_page_and_its_files(server: ViewServer) -> None:
    answer, body = _get(server, "")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    named = re.findall(r'(?:src|href)="([^"]+)"', body.decode())
    assert len([name for name in named if not name.startswith("data:")]) == 2
    for name in ["style.css", *(f"js/{path.name}" for path in (STATIC / "js").iterdir()), "vendor/three.js"]:
        found, data = _get(server, name)
        assert found.status == 200, name
        assert found.headers["Content-Type"].startswith("text/css" if name.endswith("css") else "text/javascript")
        assert data == (STATIC / name).read_bytes()


def test_modules_name_files_that_exist() -> None:
    for path in (STATIC / "js").iterdir():
        for name in re.findall(r'from "([^"]+)"', path.read_text(encoding="utf-8")):
            assert (path.parent / name).is_file(), f"{path.name} imports {name}"


def test_nothing_comes_from_elsewhere() -> None:
    assert len(OWN) >= 9
    for path in OWN:
        assert not re.search(r"https?:|//[a-z0-9.-]+\.[a-z]{2,}/", path.read_text(encoding="utf-8")), path.name
    library = (STATIC / "vendor" / "three.js").read_text(encoding="utf-8")
    assert not re.search(r"\bimport\s*[({\"']|\bfetch\(\s*[\"']", library)


def test_the_library_is_the_one_described() -> None:
    vendor = STATIC / "vendor"
    digest = hashlib.sha256((vendor / "three.js").read_bytes()).hexdigest()
    assert digest in (vendor / "README.md").read_text(encoding="utf-8")
    assert (vendor / "LICENSE").read_text(encoding="utf-8").startswith("The MIT License")
    assert (vendor / "three.js").stat().st_size < 700_000


def test_questions_are_answered(server: ViewServer) -> None:
    answer, body = _get(server, "api/about")
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(body)["file"] == "x.fcodec"
    answer, body = _get(server, "api/layer?axis=2&index=12&which=error")
    assert answer.status == 200
    assert len(body) == int(answer.headers["Content-Length"])
    head, empty = _get(server, "api/layer?axis=2&index=12&which=error", method="HEAD")
    assert head.headers["Content-Length"] == answer.headers["Content-Length"]
    assert empty == b""


@pytest.mark.parametrize(
    "host", ["example.org", "example.org:80", "127.0.0.1.example.org", "", "[::2]", "localhost.x:1"]
)
def test_foreign_names_are_refused(server: ViewServer, host: str) -> None:
    for path in ("", "api/about"):
        assert "127.0.0.1 only" in _refused(*_get(server, path, host=host), 403)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8080", "LOCALHOST", "[::1]:99"])
def test_names_of_this_machine_are_not(server: ViewServer, host: str) -> None:
    assert _get(server, "api/about", host=host)[0].status == 200


@pytest.mark.parametrize("path", ["/", "/index.html", "/api/about", "/wrong/api/about", "/wrong/"])
def test_the_word_is_needed(server: ViewServer, path: str) -> None:
    assert "whole link" in _refused(*_get(server, path, below=False), 404)


@pytest.mark.parametrize(
    "path",
    [
        "../server.py", "js/../../server.py", "%2e%2e/server.py", "..%2fserver.py", "/etc/passwd", "//etc/passwd",
        "js/", "js", "index.html", "vendor/README.md", "vendor/entry.mjs", "api/", "api/nothing", "api/about/x",
        "api/__class__", "..\\server.py",
    ],
)  # fmt: skip
def test_other_paths_lead_nowhere(server: ViewServer, path: str) -> None:
    _refused(*_get(server, path), 404)


@pytest.mark.parametrize(
    "query",
    [
        "grid?grid=7", "grid?grid=-1", "grid?grid=", "grid?grid=0&grid=0", "grid?x=1", "grid?grid", "layer?axis=0",
        "surface?iso=inf", "volume?size=1e3", "layer?" + "&".join(f"p{n}=1" for n in range(40)), "about?x",
    ],
)  # fmt: skip
def test_bad_parameters_are_named(server: ViewServer, query: str) -> None:
    _refused(*_get(server, f"api/{query}"), 400)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(server: ViewServer, method: str) -> None:
    _refused(*_get(server, "api/about", method=method), 501)


def test_faults_of_ours_are_told_and_survived(server: ViewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(server.answers.by_name, "about", lambda query: 1 / 0)
    assert "ZeroDivisionError" in _refused(*_get(server, "api/about"), 500)
    monkeypatch.undo()
    assert _get(server, "api/about")[0].status == 200


def test_only_this_machine_is_bound(server: ViewServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    address = urlsplit(server.address)
    assert address.port == server.server_port
    assert len(address.path.strip("/")) >= 20


def test_ports(server: ViewServer) -> None:
    with pytest.raises(InputError, match="--port"):
        ViewServer(server.answers, server.server_port)
    with pytest.raises(UsageError, match="65535"):
        ViewServer(server.answers, 70000)
