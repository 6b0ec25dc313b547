"""TensorFlow's names for operations, over the ops of this framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.dtypes import DType, bool_, float32, int64
from ..ir.node import Value
from ..ops.named import public
from .symbols import Symbol, apply, convert_to_tensor

_UNARY = (
    "abs", "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "square", "sin", "cos", "tan", "tanh",
    "sigmoid", "sign", "floor", "ceil", "round", "erf", "reciprocal", "lgamma",
)  # fmt: skip
_BINARY = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "pow": "pow",
    "maximum": "maximum", "minimum": "minimum", "matmul": "matmul", "floordiv": "floor_divide",
    "mod": "remainder",
}  # fmt: skip
_COMPARE = {
    "equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le", "greater": "gt",
    "greater_equal": "ge", "logical_and": "logical_and", "logical_or": "logical_or",
}  # fmt: skip


def _named(name: str, target: str, **fixed: Any) -> Callable[..., Symbol]:
    def call(*operands: Any, name: str = "") -> Symbol:
        return apply(
            call.__name__, lambda *v: getattr(public, target)(*v), *operands, name=name, **fixed
        )

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Symbolic `{target}` of its operands, elementwise with broadcasting."
    return call


for _name in _UNARY:
    globals()[_name] = _named(_name, _name)
for _name, _target in _BINARY.items():
    globals()[_name] = _named(_name, _target)
for _name, _target in _COMPARE.items():
    globals()[_name] = _named(_name, _target, dtype=bool_)
negative = _named("negative", "neg")


def _reduction(name: str, target: str) -> Callable[..., Symbol]:
    def call(
        input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str = "",
        reduction_indices: Any = None, keep_dims: bool = False,
    ) -> Symbol:  # fmt: skip
        dims = axis if axis is not None else reduction_indices
        keep = keepdims or keep_dims

        def build(value: Value) -> Value:
            every = tuple(range(value.ndim)) if dims is None else dims
            return getattr(public, target)(value, every, keep)  # type: ignore[no-any-return]

        return apply(call.__name__, build, input_tensor, name=name)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Symbolic `{target}` over ``axis`` (None: all)."
    return call


reduce_sum = _reduction("reduce_sum", "sum")
reduce_mean = _reduction("reduce_mean", "mean")
reduce_max = _reduction("reduce_max", "amax")
reduce_min = _reduction("reduce_min", "amin")


def argmax(input: Any, axis: int = 0, name: str = "") -> Symbol:
    """Index of the largest element along ``axis``, int64."""
    return apply("argmax", lambda v: public.argmax(v, axis), input, dtype=int64, name=name)


def cast(x: Any, dtype: DType, name: str = "") -> Symbol:
    """``x`` as ``dtype``."""
    return apply("cast", lambda v: public.to_dtype(v, dtype), x, dtype=dtype, name=name)


def reshape(tensor: Any, shape: Any, name: str = "") -> Symbol:
    """``tensor`` in another shape; one extent may be -1."""
    return apply("reshape", lambda v: public.reshape(v, tuple(shape)), tensor, name=name)


def transpose(a: Any, perm: Any = None, name: str = "") -> Symbol:
    """Dimensions permuted by ``perm`` (default: reversed)."""

    def build(value: Value) -> Value:
        order = tuple(range(value.ndim - 1, -1, -1)) if perm is None else tuple(perm)
        return public.permute(value, order)  # type: ignore[no-any-return]

    return apply("transpose", build, a, name=name)


def concat(values: Any, axis: int, name: str = "") -> Symbol:
    """``values`` joined along ``axis``."""
    return apply("concat", lambda *v: public.cat(list(v), axis), *values, name=name)


def where(condition: Symbol, x: Any, y: Any, name: str = "") -> Symbol:
    """Elements of ``x`` where ``condition`` holds, else of ``y``."""
    first = convert_to_tensor(x)
    second = convert_to_tensor(y, first.dtype)
    return Symbol(
        "Select", (condition, first, second), lambda c, a, b: public.where(c, a, b), first.dtype,
        name,
    )  # fmt: skip


def zeros(shape: Any, dtype: DType = float32, name: str = "") -> Symbol:
    """Zeros."""
    return Symbol("zeros", (), lambda: public.zeros(tuple(shape), dtype=dtype), dtype, name)


def ones(shape: Any, dtype: DType = float32, name: str = "") -> Symbol:
    """Ones."""
    return Symbol("ones", (), lambda: public.ones(tuple(shape), dtype=dtype), dtype, name)


def zeros_like(tensor: Any, name: str = "") -> Symbol:
    """Zeros in the shape of ``tensor``."""
    return apply("zeros_like", lambda v: public.zeros_like(v), tensor, name=name)


def ones_like(tensor: Any, name: str = "") -> Symbol:
    """Ones in the shape of ``tensor``."""
    return apply("ones_like", lambda v: public.ones_like(v), tensor, name=name)


def identity(input: Any, name: str = "") -> Symbol:
    """Its operand."""
    return apply("identity", lambda v: v, input, name=name)


def stop_gradient(input: Any, name: str = "") -> Symbol:
    """Its operand, through which no gradient flows."""
    return apply("stop_gradient", lambda v: public.detach(v), input, name=name)


def _operator(function: Callable[..., Symbol], swapped: bool = False) -> Callable[..., Symbol]:
    def method(self: Symbol, other: Any) -> Symbol:
        return function(other, self) if swapped else function(self, other)

    return method


for _dunder, _function in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "pow",
    "matmul": "matmul", "floordiv": "floordiv", "mod": "mod",
}.items():  # fmt: skip
    setattr(Symbol, f"__{_dunder}__", _operator(globals()[_function]))
    setattr(Symbol, f"__r{_dunder}__", _operator(globals()[_function], swapped=True))
for _dunder, _function in {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
}.items():  # fmt: skip
    setattr(Symbol, f"__{_dunder}__", _operator(globals()[_function]))
Symbol.__neg__ = lambda self: negative(self)  # type: ignore[attr-defined]
Symbol.__getitem__ = lambda self, index: apply(  # type: ignore[attr-defined]
    "strided_slice", lambda v: _index(v, index), self
)


def _index(value: Value, index: Any) -> Value:
    from ..ops.index import Slice, getitem

    items = index if isinstance(index, tuple) else (index,)
    return getitem(
        value, [Slice(i.start, i.stop, i.step) if isinstance(i, slice) else i for i in items]
    )


__all__ = [*_UNARY, *_BINARY, *_COMPARE, "argmax", "cast", "concat", "identity", "negative",
           "ones", "ones_like", "reduce_max", "reduce_mean", "reduce_min", "reduce_sum", "reshape",
           "stop_gradient", "transpose", "where", "zeros", "zeros_like"]  # fmt: skip
