"""Recurrent layers as scans over time, and their single steps.

The products of the input with its weights do not depend on the state, so those of all steps are
one `dot` before the scan; inside remains the product of the state. Letters: t steps, b batch,
i inputs, h hidden units, g gates x hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, ValueRangeError
from ..ir.node import Value
from .arithmetic import broadcast_to
from .control_functions import scan
from .function import Call, composite, function
from .link import ops
from .named import public

Bias = Value | None


def _project(x: Value, weight: Value, *biases: Bias) -> Value:
    """``x @ weight.T`` plus the biases, over leading dimensions."""
    result = getattr(public, "nn.functional.linear")(x, weight, None)
    for bias in biases:
        if bias is not None:
            result = result + broadcast_to(bias, result.shape)
    return result  # type: ignore[no-any-return]


def _parts(gates: Value, count: int) -> list[Value]:
    """The gates along the last dimension, ``count`` of equal size."""
    lead, size = gates.shape[:-1], gates.shape[-1] // count
    ones, zeros = (1,) * gates.ndim, (0,) * len(lead)
    return [
        ops.slice(gates, starts=(*zeros, k * size), stops=(*lead, (k + 1) * size), steps=ones)
        for k in range(count)
    ]


def _check(op: str, gates: int, x: Value, h: Value, w_ih: Value, w_hh: Value) -> None:
    hidden = h.shape[-1] if h.ndim else 0
    if x.shape[-1:] != w_ih.shape[1:]:
        raise ShapeError(
            f"{op}: input has inconsistent input_size: got {list(x.shape)}, expected the last "
            f"dimension of w_ih {list(w_ih.shape)}"
        )
    if w_ih.shape[0] != gates * hidden or w_hh.shape != (gates * hidden, hidden):
        raise ShapeError(
            f"{op}: hidden has inconsistent hidden_size: got {list(h.shape)} for weights of shapes "
            f"{list(w_ih.shape)} and {list(w_hh.shape)}"
        )
    if x.shape[-2:-1] != h.shape[-2:-1]:
        raise ShapeError(
            f"{op}: Input batch size {list(x.shape[-2:-1])} doesn't match hidden batch size "
            f"{list(h.shape[-2:-1])}"
        )


def _lstm_step(gates: Value, c: Value) -> tuple[Value, Value]:
    i, f, g, o = _parts(gates, 4)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    return ops.sigmoid(o) * ops.tanh(c), c


def _gru_step(from_x: Value, from_h: Value, h: Value) -> Value:
    (rx, zx, nx), (rh, zh, nh) = _parts(from_x, 3), _parts(from_h, 3)
    reset, update = ops.sigmoid(rx + rh), ops.sigmoid(zx + zh)
    new = ops.tanh(nx + reset * nh)
    return new + update * (h - new)  # type: ignore[no-any-return]


_NONLINEAR: dict[str, Callable[[Value], Value]] = {
    "tanh": lambda v: ops.tanh(v),
    "relu": lambda v: getattr(public, "nn.functional.relu")(v),
}


def _layer_calls(gates: int, states: int = 1, **kwargs: Any) -> Callable[[], Iterator[Call]]:
    def make() -> Iterator[Call]:
        rng = np.random.default_rng(gates)
        x, w_ih, w_hh, b = (
            rng.normal(size=s) / 2
            for s in [(3, 2, 3), (2 * gates, 3), (2 * gates, 2), (2 * gates,)]
        )
        state = [rng.normal(size=(2, 2)) for _ in range(states)]
        yield Call((x, *state, w_ih, w_hh, b, b), kwargs)
        yield Call((x, *state, w_ih, w_hh), {"reverse": True, **kwargs})
        wrong = (RuntimeError, "inconsistent input_size")
        yield Call((x[:, :, :2], *state, w_ih, w_hh), kwargs, error=wrong)

    make.no_twin = "PyTorch reaches its layers through modules"  # type: ignore[attr-defined]
    return make


@composite("lstm_layer", public=False, calls=_layer_calls(4, 2))
def lstm_layer(
    x_TBI: Value, h0: Value, c0: Value, w_ih: Value, w_hh: Value, b_ih: Bias = None,
    b_hh: Bias = None, reverse: bool = False,
) -> tuple[Value, ...]:  # fmt: skip
    """Long short-term memory (Hochreiter and Schmidhuber 1997) over a sequence, in one direction.

    x (t, b, i), h0 and c0 (b, h), w_ih (4h, i), w_hh (4h, h), gates in the order input, forget,
    cell, output. Returns y (t, b, h) and the last h and c.
    """
    _check("lstm_layer", 4, x_TBI, h0, w_ih, w_hh)
    from_x = _project(x_TBI, w_ih, b_ih, b_hh)

    def step(carry: Sequence[Value], xs: Sequence[Value]) -> Any:
        h, c = carry
        h, c = _lstm_step(xs[0] + _project(h, w_hh), c)
        return (h, c), (h,)

    (h, c), (y,) = scan(step, (h0, c0), (from_x,), reverse=reverse)
    return y, h, c


@composite("gru_layer", public=False, calls=_layer_calls(3))
def gru_layer(
    x_TBI: Value, h0: Value, w_ih: Value, w_hh: Value, b_ih: Bias = None, b_hh: Bias = None,
    reverse: bool = False,
) -> tuple[Value, ...]:  # fmt: skip
    """Gated recurrent units (Cho et al. 2014) over a sequence, in one direction.

    x (t, b, i), h0 (b, h), w_ih (3h, i), w_hh (3h, h), gates in the order reset, update, new.
    Returns y (t, b, h) and the last h.
    """
    _check("gru_layer", 3, x_TBI, h0, w_ih, w_hh)
    from_x = _project(x_TBI, w_ih, b_ih)

    def step(carry: Sequence[Value], xs: Sequence[Value]) -> Any:
        (h,) = carry
        h = _gru_step(xs[0], _project(h, w_hh, b_hh), h)
        return (h,), (h,)

    (h,), (y,) = scan(step, (h0,), (from_x,), reverse=reverse)
    return y, h


@composite("rnn_layer", public=False, calls=_layer_calls(1, nonlinearity="tanh"))
def rnn_layer(
    x_TBI: Value, h0: Value, w_ih: Value, w_hh: Value, b_ih: Bias = None, b_hh: Bias = None,
    reverse: bool = False, nonlinearity: str = "tanh",
) -> tuple[Value, ...]:  # fmt: skip
    """``h = nonlinearity(x W_ih + h W_hh + biases)`` over a sequence (Elman 1990).

    x (t, b, i), h0 (b, h), w_ih (h, i), w_hh (h, h). Returns y (t, b, h) and the last h.
    ValueError unless the nonlinearity is 'tanh' or 'relu'.
    """
    if nonlinearity not in _NONLINEAR:
        raise ValueRangeError(
            f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
        )
    _check("rnn_layer", 1, x_TBI, h0, w_ih, w_hh)
    from_x = _project(x_TBI, w_ih, b_ih, b_hh)

    def step(carry: Sequence[Value], xs: Sequence[Value]) -> Any:
        h = _NONLINEAR[nonlinearity](xs[0] + _project(carry[0], w_hh))
        return (h,), (h,)

    (h,), (y,) = scan(step, (h0,), (from_x,), reverse=reverse)
    return y, h


def _cell_calls(gates: int, pair: bool = False) -> Callable[[], Iterator[Call]]:
    def make() -> Iterator[Call]:
        rng = np.random.default_rng(gates)
        x, h, c = (rng.normal(size=(3, n)) for n in (4, 2, 2))
        w_ih, w_hh = rng.normal(size=(2 * gates, 4)), rng.normal(size=(2 * gates, 2))
        b_ih, b_hh = rng.normal(size=(2 * gates,)), rng.normal(size=(2 * gates,))
        state: Any = [h, c] if pair else h
        yield Call((x, state, w_ih, w_hh, b_ih, b_hh))
        yield Call((x, state, w_ih, w_hh))
        wrong = (RuntimeError, "inconsistent input_size")
        yield Call((x[:, :3], state, w_ih, w_hh, b_ih, b_hh), error=wrong)

    return make


@function("lstm_cell", calls=_cell_calls(4, pair=True))
def lstm_cell(
    input: Value, hx: Sequence[Value], w_ih: Value, w_hh: Value, b_ih: Bias = None,
    b_hh: Bias = None,
) -> tuple[Value, Value]:  # fmt: skip
    """One step of `lstm_layer`: x (b, i), hx = (h, c) of (b, h). Returns the next h and c."""
    h, c = hx
    _check("lstm_cell", 4, input, h, w_ih, w_hh)
    return _lstm_step(_project(input, w_ih, b_ih, b_hh) + _project(h, w_hh), c)


@function("gru_cell", calls=_cell_calls(3))
def gru_cell(
    input: Value, hx: Value, w_ih: Value, w_hh: Value, b_ih: Bias = None, b_hh: Bias = None
) -> Value:
    """One step of `gru_layer`: x (b, i), hx (b, h). Returns the next h."""
    _check("gru_cell", 3, input, hx, w_ih, w_hh)
    return _gru_step(_project(input, w_ih, b_ih), _project(hx, w_hh, b_hh), hx)


def _simple_cell(
    op: str, nonlinearity: str, x: Value, h: Value, w_ih: Value, w_hh: Value, b_ih: Bias, b_hh: Bias
) -> Value:
    _check(op, 1, x, h, w_ih, w_hh)
    return _NONLINEAR[nonlinearity](_project(x, w_ih, b_ih, b_hh) + _project(h, w_hh))


@function("rnn_tanh_cell", calls=_cell_calls(1))
def rnn_tanh_cell(
    input: Value, hx: Value, w_ih: Value, w_hh: Value, b_ih: Bias = None, b_hh: Bias = None
) -> Value:
    """One step of `rnn_layer` with tanh: x (b, i), hx (b, h). Returns the next h."""
    return _simple_cell("rnn_tanh_cell", "tanh", input, hx, w_ih, w_hh, b_ih, b_hh)


@function("rnn_relu_cell", calls=_cell_calls(1))
def rnn_relu_cell(
    input: Value, hx: Value, w_ih: Value, w_hh: Value, b_ih: Bias = None, b_hh: Bias = None
) -> Value:
    """One step of `rnn_layer` with relu: x (b, i), hx (b, h). Returns the next h."""
    return _simple_cell("rnn_relu_cell", "relu", input, hx, w_ih, w_hh, b_ih, b_hh)
