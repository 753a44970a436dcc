"""A tiny network fitted to a coloured sphere, once for all tests of this folder."""

import pytest

from fieldcodec.testing.spheres import Fitted, fitted_sphere


@pytest.fixture(scope="session")
def fitted() -> Fitted:
    return fitted_sphere()
