"""What all tests share: markers, real data and the judge from the environment, small volumes."""

import os
from pathlib import Path

import numpy as np
import pytest

from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.sparse_grid import SparseGrid


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests skip politely, but fail where a GPU is promised (FAIL_WITHOUT_GPU=1)."""
    marked = [item for item in items if item.get_closest_marker("needs_gpu")]
    if not marked or os.environ.get("FAIL_WITHOUT_GPU", "0") not in ("", "0"):
        return
    import torch  # only where a test asks for it

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real volumes named by FIELDCODEC_DATA."""
    folder = os.environ.get("FIELDCODEC_DATA")
    if not folder:
        pytest.skip("FIELDCODEC_DATA does not name a folder of real volumes")
    return Path(folder)


@pytest.fixture(scope="session")
def vdb_judge() -> Path:
    """The program that compares .vdb files with a real OpenVDB, named by FIELDCODEC_VDB_JUDGE."""
    program = os.environ.get("FIELDCODEC_VDB_JUDGE")
    if not program:
        pytest.skip("FIELDCODEC_VDB_JUDGE does not name a program with an independent OpenVDB")
    return Path(program)


@pytest.fixture(scope="session")
def small_fog() -> SparseGrid:
    """A ball of uneven fog about 24 voxels across: a few leaves, enough active voxels for a network."""
    axis = np.arange(24) - 11.5
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    waves = 1 + 0.3 * np.sin(axis[:, None, None] / 3 + axis[None, :, None] / 5) * np.cos(axis[None, None, :] / 4)
    density = (np.clip(1.2 - radius / 11, 0, None) * waves).astype(np.float32)
    return grid_of_dense("density", density, density > 0, origin=(-5, 3, 9), grid_class="fog volume")
