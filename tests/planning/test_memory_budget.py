"""Training within a budget of memory: the same bits in a smaller arena, or a clear warning."""

import warnings

import numpy as np
import pytest

import thalweg as torch
from thalweg.core import flags
from thalweg.runtime.native_run import LoadedProgram

F = torch.nn.functional


@pytest.fixture(autouse=True)
def native(monkeypatch):
    """Everything compiled; ``arenas`` gets the size and the budget of the programs that ran."""
    arenas = []
    run = LoadedProgram.run

    def noted(self, inputs, outputs):
        arenas.append((self.program.arena, self.program.budget))
        return run(self, inputs, outputs)

    monkeypatch.setattr(LoadedProgram, "run", noted)
    with flags.override(backend="native"):
        yield arenas


class Net(torch.nn.Module):
    """Layers with all that a backward pass keeps: norms, activations, random masks."""

    def __init__(self, width=64, layers=4):
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.LayerNorm(width), torch.nn.Linear(width, 4 * width), torch.nn.GELU(),
                torch.nn.Dropout(0.2), torch.nn.Linear(4 * width, width),
            )
            for _ in range(layers)
        )  # fmt: skip

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x)
        return x


def train(arenas, model=lambda net: net, steps=3):
    """The largest arena, and all parameters and losses after some steps."""
    torch.manual_seed(5)
    net = Net()
    run = model(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(256, 64)).astype(np.float32))
    losses = []
    del arenas[:]
    for _ in range(steps):
        optimizer.zero_grad()
        loss = run(x).pow(2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    bits = [p.detach().numpy().tobytes() for p in net.parameters()]
    return max(arenas), bits, losses


def test_half_the_memory_and_the_same_bits(native):
    (whole, none), *expected = train(native)
    assert none is None
    for budget in (0.5, whole // 2):
        (arena, allowed), *results = train(
            native, lambda net, b=budget: torch.compile(net, memory_budget=b)
        )
        assert arena <= allowed <= whole / 2 + 1
        assert results == expected
    with torch.memory_budget(0.5):
        (arena, allowed), *results = train(native)
    assert arena <= allowed and results == expected


def test_functions_too(native):
    @torch.compile(memory_budget=0.8)
    def loss(x):
        y = x
        for _ in range(6):
            y = torch.tanh(y @ x).exp()
        return y.sum()

    x = torch.randn(64, 64, requires_grad=True)
    loss(x).backward()
    x.grad.numpy()
    arena, allowed = max(native)
    assert allowed is not None and arena <= allowed


def test_a_budget_that_cannot_be_kept(native):
    (whole, _), *expected = train(native)
    with pytest.warns(RuntimeWarning, match="memory_budget: .* more than the 1,000") as told:
        (arena, allowed), *results = train(
            native, lambda net: torch.compile(net, memory_budget=1000)
        )
    assert results == expected
    assert arena < whole / 2 and allowed == 1000
    assert any(f"{arena:,} bytes" in str(w.message) for w in told)


def test_the_budget_ends_with_the_block(native):
    x = torch.ones(4, 4)
    with torch.memory_budget(0.5):
        (x + 1).numpy()
    (x + 1).numpy()
    assert [budget is None for _, budget in native] == [False, True]


@pytest.mark.parametrize("budget", [0, -1, 0.0, 1.5, float("nan")])
def test_budgets_out_of_range(budget):
    with pytest.raises(ValueError, match="memory_budget expects a positive number"):
        torch.compile(torch.nn.ReLU(), memory_budget=budget)


@pytest.mark.parametrize("budget", ["1 GB", True, None])
def test_budgets_of_other_types(budget):
    with pytest.raises(TypeError, match="memory_budget expects bytes"), torch.memory_budget(budget):
        pass


def test_no_warning_where_it_fits(native):
    with warnings.catch_warnings(), torch.memory_budget(1.0):
        warnings.simplefilter("error")
        torch.randn(8, 8).exp().numpy()
