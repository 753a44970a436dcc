"""What all tests share: markers, real data and the judge from the environment, small volumes."""

import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.jit import RowKernel
from fieldcodec.threads import VARIABLE

OnThreads = Callable[[int, Callable[[], Any]], Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests skip politely, but fail where a GPU is promised (FAIL_WITHOUT_GPU=1)."""
    marked = [item for item in items if item.get_closest_marker("needs_gpu")]
    if not marked or os.environ.get("FAIL_WITHOUT_GPU", "0") not in ("", "0"):
        return
    import torch  # only where a test asks for it

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


def _named_by(variable: str, what: str) -> Path:
    """What an environment variable names; the test is skipped where it names nothing."""
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"{variable} does not name {what}")
    return Path(path)


@pytest.fixture
def on_threads(monkeypatch: pytest.MonkeyPatch) -> OnThreads:
    """What a function gives where kernels share their rows, however few, among so many threads."""

    def parts(_: RowKernel, rows: int, threads: int) -> int:
        return min(rows, 2 * threads) if threads > 1 else 1

    def run(threads: int, function: Callable[[], Any]) -> Any:
        with monkeypatch.context() as patched:
            patched.setenv(VARIABLE, str(threads))
            patched.setattr(RowKernel, "_num_parts", parts)
            return function()

    return run


@pytest.fixture
def decoded_leaves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many leaves are decoded, one entry for each time."""
    from fieldcodec.volume.leaf_values import LeafValues  # only where a test asks for it

    counts: list[int] = []
    decode = LeafValues.leaves

    def counted(values: LeafValues, rows: np.ndarray | slice) -> np.ndarray:
        result = decode(values, rows)
        counts.append(len(result))
        return result

    monkeypatch.setattr(LeafValues, "leaves", counted)
    return counts


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real volumes named by FIELDCODEC_DATA."""
    return _named_by("FIELDCODEC_DATA", "a folder of real volumes")


@pytest.fixture(scope="session")
def vdb_judge() -> Path:
    """The program that compares .vdb files with a real OpenVDB, named by FIELDCODEC_VDB_JUDGE."""
    return _named_by("FIELDCODEC_VDB_JUDGE", "a program with an independent OpenVDB")


@pytest.fixture(scope="session")
def samplers() -> Path:
    """The program built from benchmarks/nanovdb_samplers.cc, named by FIELDCODEC_SAMPLERS."""
    return _named_by("FIELDCODEC_SAMPLERS", "a program with OpenVDB's and NanoVDB's samplers")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of the conformance data, `.vdb` and `.nvdb`, by their names."""
    folder = tmp_path_factory.mktemp("corpus")
    for archive in ("vdb_conformance.tar.xz", "nanovdb_conformance.tar.xz"):
        with tarfile.open(Path(__file__).parent / "conformance" / "data" / archive) as files:
            files.extractall(folder, filter="data")
    return {path.name: path for path in folder.rglob("*.*vdb")}


@pytest.fixture(scope="session")
def small_fog() -> SparseGrid:
    """A ball of uneven fog about 24 voxels across: a few leaves, enough active voxels for a network."""
    axis = np.arange(24) - 11.5
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    waves = 1 + 0.3 * np.sin(axis[:, None, None] / 3 + axis[None, :, None] / 5) * np.cos(axis[None, None, :] / 4)
    density = (np.clip(1.2 - radius / 11, 0, None) * waves).astype(np.float32)
    return grid_of_dense("density", density, density > 0, origin=(-5, 3, 9), grid_class="fog volume")
