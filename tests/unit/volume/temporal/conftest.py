"""Groups of predicted frames, which the conformance tests have."""

from pathlib import Path
from types import ModuleType

import pytest

from fieldcodec.testing.modules import load_module
from fieldcodec.volume import decode
from fieldcodec.volume.temporal.kept import MAX_BYTES, Kept


@pytest.fixture(scope="session")
def sequences() -> ModuleType:
    """The module `oracle_sequences`, with what other tests have encoded."""
    return load_module(Path(__file__).parents[3] / "conformance" / "oracle_sequences.py")


@pytest.fixture
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    """What keeps decoded references, empty."""
    kept = Kept(MAX_BYTES)
    monkeypatch.setattr(decode, "references", kept)
    return kept
