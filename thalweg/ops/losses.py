"""What all losses share (reductions, PyTorch's older arguments), and the losses of regression."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..core.errors import ValueRangeError
from ..ir.node import Value
from .arithmetic import cast, coerce, constant
from .contract import Array
from .function import COMPOSITES, Call, Composite, function
from .link import ops
from .named import public
from .nn_shared import need_floating, warn, widened
from .pointwise import BY_BODY, expect_tensor
from .pointwise_calls import Calls

Check = Callable[[dict[str, Any]], None]
_LEGACY = ("size_average", "reduce")


class Loss(Composite):
    """A composite whose public form also takes PyTorch's older arguments ``size_average`` and
    ``reduce``, which the graph never sees: they become ``reduction``.

    ``check`` looks at the arguments of a public call, to warn of what is probably a mistake.
    """

    def __init__(self, *args: Any, check: Check | None = None) -> None:
        super().__init__(*args)
        self.check = check
        self.parameters = self.public.without(_LEGACY)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = self.public.bind(args, kwargs)
        size_average, reduce = (given.pop(name, None) for name in _LEGACY)
        if size_average is not None or reduce is not None:
            given["reduction"] = _modern(size_average, reduce)
        if self.check is not None:
            self.check(given)
        return super().__call__(**given)


def _modern(size_average: bool | None, reduce: bool | None) -> str:
    reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
    warn(
        "size_average and reduce args will be deprecated, please use "
        f"reduction='{reduction}' instead."
    )
    return reduction


def loss(
    name: str, *, calls: Calls, check: Check | None = None, onnx: Any = BY_BODY
) -> Callable[[Callable[..., Any]], Composite]:
    """Register ``nn.functional.<name>`` as a `Loss`."""

    def register(body: Callable[..., Any]) -> Composite:
        made = Loss(name, body, None, onnx, check=check)
        COMPOSITES[name] = made
        function(f"nn.functional.{name}", out=False, calls=calls)(made)
        return made

    return register


def check_reduction(reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ValueRangeError(f"{reduction} is not a valid value for reduction")


def reduced_loss(value: Value, reduction: str, total: Value | None = None) -> Value:
    """``value`` itself ("none"), its sum, or its mean; ``total`` divides in place of the count.

    Halves are summed in float32. ValueError for another name.
    """
    if reduction == "none":
        return value
    check_reduction(reduction)
    wide = widened(value)
    result = ops.reduce_sum(wide, dims=tuple(range(wide.ndim)))
    if reduction == "mean":
        count = float(value.type.numel) if total is None else cast(total, wide.dtype)
        result = result / count
    return cast(result, value.dtype)


def all_of(value: Value) -> Value:
    """The sum of all elements."""
    return ops.reduce_sum(value, dims=tuple(range(value.ndim)))  # type: ignore[no-any-return]


def functional(name: str) -> Any:
    """A public function of ``nn.functional``, late-bound."""
    return getattr(public, f"nn.functional.{name}")


def positive_part(value: Value) -> Value:
    """max(x, 0); no gradient flows at 0."""
    return functional("relu")(value)  # type: ignore[no-any-return]


def zeros_like(value: Value) -> Value:
    return constant(0, value.dtype, value.shape)


def torch_size(shape: tuple[int, ...]) -> str:
    return f"torch.Size({list(shape)})"


def warn_of_broadcast(given: dict[str, Any]) -> None:
    input, target = given["input"], given["target"]
    if isinstance(target, Value) and isinstance(input, Value) and input.shape != target.shape:
        warn(
            f"Using a target size ({torch_size(target.shape)}) that is different to the input size "
            f"({torch_size(input.shape)}). This will likely lead to incorrect results due to "
            "broadcasting. Please ensure they have the same size."
        )


def pair_of(op: str, input: Any, target: Any, integers: bool = False) -> tuple[Value, ...]:
    x = expect_tensor(op, input)
    pair = coerce(x, expect_tensor(op, target, "target", 2), op=op)
    if not integers:
        need_floating(op, pair[0])
    return pair


def same_size(weight: Value, input: Value) -> Value:
    """``weight``; ValueError unless it has the shape of ``input``."""
    if weight.shape != input.shape:
        raise ValueRangeError(
            "Weights and input must have the same size: expected "
            f"{list(input.shape)}, got {list(weight.shape)}"
        )
    return weight


def _weighted(value: Value, input: Value, weight: Value | None, reduction: str) -> Value:
    if weight is None:
        return reduced_loss(value, reduction)
    w, terms = coerce(same_size(weight, input), value, op="loss")
    return reduced_loss(terms * w, reduction, all_of(w))


# ---- calls to compare with PyTorch


def draw(*shape: int) -> Array:
    return np.asarray(np.random.default_rng(sum(shape) + 8).normal(size=shape))


def reductions(*args: Any, **kwargs: Any) -> Iterator[Call]:
    """One call with each reduction."""
    for reduction in ("mean", "sum", "none"):
        yield Call(args, {**kwargs, "reduction": reduction})


def regression_calls(*options: dict[str, Any], weight: bool = True, mixed: bool = True) -> Calls:
    """Calls of a loss of two tensors of one shape; ``mixed`` if PyTorch promotes their dtypes."""

    def make() -> Iterator[Call]:
        x, y = draw(3, 4), draw(4, 3).T
        yield from reductions(x, y)
        yield Call((draw(), np.array(0.5)))
        yield Call((np.zeros((0, 3)), np.zeros((0, 3))), {"reduction": "sum"})
        if mixed:
            yield Call((x.astype(np.float32), y))
        yield Call((x.astype(np.float16), y.astype(np.float16)), grad=False)
        yield from (Call((x, y), option) for option in options)
        if weight:
            yield from reductions(x, y, weight=np.abs(draw(3, 4)))
            wrong = "Weights and input must have the same size"
            yield Call((x, y), {"weight": np.ones(4)}, error=(ValueError, wrong))
        bad = (ValueError, "big is not a valid value for reduction")
        yield Call((x, y), {"reduction": "big"}, error=bad)

    return make


# ---- regression


@loss("mse_loss", check=warn_of_broadcast, calls=regression_calls())
def mse_loss(
    input: Value,
    target: Value,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Value | None = None,
) -> Value:
    """(input - target)², reduced; ``weight`` (the shape of ``input``) multiplies each, and the
    mean is divided by its sum. Shapes broadcast, with a warning."""
    x, y = pair_of("mse_loss", input, target)
    return _weighted(public.square(x - y), input, weight, reduction)


@loss("l1_loss", check=warn_of_broadcast, calls=regression_calls())
def l1_loss(
    input: Value,
    target: Value,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Value | None = None,
) -> Value:
    """|input - target|, reduced; ``weight`` as in `mse_loss`. Shapes broadcast, with a warning."""
    x, y = pair_of("l1_loss", input, target, integers=True)
    if reduction == "mean":
        need_floating("l1_loss", x)
    return _weighted(ops.abs(x - y), input, weight, reduction)


def _smooth_calls() -> Iterator[Call]:
    yield from regression_calls({"beta": 0.3}, {"beta": 0.0}, {"beta": 2.0}, weight=False)()
    yield Call((draw(3), draw(3)), {"beta": -1.0}, error=(RuntimeError, "negative values for beta"))


@loss("smooth_l1_loss", check=warn_of_broadcast, calls=_smooth_calls)
def smooth_l1_loss(
    input: Value,
    target: Value,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Value:
    """d² / (2 beta) where |d| < beta, else |d| - beta / 2, for d = input - target; reduced.

    RuntimeError for negative ``beta``. Girshick, arXiv 1504.08083.
    """
    if beta < 0:
        raise NegativeBound("smooth_l1_loss does not support negative values for beta.")
    x, y = pair_of("smooth_l1_loss", input, target)
    size = ops.abs(x - y)
    if beta == 0:
        return reduced_loss(size, reduction)
    bound = constant(beta, size.dtype, size.shape)
    inner = public.square(x - y) * (0.5 / beta)
    return reduced_loss(ops.where(ops.lt(size, bound), inner, size - 0.5 * beta), reduction)


class NegativeBound(ValueRangeError, RuntimeError):
    """A bound that must not be negative (PyTorch raises RuntimeError)."""


def _huber_calls() -> Iterator[Call]:
    yield from regression_calls({"delta": 0.3}, {"delta": 2.0}, mixed=False)()
    message = "non-positive values for delta"
    yield Call((draw(3), draw(3)), {"delta": 0.0}, error=(RuntimeError, message))


@loss("huber_loss", check=warn_of_broadcast, calls=_huber_calls)
def huber_loss(
    input: Value,
    target: Value,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Value | None = None,
) -> Value:
    """d² / 2 where |d| <= delta, else delta (|d| - delta / 2), for d = input - target; reduced.

    ``weight`` (the shape of ``input``) multiplies each term. RuntimeError unless ``delta`` is
    positive. Huber (1964).
    """
    if delta <= 0:
        raise NegativeBound("huber_loss does not support non-positive values for delta.")
    x, y = pair_of("huber_loss", input, target)
    size = ops.abs(x - y)
    bound = constant(delta, size.dtype, size.shape)
    outer = (size - 0.5 * delta) * delta
    value = ops.where(ops.le(size, bound), public.square(x - y) * 0.5, outer)
    if weight is not None:
        value = value * same_size(weight, input)
    return reduced_loss(value, reduction)


__all__ = ["Loss", "all_of", "draw", "functional", "loss", "pair_of", "positive_part",
           "reduced_loss", "reductions", "torch_size", "zeros_like"]  # fmt: skip
