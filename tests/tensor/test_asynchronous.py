"""Asynchronous runs: late errors, eager mode, threads, forks, pickles and copies."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import thalweg
from thalweg.core import flags
from thalweg.runtime.executor import executor
from thalweg.runtime.program import executed


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Start with nothing pending and with counts at zero."""
    thalweg.synchronize()
    executed.reset()
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


# ---- asynchronous execution


def test_large_programs_run_in_the_background() -> None:
    x = thalweg.ones(200, 200)
    for _ in range(5):
        x = x @ x / 200
    thalweg.Tensor.size(x)
    x.tolist()
    assert executor._thread is not None and executor._thread.is_alive()


@pytest.mark.parametrize("size", [3, 20_000])
def test_late_errors_name_the_line(size: int) -> None:
    index = thalweg.full((size,), 7)
    table = thalweg.ones(5)
    picked = table.index_select(0, index)  # this is the wrong line
    with pytest.raises(IndexError, match=r"test_asynchronous\.py:\d+.*picked = table") as caught:
        picked.tolist()
    assert "this is the wrong line" in str(caught.value)
    with pytest.raises(IndexError):
        picked.tolist()


def test_a_failed_program_leaves_the_recorder_usable() -> None:
    bad = thalweg.ones(3).index_select(0, thalweg.tensor([9]))
    with pytest.raises(IndexError):
        bad.tolist()
    assert (thalweg.ones(3) + 1).tolist() == [2.0, 2.0, 2.0]


def test_errors_at_record_time_leave_the_recorder_usable() -> None:
    x = thalweg.ones(3)
    y = x + 1
    with pytest.raises(RuntimeError):
        x + thalweg.ones(4)
    with pytest.raises(RuntimeError):
        x.add_(thalweg.ones(4))
    assert (x * y).tolist() == [2.0, 2.0, 2.0]


def test_eager_runs_each_op() -> None:
    with flags.override(backend="reference"):  # whose ops are counted
        with thalweg.eager():
            x = data().exp()
            assert executed.by_name["exp"] == 1
            y = x.tanh()
            assert executed.by_name["tanh"] == 1
        y.sin()
        assert "sin" not in executed.by_name


def test_eager_gives_the_same_gradients() -> None:
    def gradient() -> Any:
        (w,) = parameters((3,))
        y = w * 3
        y[0] = 2.0
        (y * w).sum().backward()
        return w.grad

    lazy = gradient()
    with thalweg.eager():
        now = gradient()
    assert lazy.tolist() == now.tolist()


def test_eager_errors_at_once() -> None:
    table, index = thalweg.ones(3), thalweg.tensor([9])
    with thalweg.eager(), pytest.raises(IndexError):
        table.index_select(0, index).tolist()


# ---- threads, processes, copies


def in_thread(body: Any) -> Any:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(body())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def test_pending_tensor_read_in_another_thread() -> None:
    x = thalweg.ones(3).exp()
    assert in_thread(x.tolist) == pytest.approx([np.e] * 3)
    assert x.tolist() == pytest.approx([np.e] * 3)


def test_pending_tensor_of_a_finished_thread() -> None:
    x = in_thread(lambda: thalweg.ones(3).exp())
    assert (x + 1).tolist() == pytest.approx([np.e + 1] * 3)


def test_backward_in_another_thread() -> None:
    (w,) = parameters((3,))
    loss = w.exp().sum()
    in_thread(loss.backward)
    assert w.grad is not None
    assert w.grad.tolist() == pytest.approx(w.exp().tolist())


def test_gradient_modes_are_per_thread() -> None:
    with thalweg.no_grad():
        assert in_thread(thalweg.is_grad_enabled)


def test_concurrent_recording() -> None:
    (w,) = parameters((4,))
    shared = w.detach().exp()
    expected = None
    results: list[Any] = []

    def work(seed: int) -> list[float]:
        total = []
        for i in range(30):
            x = thalweg.full((4,), float((seed + i) % 5))
            y = (x * shared).tanh()
            y[0] = float(i)
            v = w.detach().requires_grad_()
            (v * y).sum().backward()
            total.append(v.grad.sum().item())  # type: ignore[union-attr]
        return total

    def run(seed: int) -> None:
        try:
            results.append((seed, work(seed)))
        except BaseException as error:
            results.append((seed, error))

    threads = [threading.Thread(target=run, args=(5 * k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    expected = work(0)
    for _, found in results:
        assert found == pytest.approx(expected)


def _child(queue: Any, x: thalweg.Tensor, w: thalweg.Tensor) -> None:
    (w * x).sum().backward()
    queue.put([x.tolist(), (x + 1).tolist(), w.grad.tolist()])  # type: ignore[union-attr]


def test_fork_with_pending_work() -> None:
    (w,) = parameters((3,))
    thalweg.ones(100, 100).exp().sum().item()
    x = thalweg.ones(3).exp()
    large = thalweg.ones(300, 300) @ thalweg.ones(300, 300)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue, x, w))
    child.start()
    found = queue.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0
    e = np.e
    expected = [[e] * 3, [e + 1] * 3, [e] * 3]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other)
    assert x.tolist() == pytest.approx([e] * 3) and w.grad is None
    assert large[0, 0].item() == 300.0


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickling(protocol: int) -> None:
    for made in (
        thalweg.ones(3).exp(),
        thalweg.tensor([[1, 2], [3, 4]]).t(),
        thalweg.tensor(2.5, requires_grad=True),
        thalweg.tensor([True, False]),
        thalweg.ones(2, dtype=thalweg.bfloat16) * 3,
        thalweg.zeros(0, 3),
    ):
        again = pickle.loads(pickle.dumps(made, protocol))
        assert again.shape == made.shape and again.dtype is made.dtype
        assert again.tolist() == made.tolist()
        assert again.requires_grad == made.requires_grad and again.is_leaf


def test_pickling_a_parameter() -> None:
    made = thalweg.nn.Parameter(thalweg.ones(2))
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is type(made) and again.requires_grad


def test_deepcopy() -> None:
    (w,) = parameters((3,))
    (w * w).sum().backward()
    w.tag = ["label"]
    pending = thalweg.ones(3).exp()
    copied, other, again = copy.deepcopy([w, pending, w])
    assert copied is again and copied is not w
    assert copied.tolist() == w.tolist() and copied.grad.tolist() == w.grad.tolist()  # type: ignore[union-attr]
    assert copied.requires_grad and copied.is_leaf and copied.tag == w.tag
    assert copied.tag is not w.tag
    with thalweg.no_grad():
        copied.zero_()
    other.zero_()
    assert w.tolist() != [0.0] * 3 and pending.tolist() == pytest.approx([np.e] * 3)


def test_copy_shares_memory() -> None:
    x = thalweg.ones(3)
    y = copy.copy(x)
    assert y is not x and y.tolist() == x.tolist()
