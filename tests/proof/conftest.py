"""Ops are proven as they run: floating-point warnings off, as `evaluate` has them."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield
