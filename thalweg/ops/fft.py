"""The discrete Fourier transform of one dimension, and the public family of transforms.

One primitive, `fft`, is the complex transform without a factor. Transforms of real data are parts
of it: `rfft` keeps the half that the symmetry of the other half implies, `irfft` restores it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import DType, default_dtype, float64
from ..core.errors import DimError, DTypeError, ShapeError, ValueRangeError
from ..ir.node import Node, Value
from ..ir.sbp import P, Signature, Split
from ..ir.types import TensorType
from .arithmetic import cast, coerce_float, constant
from .contract import Array, Declined, Grads, Host, Primitive, Sample, all_broadcast, primitive
from .dims import distinct_dims, normalize_dim
from .function import Call, function
from .link import ops
from .named import public
from .pointwise import expect_tensor

Ints = Sequence[int]


@primitive
class Fft(Primitive):
    """Sum over j of x_j exp(∓2πi jk / n) along ``dim``, plus in the exponent if ``inverse``;
    without a factor (Cooley and Tukey 1965)."""

    name = "fft"
    index = "...k -> ...l, a contraction with the matrix of roots of unity"
    lower: Any = Host("pocketfft, a compiled library; loop kernels hold real numbers")
    onnx: Any = Declined("ONNX operators take no complex tensors")

    def infer(self, x: TensorType, dim: int, inverse: bool) -> TensorType:
        if x.dtype.category != "complex":
            raise DTypeError(f'"fft" not implemented for {x.dtype}: expected complex')
        if not 0 <= dim < len(x.shape) or not x.shape[dim]:
            raise ShapeError(
                f"fft: expected a dimension with elements of {list(x.shape)}, got {dim}"
            )
        return x

    def reference(self, x: Array, dim: int, inverse: bool) -> Array:
        from scipy import fft

        if not x.size:
            return x.copy()
        if inverse:
            return np.asarray(fft.ifft(x, axis=dim, norm="forward"))
        return np.asarray(fft.fft(x, axis=dim))

    def vjp(self, node: Node, g: Value) -> Grads:
        return (ops.fft(g, dim=node.attrs["dim"], inverse=not node.attrs["inverse"]),)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        others = [d for d in range(node.inputs[0].ndim) if d != node.attrs["dim"]]
        splits = [Signature((Split(d),), (Split(d),)) for d in others]
        return [all_broadcast(node), Signature((P,), (P,)), *splits]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        return (self(inputs[0], **{**node.attrs, "dim": node.attrs["dim"] + 1}),)

    def samples(self) -> Iterator[Sample]:
        for shape, dim in [((5,), 0), ((3, 4), 1), ((2, 3, 2), 1), ((1,), 0), ((0, 3), 1)]:
            for inverse in (False, True):
                yield Sample((_drawn(*shape, complex=True),), {"dim": dim, "inverse": inverse})
        x, forward = _drawn(3, 4, complex=True), {"dim": 0, "inverse": False}
        yield Sample((x.astype(np.complex64),), forward, grad=False)
        yield Sample((x.real,), forward, error=(RuntimeError, "expected complex"))
        yield Sample((x[:0],), forward, error=(RuntimeError, "dimension with elements"))


def _drawn(*shape: int, complex: bool = False) -> Array:
    rng = np.random.default_rng(71)
    x = rng.normal(size=shape)
    return np.asarray(x + 1j * rng.normal(size=shape) if complex else x)


# ---- arguments


class FftArgumentError(ValueRangeError, RuntimeError):
    """A norm, or a number of points, that does not exist (PyTorch raises RuntimeError here)."""


def _scale(op: str, norm: str | None, inverse: bool, count: int) -> float:
    """The factor of the transform of ``count`` points in all."""
    if norm not in (None, "backward", "forward", "ortho"):
        raise FftArgumentError(f'{op}: Invalid normalization mode: "{norm}"')
    if norm == "ortho":
        return 1.0 / math.sqrt(count)
    return 1.0 / count if inverse == (norm in (None, "backward")) else 1.0


def _floating(op: str, input: Any) -> Value:
    x = expect_tensor(op, input)
    if x.dtype.itemsize == 2 and x.dtype.category == "float":
        raise DTypeError(f"{op}: Unsupported dtype {x.dtype.name}: half precision is not available")
    return coerce_float(x)


def to_complex(x: Value) -> Value:
    """A real tensor as complex numbers; a complex one itself."""
    if x.dtype.is_complex:
        return x
    return ops.make_complex(x, constant(0, x.dtype, x.shape))  # type: ignore[no-any-return]


def _dim(op: str, x: Value, dim: int) -> int:
    if x.ndim == 0:
        raise DimError(f"{op}: Dimension specified as {dim} but tensor has no dimensions")
    return normalize_dim(dim, x.ndim)


def _resized(op: str, x: Value, dim: int, n: int | None) -> Value:
    """Cut or padded with zeros to ``n`` elements along ``dim``."""
    size = x.shape[dim]
    count = size if n is None else n
    if count < 1:
        raise FftArgumentError(f"{op}: Invalid number of data points ({count}) specified")
    if count < size:
        return public.narrow(x, dim, 0, count)  # type: ignore[no-any-return]
    if count == size:
        return x
    high = tuple(count - size if d == dim else 0 for d in range(x.ndim))
    zeros = (0,) * x.ndim
    return ops.pad(x, low=zeros, high=high, interior=zeros, value=0)  # type: ignore[no-any-return]


# ---- transforms along several dimensions, which the public ones are cases of


def _c2c(
    op: str, x: Value, dims: Ints, sizes: Sequence[int | None], norm: str | None, inverse: bool
) -> Value:
    result = to_complex(x)
    for dim, n in zip(dims, sizes):
        result = _resized(op, result, dim, n)
    for dim in dims:
        result = ops.fft(result, dim=dim, inverse=inverse)
    return _scaled(op, result, dims, norm, inverse)


def _scaled(op: str, x: Value, dims: Ints, norm: str | None, inverse: bool) -> Value:
    factor = _scale(op, norm, inverse, math.prod(x.shape[d] for d in dims))
    return x if factor == 1.0 else x * factor


def _r2c(
    op: str, x: Value, dims: Ints, sizes: Sequence[int | None], norm: str | None, inverse: bool
) -> Value:
    """Of real data; the last of ``dims`` keeps its first half and one element more."""
    if x.dtype.is_complex:
        raise DTypeError(f"{op} expects a real input tensor, but got {x.dtype.name}")
    last = dims[-1]
    whole = _c2c(op, x, (last,), (sizes[-1],), norm, inverse)
    half = public.narrow(whole, last, 0, whole.shape[last] // 2 + 1)
    return _c2c(op, half, dims[:-1], sizes[:-1], norm, inverse) if len(dims) > 1 else half


def _c2r(
    op: str, x: Value, dims: Ints, sizes: Sequence[int | None], norm: str | None, inverse: bool
) -> Value:
    """To real data, from the first half of a transform along the last of ``dims``."""
    last = dims[-1]
    n = sizes[-1] if sizes[-1] is not None else 2 * (x.shape[last] - 1)
    if n < 1:
        raise FftArgumentError(f"{op}: Invalid number of data points ({n}) specified")
    half = to_complex(x)
    if len(dims) > 1:
        half = _c2c(op, half, dims[:-1], sizes[:-1], norm, inverse)
    half = _resized(op, half, last, n // 2 + 1)
    # Element n - k is the conjugate of element k; 0 and, for even n, n / 2 are their own.
    mirrored = ops.conj(ops.flip(public.narrow(half, last, 1, (n - 1) // 2), dims=(last,)))
    whole = ops.fft(public.cat((half, mirrored), last), dim=last, inverse=inverse)
    return _scaled(op, ops.real(whole), (last,), norm, inverse)


Transform = Callable[[str, Value, Ints, Sequence[int | None], str | None, bool], Value]


def _one(op: str, kind: Transform, inverse: bool) -> Callable[..., Value]:
    def transform(
        input: Value, n: int | None = None, dim: int = -1, norm: str | None = None
    ) -> Value:
        x = _floating(op, input)
        return kind(op, x, (_dim(op, x, dim),), (n,), norm, inverse)

    return transform


def _many(op: str, kind: Transform, inverse: bool, dims: Ints | None) -> Callable[..., Value]:
    def transform(
        input: Value,
        s: int | Ints | None = None,
        dim: int | Ints | None = dims,
        norm: str | None = None,
    ) -> Value:
        x = _floating(op, input)
        where, sizes = _dims_and_sizes(op, x, s, dim)
        if not where:
            if kind is not _c2c:
                raise FftArgumentError(f"{op} must transform at least one axis")
            return to_complex(x)
        return kind(op, x, where, sizes, norm, inverse)

    return transform


def _dims_and_sizes(
    op: str, x: Value, s: int | Ints | None, dim: int | Ints | None
) -> tuple[tuple[int, ...], list[int | None]]:
    """As PyTorch reads them: without ``dim`` the last ``len(s)``, without both all; -1 in ``s``
    keeps the size."""
    sizes = [s] if isinstance(s, int) else None if s is None else list(s)
    if dim is not None:
        where = distinct_dims(tuple(dim) if not isinstance(dim, int) else dim, x.ndim)
    elif sizes is not None:
        if len(sizes) > x.ndim:
            raise FftArgumentError(
                f"{op}: Got shape with {len(sizes)} values but input tensor only has {x.ndim} "
                "dimensions."
            )
        where = tuple(range(x.ndim - len(sizes), x.ndim))
    else:
        where = tuple(range(x.ndim))
    if sizes is None:
        return where, [None] * len(where)
    if len(sizes) != len(where):
        raise FftArgumentError(
            f"{op}: When given, dim and shape arguments must have the same length, got "
            f"{list(where)} and {sizes}"
        )
    return where, [None if n == -1 else n for n in sizes]


# ---- the public names

_WHAT = {
    "fft": (_c2c, False, "The Fourier transform; complex."),
    "ifft": (_c2c, True, "The inverse of `fft`; complex."),
    "rfft": (_r2c, False, "The Fourier transform of real data, without the redundant half of the "
             "last dimension transformed: its first ``n // 2 + 1`` elements."),
    "irfft": (_c2r, True, "The inverse of `rfft`: real data from the first half of a transform; an "
              "odd size of the result (default: even) must be given."),
    "hfft": (_c2r, False, "The transform, which is real, of data with Hermitian symmetry, of which "
             "the first half is given."),
    "ihfft": (_r2c, True, "The inverse of `hfft`: the first half of data with Hermitian symmetry "
              "from its real transform."),
}  # fmt: skip
_ARGUMENTS = """

    ``{sizes}`` cuts or pads with zeros before the transform{where}. ``norm`` is "backward" (the
    inverse divides by the number of points; default), "forward" (the other one does) or "ortho"
    (both divide by its square root). Integers become the default floating dtype; half precision
    raises RuntimeError, as does a number of points below 1.
    """


def _one_calls(name: str) -> Callable[[], Iterator[Call]]:
    def make() -> Iterator[Call]:
        real, whole = name in ("rfft", "ihfft"), name in ("fft", "ifft")
        for complex in [False] if real else [True, False] if whole else [True]:
            x = _drawn(3, 5, complex=complex)
            yield Call((x,))
            yield Call((x, 4), {"dim": 0})
            yield Call((x, 7, -1, "ortho"))
            yield Call((x, 3, 1, "forward"))
            yield Call((x, 6), {"norm": "backward"})
        x = _drawn(4)
        yield Call((np.arange(5),), grad=False)
        yield Call((_drawn(),), error=(IndexError, "tensor has no dimensions"))
        yield Call((x, 0), error=(RuntimeError, "Invalid number of data points (0) specified"))
        yield Call((x, None, 1), error=(IndexError, "Dimension out of range"))
        yield Call((x, None, 0, "none"), error=(RuntimeError, "Invalid normalization mode"))
        if real:
            yield Call((_drawn(4, complex=True),), error=(RuntimeError, "real input tensor"))

    return make


def _many_calls(name: str, fixed: bool) -> Callable[[], Iterator[Call]]:
    def make() -> Iterator[Call]:
        kind = name.rstrip("n2")
        x = _drawn(2, 3, 4, complex=kind not in ("rfft", "ihfft"))
        yield Call((x,))
        yield Call((x, (3, 5)), {"dim": (0, 2), "norm": "ortho"})
        yield Call((x,), {"dim": (-1, 0), "norm": "forward"})
        yield Call((x,), {"dim": 1})
        if not fixed:
            yield Call((x, (2, 6)))
            yield Call((x, (3, -1), (0, 1)))
        bad = (RuntimeError, "must have the same length")
        yield Call((x, (2,), (0, 1)), error=bad)

    return make


def _register() -> None:
    """`fft`, `fft2`, `fftn` and the five other kinds: 18 functions of one pattern."""
    for kind, (transform, inverse, text) in _WHAT.items():
        single = _one(f"fft.{kind}", transform, inverse)
        where = " along ``dim``"
        single.__doc__ = text + _ARGUMENTS.format(sizes="n", where=where)
        single.__name__ = single.__qualname__ = kind
        function(f"fft.{kind}", calls=_one_calls(kind))(single)
        for suffix, dims in (("2", (-2, -1)), ("n", None)):
            name = kind + suffix
            several = _many(f"fft.{name}", transform, inverse, dims)
            default = "the last two" if dims else "as many last ones as ``s`` has, or all"
            where = f" along the dimensions ``dim`` (default: {default})"
            several.__doc__ = text + _ARGUMENTS.format(sizes="s", where=where)
            several.__name__ = several.__qualname__ = name
            function(f"fft.{name}", calls=_many_calls(name, dims is not None))(several)


_register()


def _shift_calls() -> Iterator[Call]:
    for shape in [(5,), (4,), (3, 4)]:
        yield Call((_drawn(*shape),))
    yield Call((_drawn(2, 3, 4), (0, 2)))
    yield Call((_drawn(3, 4), 1))
    yield Call((np.arange(5),), grad=False)


def _shifted(op: str, input: Value, dim: int | Ints | None, inverse: bool) -> Value:
    x = expect_tensor(op, input)
    dims = tuple(range(x.ndim)) if dim is None else distinct_dims(dim, x.ndim)
    by = tuple((x.shape[d] + inverse) // 2 for d in dims)
    return public.roll(x, by, dims) if dims else x


@function("fft.fftshift", out=False, calls=_shift_calls)
def fftshift(input: Value, dim: int | Ints | None = None) -> Value:
    """The element of frequency 0 moved to the middle of ``dim`` (default: of all dimensions)."""
    return _shifted("fft.fftshift", input, dim, False)


@function("fft.ifftshift", out=False, calls=_shift_calls)
def ifftshift(input: Value, dim: int | Ints | None = None) -> Value:
    """The inverse of `fft.fftshift`."""
    return _shifted("fft.ifftshift", input, dim, True)


def _freq_calls() -> Iterator[Call]:
    for n in (1, 4, 5):
        yield Call((n,))
    yield Call((6, 0.5), {"dtype": float64})


def _frequencies(steps: Value, n: int, d: float, dtype: DType | None) -> Value:
    return cast(cast(steps, float64) / (n * d), dtype or default_dtype())


@function("fft.fftfreq", calls=_freq_calls)
def fftfreq(n: int, d: float = 1.0, *, dtype: DType | None = None) -> Value:
    """The frequencies of the elements of `fft` of ``n`` points at distance ``d``, in its order."""
    middle = (n + 1) // 2
    up, down = public.arange(0, middle), public.arange(-(n // 2), 0)
    return _frequencies(public.cat((up, down)), n, d, dtype)


@function("fft.rfftfreq", calls=_freq_calls)
def rfftfreq(n: int, d: float = 1.0, *, dtype: DType | None = None) -> Value:
    """The frequencies of the elements of `rfft` of ``n`` points at distance ``d``."""
    return _frequencies(public.arange(0, n // 2 + 1), n, d, dtype)
