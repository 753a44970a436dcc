"""The documentation is tried: python blocks run, commands and flags exist, links resolve."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fieldcodec as fc
from fieldcodec import cli
from fieldcodec.cli.collection import ACTIONS
from fieldcodec.grid.sparse_grid import SparseGrid

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks" / "README.md",
    ROOT / "examples" / "README.md",
]
NOT_RUN = "<!-- not run:"  # followed by the reason, on the line before a block
OTHER_PROGRAMS = {
    "--index-url",
    "--extra-index-url",
    "--data",
}  # flags of pip and benchmarks/run.py that a page may mention
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"(?P<before>[^\n]*)\n```(?P<language>\w*)\n(?P<code>.*?)```", re.DOTALL)
INLINE_FLAG = re.compile(r"`[^`\n]*?(--[a-z][a-z0-9-]*)[^`\n]*`")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _blocks(path: Path, language: str) -> list[str]:
    found = BLOCK.finditer("\n" + path.read_text(encoding="utf-8"))
    return [match["code"] for match in found if match["language"] == language and NOT_RUN not in match["before"]]


def test_pages_are_found() -> None:
    assert len(PAGES) >= 12
    assert all(path.is_file() for path in PAGES)
    assert sum(len(_blocks(path, "python")) for path in PAGES) >= 4


@pytest.mark.parametrize("path", [page for page in PAGES if _blocks(page, "python")], ids=_name)
def test_python_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_fog: SparseGrid) -> None:
    """All blocks of a page run in one namespace, in a folder with a small smoke.vdb."""
    fc.write_volumes(tmp_path / "smoke.vdb", fc.VolumeFile((small_fog,)))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"np": np}
    for number, code in enumerate(_blocks(path, "python")):
        exec(compile(code, f"{_name(path)}, block {number}", "exec"), names)


@pytest.fixture(scope="session")
def flags_of() -> dict[str, set[str]]:
    """Command -> its flags, as its own help prints them, those of its kinds and actions included."""
    flags = {command: set(_help_flags(command)) for command in cli.COMMANDS}
    flags["encode"] |= set(_help_flags("encode", "--collection"))
    for action in ACTIONS:
        flags["collection"] |= set(_help_flags("collection", action))
    return flags


def _help_flags(*command: str) -> Iterator[str]:
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main([*command, "--help"]) == 0
    yield from re.findall(r"(?<![\w-])(--?[a-z][a-z0-9-]*)", out.getvalue())


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_commands_and_flags_exist(path: Path, flags_of: dict[str, set[str]]) -> None:
    every = set().union(*flags_of.values(), {"--version", "--debug", "--help"}, OTHER_PROGRAMS)
    for code in _blocks(path, "sh") + _blocks(path, "bash"):
        for line in code.splitlines():
            for command in re.split(r"&&|\|", line.partition(" #")[0]):
                words = shlex.split(command)
                if not words or not words[0].endswith("fieldcodec"):
                    continue
                if words[1].startswith("-"):
                    assert words[1] in every
                    continue
                assert words[1] in cli.COMMANDS, line
                flags = {word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
                assert flags <= flags_of[words[1]], line
    if path.parent.name != "benchmarks":
        mentioned = set(INLINE_FLAG.findall(path.read_text(encoding="utf-8")))
        assert mentioned <= every, f"unknown flags: {sorted(mentioned - every)}"


def test_every_command_is_documented() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for command in cli.COMMANDS:
        assert f"fieldcodec {command}" in text
        assert f"`{command}`" in page


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_links_resolve(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        page = (path.parent / name).resolve() if name else path
        assert page.exists(), f"{target} does not exist"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, f"{target} has no such heading"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_exit_codes_are_documented() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for code in fc.errors.ExitCode:
        assert re.search(rf"^\| {int(code)} \|", page, re.MULTILINE), f"{code!r} is missing"
