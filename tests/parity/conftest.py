"""One thread for both libraries: the models are small, and their threads would fight for cores."""

import pytest
import torch

import thalweg


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    before = thalweg.get_num_threads(), torch.get_num_threads()
    thalweg.set_num_threads(1)
    torch.set_num_threads(1)
    yield
    thalweg.set_num_threads(before[0])
    torch.set_num_threads(before[1])
