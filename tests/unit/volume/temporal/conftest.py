"""Groups of predicted frames, which the conformance tests have."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fieldcodec.volume import decode
from fieldcodec.volume.temporal.kept import MAX_BYTES, Kept


@pytest.fixture(scope="session")
def sequences() -> ModuleType:
    """The module `oracle_sequences`, with what other tests have encoded."""
    name = "oracle_sequences"
    if name not in sys.modules:
        path = Path(__file__).parents[3] / "conformance" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    """What keeps decoded references, empty."""
    kept = Kept(MAX_BYTES)
    monkeypatch.setattr(decode, "references", kept)
    return kept
