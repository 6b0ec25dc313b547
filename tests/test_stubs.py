"""Generated files are what the registries give now, and the stubs type-check user programs."""

import importlib.util
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

import thalweg
from thalweg.ops import FUNCTIONS
from thalweg.tensor import stubs

ROOT = Path(__file__).resolve().parents[1]

GOOD = """
import thalweg as torch
from thalweg import Tensor, nn
from thalweg.nn import functional as F


def loss(x: Tensor, w: Tensor) -> Tensor:
    hidden = F.relu(x @ w + 1.5)
    hidden = (2 * hidden).tanh()[0, 1:].sum(dim=-1, keepdim=True)
    hidden.add_(1)
    return torch.mean(hidden) / 2


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.layer(x))


w = torch.randn(3, 4, dtype=torch.float32, requires_grad=True)
value = loss(torch.ones(2, 3), w)
value.backward()
grad = w.grad
assert grad is not None
number: float = value.item()
shape: tuple[int, ...] = tuple(grad.shape)
mask: Tensor = grad == 0
out: Tensor = Net()(torch.zeros(2, 3).to(torch.float32)).T
with torch.no_grad():
    w -= 0.1 * grad
optimizer = torch.optim.SGD(Net().parameters(), lr=0.1)
optimizer.step()
"""

# Each line has one mistake that the stubs must let a type checker see.
BAD = """
import thalweg as torch
from thalweg.nn import functional as F

x = torch.ones(2, 3)
x.no_such_method()
F.relu("text")
x.sum(dims=0)
torch.no_such_function(x)
number: int = x.exp()
x + "text"
"""


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mypy")

    def run(text):
        program = folder / "program.py"
        program.write_text(text, encoding="utf-8")
        return subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent",
             "--no-error-summary", "--config-file=", "--cache-dir", str(folder / "cache"),
             str(program)],
            capture_output=True, text=True, cwd=folder, timeout=600,
            env={"MYPYPATH": str(ROOT), "PATH": ""},
        )  # fmt: skip

    return run


def test_generated_files_are_up_to_date():
    """In a process of its own, as users generate them: once something was compiled, machine code
    stands in for methods, whose signatures Python cannot tell."""
    path = ROOT / "scripts" / "generate"
    loader = SourceFileLoader("generate_script", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    assert {"docs/ops.md", *stubs.generate()} <= set(module.generated())
    run = subprocess.run(
        [sys.executable, path, "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, f"{run.stdout}{run.stderr}: run scripts/generate"


def test_every_public_function_is_in_the_stubs():
    made = stubs.generate()
    tensor, package = made["thalweg/tensor/tensor.pyi"], made["thalweg/__init__.pyi"]
    functional = made["thalweg/nn/functional.pyi"]
    for function in FUNCTIONS.values():
        if function.method:
            assert f"    def {function.method}(" in tensor or f"    {function.method}:" in tensor
        if function.public and "." not in function.name:
            shown = f"\ndef {function.name}(" in package
            assert shown or f" as {function.name}\n" in package, function.name
        if function.public and function.name.startswith("nn.functional."):
            assert f"\ndef {function.name.rpartition('.')[2]}(" in functional, function.name


def test_stubs_promise_nothing_that_is_missing():
    made = stubs.generate()
    for line in made["thalweg/tensor/tensor.pyi"].split("class Tensor:")[1].splitlines():
        if line.startswith("    def "):
            name = line[8:].partition("(")[0]
            assert hasattr(thalweg.Tensor, name), name
    for line in made["thalweg/__init__.pyi"].splitlines():
        if line.startswith("def "):
            name = line[4:].partition("(")[0]
            assert hasattr(thalweg, name), name
    for line in made["thalweg/nn/functional.pyi"].splitlines():
        if line.startswith("def ") and "__getattr__" not in line:
            name = line[4:].partition("(")[0]
            assert hasattr(thalweg.nn.functional, name), name


def test_a_user_program_type_checks(check):
    done = check(GOOD)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mistakes_are_seen(check):
    done = check(BAD)
    lines = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    wrong = {i for i, text in enumerate(BAD.splitlines(), 1) if i > 5 and text}
    assert lines == wrong, done.stdout + done.stderr
