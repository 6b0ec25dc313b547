"""`torch` as an import name that thalweg answers to, and PyTorch undisturbed beside it."""

import importlib
import importlib.metadata
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import thalweg
from thalweg import mock_torch
from thalweg.interop.mock_torch.names import has_name, is_module, names

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def mocked():
    with mock_torch.enable():
        yield importlib.import_module("torch")
    assert sys.modules["torch"] is torch


def test_names_are_thalwegs(mocked):
    import torch.nn as nn
    import torch.nn.functional as F
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.modules.utils import _pair
    from torch.optim.adam import Adam
    from torch.utils.data import DataLoader
    from torch.utils.data.dataloader import default_collate

    assert nn.Linear is thalweg.nn.Linear and F.relu is thalweg.nn.functional.relu
    assert issubclass(nn.BatchNorm2d, _BatchNorm) and _pair(3) == (3, 3)
    assert Adam is thalweg.optim.Adam and DataLoader is thalweg.data.DataLoader
    assert default_collate is thalweg.data.default_collate
    from torch.nn.utils import weight_norm
    from torch.nn.utils.weight_norm import WeightNorm

    assert weight_norm is thalweg.nn.utils.weight_norm and callable(WeightNorm)
    assert mocked.nn.utils.weight_norm is weight_norm  # not the module of that name
    assert mocked.Tensor is thalweg.Tensor and mocked.float32 is thalweg.float32


def test_versions_compare(mocked):
    assert mocked.__version__ == "2.13.0" and mocked.__version__ >= (2, 9)
    assert not mocked.__version__ < "2.4" and mocked.version.cuda is None
    assert importlib.metadata.version("torch") == "2.13.0"


def test_the_real_torch_comes_back_undisturbed():
    before = {name: m for name, m in sys.modules.items() if name.partition(".")[0] == "torch"}
    relu = torch.nn.functional.relu
    with mock_torch.enable():
        inside = importlib.import_module("torch")
        inside.nn.functional.relu = None
        assert inside is not torch
        del inside.nn.functional.relu  # found anew when it is asked for
        assert inside.nn.functional.relu is thalweg.nn.functional.relu
    after = {name: m for name, m in sys.modules.items() if name.partition(".")[0] == "torch"}
    assert after == before and torch.nn.functional.relu is relu
    installed = importlib.metadata.version("torch")  # with or without the name of the build
    assert installed.partition("+")[0] == torch.__version__.partition("+")[0]


def test_packages_belong_to_the_torch_they_were_imported_with(tmp_path, monkeypatch):
    (tmp_path / "a_layer.py").write_text("from torch import nn\nclass Layer(nn.Module): pass\n")
    (tmp_path / "a_model.py").write_text("from a_layer import Layer\n")
    (tmp_path / "apart.py").write_text("import json\n")
    monkeypatch.syspath_prepend(tmp_path)
    real = importlib.import_module("a_model")
    apart = importlib.import_module("apart")
    with mock_torch.enable():
        mocked = importlib.import_module("a_model")
        assert importlib.import_module("apart") is apart
        assert issubclass(mocked.Layer, thalweg.nn.Module)
    assert importlib.import_module("a_model") is real and issubclass(real.Layer, torch.nn.Module)
    with mock_torch.enable():
        assert importlib.import_module("a_model") is mocked
    for name in ("a_model", "a_layer", "apart"):
        sys.modules.pop(name)


def test_enable_nests_and_disable_ends_it():
    with mock_torch.enable(), mock_torch.enable():
        assert mock_torch.is_enabled()
    assert not mock_torch.is_enabled()
    mock_torch.enable()
    assert importlib.import_module("torch") is not torch
    mock_torch.disable()
    assert importlib.import_module("torch") is torch
    with pytest.raises(RuntimeError, match="not enabled"):
        mock_torch.disable()


def test_a_missing_name_can_be_imported_annotated_subclassed_and_asked_for(mocked):
    from torch.distributed.fsdp import FullyShardedDataParallel as Missing
    from torch.fx import symbolic_trace

    def annotated(x: Missing | None) -> "Missing":
        return x

    class Derived(Missing):
        pass

    class Abstract(Missing, thalweg.nn.Module):
        pass

    decorated = symbolic_trace(annotated)
    assert not isinstance(3, Missing) and annotated(None) is None
    for use in (Missing, Derived, Abstract, lambda: Missing(3), lambda: Missing + 1,
                lambda: bool(Missing), lambda: Missing.wrap(2), lambda: decorated(1),
                lambda: Missing < 3, lambda: list(Missing)):  # fmt: skip
        with pytest.raises(mock_torch.MissingName) as raised:
            use()
        assert raised.value.name.startswith(("torch.distributed.fsdp.Fully", "torch.fx.symbolic"))
    assert "torch.distributed.fsdp.FullyShardedDataParallel" in mock_torch.asked()


def test_an_error_names_the_nearest(mocked):
    with pytest.raises(AttributeError, match=r"nearest: torch\.nn\.functional\.relu"):
        mocked.nn.functional.rleu  # noqa: B018
    with pytest.raises(mock_torch.MissingName, match=r"^torch\.lobpcg is not there in thalweg"):
        mocked.lobpcg(1)


def test_what_pytorch_lacks_is_lacking(mocked):
    assert not hasattr(mocked, "no_such_name") and not hasattr(mocked.nn, "NoSuchLayer")
    assert not hasattr(mocked, "scan") and not hasattr(mocked, "data")  # thalweg's own
    for name in ("torch._six", "torch.no_such_module", "torch.nn.no_such_module"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)


def test_decorators_with_arguments_are_put_off_while_importing(tmp_path, monkeypatch, mocked):
    (tmp_path / "exporter.py").write_text(
        textwrap.dedent("""
        from torch.onnx.symbolic_helper import parse_args
        import torch

        @parse_args("v", "i")
        def export(g, x):
            return x

        @torch.jit.script
        def double(x):
            return 2 * x

        if torch.ops.other.is_available():
            raise AssertionError
    """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    exporter = importlib.import_module("exporter")
    assert exporter.double(3) == 6
    with pytest.raises(mock_torch.MissingName, match="parse_args"):
        exporter.export(1, 2)


def test_questions_are_answered_truthfully(mocked):
    assert not mocked.cuda.is_available() and mocked.cuda.device_count() == 0
    assert not mocked.distributed.is_available() and not mocked.distributed.is_initialized()
    assert not mocked.backends.mps.is_available() and not mocked.accelerator.is_available()
    assert not mocked.jit.is_scripting() and not mocked.compiler.is_compiling()
    with pytest.raises(RuntimeError, match="runs on 'cpu' only"):
        mocked.cuda.current_device()
    with pytest.raises(RuntimeError, match="one process"):
        mocked.distributed.init_process_group("gloo")


def test_scripts_run_with_their_arguments(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent("""
        import sys, beside
        import torch
        assert __name__ == "__main__" and torch.nn.__name__ == "torch.nn"
        print(sys.argv[1:], beside.name, type(torch.ones(1)).__module__)
    """)
    )
    (tmp_path / "beside.py").write_text("name = 'beside'\n")
    command = [sys.executable, "-m", "thalweg.mock_torch"]
    done = subprocess.run([*command, script, "--lr", "1"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["['--lr',", "'1']", "beside", "thalweg.tensor.tensor"], done
    done = subprocess.run([*command, "-m", "json.tool", "--help"], cwd=ROOT, capture_output=True)
    assert done.returncode == 0
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 2


def test_the_list_of_names_is_that_of_this_pytorch():
    for module in ("torch", "torch.nn", "torch.nn.functional", "torch.optim"):
        real = importlib.import_module(module)
        lacking = [n for n in names()[module] if not n.endswith("/") and not hasattr(real, n)]
        assert not lacking and len(names()[module]) > 10
    assert has_name("torch.nn", "Linear") and has_name("torch.nn", "Lineal") is False
    assert has_name("torch.fx", "Graph") is None  # not listed
    assert is_module("torch.nn.functional") and is_module("torch.nn.nothing") is False
    assert is_module("torch.fx.passes") is None


def test_a_training_script_trains(mocked):
    """The shape of most scripts: modules, a loader, an optimizer with a schedule, a checkpoint."""
    from torch import nn, optim
    from torch.amp import GradScaler, autocast
    from torch.utils.checkpoint import checkpoint
    from torch.utils.data import DataLoader, TensorDataset

    mocked.manual_seed(0)
    x = mocked.randn(32, 4)
    y = (x.sum(1) > 0).long()
    model = nn.DataParallel(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)))
    optimizer = optim.AdamW(model.parameters(), lr=0.05)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    scaler = GradScaler("cpu")
    losses = []
    for _ in range(8):
        for batch, target in DataLoader(TensorDataset(x, y), 16, shuffle=True):
            optimizer.zero_grad()
            with autocast("cpu", dtype=mocked.bfloat16):
                out = checkpoint(model, batch, use_reentrant=False)
                loss = nn.functional.cross_entropy(out, target)
            assert out.dtype is mocked.bfloat16 and loss.dtype is mocked.float32
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        scheduler.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


WEIGHTS = """
import sys, torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

with torch.device("meta"):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
given = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
assert not any(map(is_traceable_wrapper_subclass, given.parameters()))
save_file(given.state_dict(), sys.argv[1])
with safe_open(sys.argv[1], framework="pt", device="cpu") as file:
    state = {name: file.get_tensor(name) for name in file.keys()}
    half = file.get_slice("0.weight")[:2]
model.load_state_dict(state, assign=True)
x = torch.rand(5, 3)
assert torch.equal(model(x), given(x)) and torch.equal(half, given[0].weight[:2])
assert torch.equal(load_file(sys.argv[1])["0.bias"], given[0].bias)
print(torch.Tensor.__module__.partition(".")[0])
"""


def test_weights_by_safetensors_into_a_model_on_meta(tmp_path: Path) -> None:
    """What loaders of pretrained models do, with the package's own reader."""
    script = tmp_path / "weights.py"
    script.write_text(WEIGHTS)
    command = [sys.executable, "-m", "thalweg.mock_torch", script, tmp_path / "w.safetensors"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "thalweg\n", done.stderr
