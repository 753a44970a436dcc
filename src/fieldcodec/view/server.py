"""The server: the page's own files and the answers, to this machine only.

Three things keep others out. It binds to 127.0.0.1; every address begins with a random word that only the printed link
has; and requests for another host's name are refused, so that no foreign page reaches it by a name that it has pointed
here (DNS rebinding). Files are looked up in a table that is filled at the start, so a path cannot lead anywhere else.
"""

import json
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fieldcodec.errors import FieldcodecError, InputError, UsageError
from fieldcodec.view.answers import JSON, Answer, Answers, Query

_HOST = "127.0.0.1"
_NAMES = (_HOST, "localhost", "[::1]")  # what the Host header may say; any port, for those who forward one
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_MOST_PARAMETERS = 16
_IDLE_SECONDS = 60


class _RefusedError(Exception):
    """A request that is refused, and why."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class ViewServer(ThreadingHTTPServer):
    """Serves until it is closed; `address` is the link to the page."""

    daemon_threads = True  # a browser's open connections do not keep the program alive
    allow_reuse_address = False

    def __init__(self, answers: Answers, port: int = 0) -> None:
        """
        Args:
            port: 0 for any that is free.

        Raises:
            UsageError: there is no such port.
            InputError: the port is taken.
        """
        if not 0 <= port <= 65535:
            raise UsageError(f"port {port} does not exist; use 1 to 65535, or 0 for any that is free")
        self.answers, self.word = answers, secrets.token_urlsafe(16)
        self.pages = _static_files()
        try:
            super().__init__((_HOST, port), _Handler)
        except OSError as error:
            raise InputError(f"port {port} cannot be used: {error.strerror or error}; choose another --port") from error

    @property
    def address(self) -> str:
        return f"http://{_HOST}:{self.server_port}/{self.word}/"


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    server_version = "fieldcodec"
    sys_version = ""
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        self._respond(has_body=True)

    def do_HEAD(self) -> None:
        self._respond(has_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal belongs to the person."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses, such as other methods; in JSON like all errors."""
        self.close_connection = True
        self._send(HTTPStatus(code), _error(message or HTTPStatus(code).phrase), has_body=True)

    def _respond(self, *, has_body: bool) -> None:
        try:
            status, answer = HTTPStatus.OK, self._answer()
        except _RefusedError as refused:
            status, answer = refused.status, _error(str(refused))
        except FieldcodecError as error:
            status, answer = HTTPStatus.BAD_REQUEST, _error(str(error))
        except MemoryError:
            status, answer = HTTPStatus.INTERNAL_SERVER_ERROR, _error("this does not fit into memory")
        except Exception as error:  # the page shows it; the server goes on
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            answer = _error(f"internal error: {type(error).__name__}: {error}; please report it")
        self._send(status, answer, has_body=has_body)

    def _answer(self) -> Answer:
        host = self.headers.get("Host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name.lower() not in _NAMES:
            raise _RefusedError(HTTPStatus.FORBIDDEN, f"this server answers as {_HOST} only, not as {name!r}")
        address = urlsplit(self.path)
        begin = f"/{self.server.word}/"
        if not address.path.startswith(begin):
            raise _RefusedError(HTTPStatus.NOT_FOUND, "there is nothing here; use the whole link that was printed")
        rest = address.path.removeprefix(begin)
        page = self.server.pages.get(rest)
        if page is not None:
            return page
        find = self.server.answers.by_name.get(rest.removeprefix("api/")) if rest.startswith("api/") else None
        if find is None:
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"there is no {rest!r}")
        return find(Query(_parameters(address.query)))

    def _send(self, status: HTTPStatus, answer: Answer, *, has_body: bool) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(sum(map(len, answer.parts))))
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            for part in answer.parts if has_body else ():
                self.wfile.write(part)
        except ConnectionError:  # the page no longer wants it
            self.close_connection = True


def _parameters(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=_MOST_PARAMETERS)
    except ValueError as error:
        raise UsageError(f"the parameters are not understood: {error}") from None
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise UsageError("a parameter is given twice")
    return dict(pairs)


def _error(message: str) -> Answer:
    return Answer(JSON, [json.dumps({"error": message}).encode("utf-8")])


def _static_files() -> dict[str, Answer]:
    """Path below the random word -> file; the page itself is the empty path."""
    found: dict[str, Answer] = {}
    _collect(found, files("fieldcodec.view") / "static", "")
    found[""] = found.pop("index.html")
    return found


def _collect(found: dict[str, Answer], folder: Traversable, prefix: str) -> None:
    for item in folder.iterdir():
        if item.is_dir():
            _collect(found, item, f"{prefix}{item.name}/")
        elif (kind := _TYPES.get(f".{item.name.rpartition('.')[2]}")) is not None:
            found[prefix + item.name] = Answer(kind, [item.read_bytes()])
