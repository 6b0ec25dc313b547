"""When recorded work runs: nothing twice, nothing that is dead, and where its errors surface."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import thalweg
from thalweg.core import flags
from thalweg.runtime.executor import executor
from thalweg.runtime.program import executed
from thalweg.tensor.flush import restart
from thalweg.tensor.trace import trie


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Start with nothing pending and with counts at zero, which ops have on the reference backend:
    what other tests ran often is compiled."""
    thalweg.synchronize()
    executed.reset()
    with flags.override(backend="reference"):
        yield
        thalweg.synchronize()


def data(count: int = 3, value: float = 1.0) -> thalweg.Tensor:
    """A tensor of equal numbers that, unlike `full`, the compiler does not know."""
    return thalweg.tensor([value] * count)


def counts() -> dict[str, int]:
    thalweg.synchronize()
    return dict(executed.by_name)


def parameters(*shapes: tuple[int, ...]) -> list[thalweg.Tensor]:
    rng = np.random.default_rng(0)
    return [thalweg.tensor(rng.normal(size=s).astype(np.float32)).requires_grad_() for s in shapes]


# ---- nothing twice, nothing dead


def test_nothing_runs_before_a_value_is_read() -> None:
    x = data().exp()
    assert executed.total == 0
    x.tolist()
    assert executed.by_name["exp"] == 1


def test_reading_twice_computes_once() -> None:
    x = data().exp()
    x.tolist()
    str(x)
    (x + 1).tolist()
    assert executed.by_name["exp"] == 1


def test_loss_read_before_backward() -> None:
    (w,) = parameters((4, 4))
    loss = (w.tanh().exp() @ w.sigmoid()).sum()
    value = loss.item()
    loss.backward()
    assert w.grad is not None
    w.grad.tolist()
    assert loss.item() == value
    found = counts()
    assert found["tanh"] == found["exp"] == found["sigmoid"] == 1
    assert found["dot"] == 3


def test_printing_on_the_way() -> None:
    (w,) = parameters((3,))
    a = w.exp()
    str(a)
    b = a.tanh()
    str(b)
    c = b.sigmoid().sum()
    f"{c.item():.3f}"
    c.backward()
    w.grad.tolist()  # type: ignore[union-attr]
    found = counts()
    assert [found[name] for name in ("exp", "tanh", "sigmoid")] == [1, 1, 1]


def test_values_held_after_a_step_keep_their_values() -> None:
    (w,) = parameters((3,))
    before = w.detach().clone()
    out = w * 2
    loss = out.exp().sum()
    loss.backward()
    expected = (before * 2).tolist()
    optimizer = thalweg.optim.SGD([w], lr=0.5)
    optimizer.step()
    assert out.tolist() == pytest.approx(expected)
    assert loss.item() == pytest.approx((before * 2).exp().sum().item())
    assert w.tolist() == pytest.approx((before - 0.5 * w.grad).tolist(), rel=1e-5)  # type: ignore[operator]


def test_step_runs_everything_once() -> None:
    w, x = parameters((3, 3), (3, 3))
    x = x.detach()
    optimizer = thalweg.optim.SGD([w], lr=0.1)
    thalweg.synchronize()
    executed.reset()
    for _ in range(5):
        optimizer.zero_grad()
        loss = (x @ w).tanh().pow(2).sum()
        loss.backward()
        optimizer.step()
        loss.item()
    assert counts()["tanh"] == 5


def test_dead_values_are_not_computed() -> None:
    x = data()
    x.exp()
    y = x.sin()
    del y
    z = x.cos()
    z.tolist()
    found = counts()
    assert "exp" not in found and "sin" not in found and found["cos"] == 1


def test_dead_views_do_not_keep_their_base_alive() -> None:
    (w,) = parameters((4, 6))
    base = w.exp()
    for part in base.view(2, 12)[0].split(3):
        part.sin()
    kept = base.view(24)[:5].tanh()
    flushed: list[int] = []
    inside = executor.submit

    def submit(program: Any, inputs: Any, waiting: bool = False) -> Any:
        flushed.append(len(program.outputs))
        return inside(program, inputs, waiting)

    del base, part
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "submit", submit)
        value = kept.detach().sum()
        del kept
        value.item()
    assert flushed == [1]


def test_live_views_show_their_base() -> None:
    (w,) = parameters((4, 6))
    view = w.exp().view(24)[2:]
    row = w.sin()[1]
    row.mul_(2)
    assert view.tolist() == pytest.approx(w.detach().exp().reshape(24)[2:].tolist())
    assert row.tolist() == pytest.approx((w.detach().sin()[1] * 2).tolist())


def test_branch_of_a_dead_value_is_not_computed() -> None:
    x = data()
    kept, dropped = x.exp() + 1, x.exp().tanh()
    del dropped
    kept.tolist()
    assert "tanh" not in counts()


def test_unused_gradients_are_not_computed() -> None:
    w, v = parameters((3,), (3,))
    (w.exp() * v.sin()).sum().backward(inputs=[w])
    w.grad.tolist()  # type: ignore[union-attr]
    assert "cos" not in counts()


def test_second_flush_continues_from_the_first() -> None:
    x = data().exp()
    thalweg.synchronize()
    y = x.tanh()
    thalweg.synchronize()
    z = (x + y).sin()
    z.tolist()
    found = counts()
    assert found["exp"] == found["tanh"] == found["sin"] == 1


# ---- memory


def test_arrays_of_dead_tensors_are_freed() -> None:
    x = data(1000) * 2
    x.tolist()
    buffer_array = x._array()
    seen = weakref.ref(buffer_array)
    del buffer_array
    del x
    gc.collect()
    assert seen() is None


def test_saved_values_are_freed_by_backward() -> None:
    (w,) = parameters((100,))
    y = w.exp()
    loss = (y * y).sum()
    loss.item()
    seen = weakref.ref(y._array())
    del y
    gc.collect()
    assert seen() is not None, "the backward pass still needs it"
    loss.backward()
    w.grad.tolist()  # type: ignore[union-attr]
    gc.collect()
    assert seen() is None


def test_saved_values_are_freed_with_the_loss() -> None:
    (w,) = parameters((100,))
    y = w.exp()
    loss = (y * y).sum()
    loss.item()
    seen = weakref.ref(y._array())
    del y, loss
    thalweg.synchronize()
    gc.collect()
    assert seen() is None


def test_tensors_are_not_kept_by_the_recorder() -> None:
    x = data()
    seen = weakref.ref(x)
    (x * 2).tolist()
    del x
    gc.collect()
    assert seen() is None


# ---- the trie stays bounded


def steady_growth(program: Any, rounds: int = 24) -> int:
    """How many states the last rounds of a program add; the first ones may add any number, as
    each number that varies is found out in a round of its own."""
    for i in range(8):
        program(i)
    before = trie.size
    for i in range(8, rounds):
        program(i)
    return trie.size - before


def test_varying_numbers_are_arguments() -> None:
    x = data()

    def program(i: int) -> None:
        y = x * (0.1 + i) + i / 7 - 3.0 * i
        assert y[0].item() == pytest.approx(0.1 + i + i / 7 - 3.0 * i, rel=1e-5)

    assert steady_growth(program) == 0


def test_varying_numbers_in_place() -> None:
    x = data()

    def program(i: int) -> None:
        x.fill_(i + 0.5)
        x.mul_(1 / (i + 1)).add_(i, alpha=2)
        assert x[0].item() == pytest.approx((i + 0.5) / (i + 1) + 2 * i, rel=1e-5)

    assert steady_growth(program) == 0


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_learning_rate_schedule(kind: str) -> None:
    (w,) = parameters((3,))
    optimizer = getattr(thalweg.optim, kind)([w], lr=0.1)

    def program(i: int) -> None:
        optimizer.param_groups[0]["lr"] = 0.1 / (i + 1)
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()

    assert steady_growth(program) == 0


def test_repeated_steps_are_found_again() -> None:
    w, x = parameters((3, 3), (3, 3))

    def program(i: int) -> None:
        w.grad = None
        (x.detach() @ w).tanh().sum().backward()
        w.grad.tolist()  # type: ignore[union-attr]

    assert steady_growth(program) == 0


def test_varying_batch_sizes_stay_within_the_limit() -> None:
    (w,) = parameters((3, 3))
    with flags.override(trie_limit=400):
        for size in range(1, 150):
            loss = (thalweg.ones(size, 3) @ w).tanh().sum()
            loss.backward()
            assert np.isfinite(loss.item())
            assert trie.size <= 400 + 60
            w.grad = None


def test_varying_program_stays_within_the_limit() -> None:
    with flags.override(trie_limit=200):
        for i in range(60):
            x = data(2)
            for k in range(i % 17):
                x = x.roll(k + i)
            x.tolist()
        assert trie.size <= 200 + 40


def test_pruned_programs_still_run() -> None:
    with flags.override(trie_limit=50):
        for i in range(200):
            x = data(1 + i % 40, 2.0)
            assert (x * x).sum().item() == 4.0 * (1 + i % 40)


def test_long_traces_flush_by_themselves() -> None:
    with flags.override(trace_limit=100):
        restart()
        x = data(2)
        for _ in range(1000):
            x = x + 1
        assert executed.total >= 900
        assert x.tolist() == [1001.0, 1001.0]
