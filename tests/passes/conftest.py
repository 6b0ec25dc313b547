"""References run as `evaluate` runs them, with floating-point warnings off."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield
