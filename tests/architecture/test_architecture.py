"""The rules of the code base that a program can check."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import TypeGuard

import pytest

import fieldcodec

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "fieldcodec"
MODULES = sorted(SOURCE.rglob("*.py"))
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
SELF_EVIDENT_LINES = 12  # a function below this may speak by its name and types


def test_modules_are_found() -> None:
    assert len(MODULES) > 40


def test_imports_point_down() -> None:
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_module_is_short_and_silent(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_MODULE_LINES
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"print in line {node.lineno}"
        if isinstance(node, ast.ImportFrom):
            assert node.module != "__future__", "no future imports"
        if isinstance(node, ast.Import):
            assert all(name.name != "pickle" for name in node.names), "no pickle"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_public_things_are_described(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.read_text(encoding="utf-8").strip():
        assert ast.get_docstring(tree), "the module has no docstring"
    missing = [node.name for node in tree.body if _is_public(node) and not ast.get_docstring(node)]
    assert not missing, f"without docstring: {', '.join(missing)}"


def _is_public(node: ast.stmt) -> TypeGuard[ast.ClassDef | ast.FunctionDef]:
    """Public classes, and public functions that are more than a few lines.

    `parse` and `run` of the subcommands are described once, in `fieldcodec.cli`.
    """
    if isinstance(node, ast.FunctionDef):
        is_small = (node.end_lineno or 0) - node.lineno < SELF_EVIDENT_LINES
        return not (is_small or node.name.startswith("_") or node.name in ("parse", "run"))
    return isinstance(node, ast.ClassDef) and not node.name.startswith("_")


def _modules_after(code: str) -> set[str]:
    """Names of the modules loaded by a fresh interpreter that runs `code`."""
    script = code + "\nimport sys; sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_import_is_light() -> None:
    assert "torch" not in _modules_after("import fieldcodec")


def test_info_does_not_import_torch(tmp_path: Path, small_fog: fieldcodec.SparseGrid) -> None:
    volume, small = tmp_path / "fog.vdb", tmp_path / "fog.fcodec"
    fieldcodec.write_volumes(volume, fieldcodec.VolumeFile((small_fog,)))
    fieldcodec.encode_volume(small_fog, fieldcodec.VolumeSettings(epochs=5, value_width=16)).save(small)
    for path in (volume, small):
        loaded = _modules_after(f"from fieldcodec.cli import main; assert main(['info', {os.fspath(path)!r}]) == 0")
        assert "torch" not in loaded


def test_every_error_has_an_exit_code() -> None:
    errors = [value for value in vars(fieldcodec.errors).values() if isinstance(value, type)]
    raised = [kind for kind in errors if issubclass(kind, fieldcodec.errors.FieldcodecError)]
    assert len(raised) >= 9
    for kind in raised:
        assert kind.exit_code in fieldcodec.errors.ExitCode
        assert kind.exit_code is not fieldcodec.errors.ExitCode.OK
