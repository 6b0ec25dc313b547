"""Models that import torch, unmodified, under PyTorch and under thalweg: equal numbers throughout.

The comparison is that of `scripts/compatibility`, which runs it over packages of others.
"""

import importlib
import sys
import warnings

import numpy as np
import pytest
import torch

from benchmarks.compatibility import child
from benchmarks.compatibility.catalogue import Case, integers, normal
from benchmarks.compatibility.compare import compare
from thalweg import mock_torch
from thalweg.core import flags

MODELS = {
    "LanguageModel": ((integers(17, 2, 8), integers(17, 2, 8, seed=2)), "AdamW"),
    "Classifier": ((normal(4, 3, 16, 16), integers(5, 4)), "SGD"),
    "Recurrent": ((normal(3, 6, 6), np.array([6, 3, 5])), "SGD"),
    "Autoencoder": ((normal(5, 8), normal(5, 3, seed=2)), "Adam"),
}
FURTHER = {
    "AudioCodec": ((normal(2, 1, 64),), "AdamW"),
    "GraphAttention": (
        (normal(6, 5), integers(6, 2, 14), integers(3, 14, 2, seed=3)), "SGD",
    ),
    "StateSpace": ((normal(2, 10, 4),), "SGD"),
}  # fmt: skip


@pytest.fixture
def models(monkeypatch):
    """Gives the module of models as the torch in force imports it."""
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    names = ("models_in_torch", "models_of_further_kinds")
    yield lambda number=0: importlib.import_module(names[number])
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", [*MODELS, *FURTHER])
def test_a_model_trains_to_the_same_numbers(name, models, tmp_path):
    inputs, optimizer = (MODELS | FURTHER)[name]
    backend = "native" if name in FURTHER else flags.backend

    def model():
        return getattr(models(int(name in FURTHER)), name)()

    def build():
        return Case(model(), inputs, loss=lambda r: r, optimizer=optimizer)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weight_norm's own deprecation
        child.reference(build, tmp_path, name)
        with mock_torch.enable(), flags.override(backend=backend), child.Compiled() as compiled:
            child.candidate(build, tmp_path, name, compiled)
    if backend == "native":
        assert compiled.kernels >= 20 and not compiled.on_numpy and compiled.seconds > 0
    result = compare(tmp_path, name)
    assert not result["failures"], "\n".join(result["failures"])
    assert result["worst"]["gradient"] < 1e-3 and not result["exact"]
    back = torch.load(child.file_of(tmp_path, name, ".thalweg.pt"), weights_only=True)
    model().load_state_dict(back)


def test_a_wrong_gradient_is_noticed(models, tmp_path):
    name = "Autoencoder"

    def build():
        made = Case(models().Autoencoder(), MODELS[name][0], loss=lambda r: r)
        if mock_torch.is_enabled():
            made.model.encode.weight.register_hook(lambda g: g * 1.001)
        return made

    child.reference(build, tmp_path, name)
    with mock_torch.enable():
        child.candidate(build, tmp_path, name)
    failures = compare(tmp_path, name)["failures"]
    assert any(f.startswith("gradient.encode.weight is off by") for f in failures)


def test_every_line_of_the_catalogue_has_what_it_needs():
    from benchmarks.compatibility.catalogue import load

    entries = load()
    assert len(entries) >= 100 and all(e.kind and e.needs for e in entries.values())
    kinds = {e.kind for e in entries.values()}
    assert {"segmentation", "language model", "GAN", "VAE", "audio", "graph network"} <= kinds
