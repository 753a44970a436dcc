"""The README's two commands are what CI and this test run them as."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _setup_commands(path: Path) -> list[str]:
    return [
        line.strip()
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("python3 -m venv .venv")
    ]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    demo, tests = _setup_commands(ROOT / "README.md")
    assert demo.endswith("fieldcodec demo")
    assert tests.endswith("-m pytest")
    assert _setup_commands(ROOT / ".ci" / "run") == [tests]
    assert _setup_commands(ROOT / "CONTRIBUTING.md") == [tests]


def test_torch_is_pinned_only_in_the_constraints() -> None:
    assert re.search(r"^torch==\d", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert '"torch>=2.6"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_run(path: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "active voxels" in done.stdout
