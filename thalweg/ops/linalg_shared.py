"""What the files of linear algebra share: stacks of matrices, their checks, and small helpers.

Every decomposition is a primitive over the last two dimensions. The dimensions before them number
independent matrices, so they may be split over ranks and extended by `vmap` freely; the matrix
itself may not be cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import DType
from ..core.errors import DTypeError, ShapeError, ThalwegError
from ..ir.node import Node, Value
from ..ir.sbp import Broadcast, P, Signature, Split
from ..ir.types import TensorType
from .arithmetic import broadcast_shapes, broadcast_to, conj
from .contract import Array, Declined, Host, Primitive, all_broadcast
from .families import batch_up
from .link import ops
from .named import public
from .pointwise import expect_tensor

LAPACK = Host("a LAPACK routine: what it costs hides the call from Python")
NO_ONNX = Declined("ONNX has no operator for matrix decompositions")
_BATCH = "abcdefgh" + "opqrstuvwxyz"


class LinAlgError(ThalwegError, RuntimeError):
    """A matrix for which the result does not exist, or an algorithm that did not converge."""


class MatrixOp(Primitive):
    """Base: stacks of floating-point or complex matrices, all operands with the same stack."""

    index: ClassVar[Any] = "...[mn] -> ...[mn]"
    heavy = True
    lower: Any = LAPACK
    onnx: Any = NO_ONNX
    square: ClassVar[bool] = False
    linear_in: ClassVar[int | None] = None  # an operand in whose columns the result is linear

    def check(self, *operands: TensorType) -> TensorType:
        """The first operand, once dtypes and stacks of all are found to agree."""
        first = operands[0]
        for x in operands:
            if x.dtype.category not in ("float", "complex") or x.dtype.itemsize == 2:
                raise DTypeError(
                    f'"{self.name}" not implemented for {x.dtype}: expected float32, float64, '
                    "complex64 or complex128"
                )
            if x.dtype is not first.dtype:
                raise DTypeError(
                    f"{self.name}: expected operands of one dtype, got {first.dtype} and {x.dtype}"
                )
            if len(x.shape) < 2 or x.shape[:-2] != first.shape[:-2]:
                raise ShapeError(
                    f"{self.name}: expected stacks of matrices with equal leading dimensions, got "
                    f"{[list(o.shape) for o in operands]}"
                )
        if self.square and first.shape[-1] != first.shape[-2]:
            raise not_square(self.name, first.shape)
        return first

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        count, outs = len(node.inputs), len(node.outputs)
        found = [all_broadcast(node)]
        for d in range(node.inputs[0].ndim - 2):
            found.append(Signature((Split(d),) * count, (Split(d),) * outs))
        if self.linear_in is not None:
            last = node.inputs[self.linear_in].ndim - 1
            for sbp in (P, Split(last)):
                ins = tuple(sbp if i == self.linear_in else Broadcast() for i in range(count))
                found.append(Signature(ins, (sbp,)))
        return found

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        result = self(*batch_up(inputs, batched, size), **node.attrs)
        return result if isinstance(result, tuple) else (result,)


def not_square(op: str, shape: tuple[int, ...], argument: str = "A") -> ShapeError:
    return ShapeError(
        f"{op}: {argument} must be batches of square matrices, but they are {shape[-2]} by "
        f"{shape[-1]} matrices"
    )


def matrices(op: str, value: Any, argument: str = "A", *, square: bool = False) -> Value:
    """``value`` if it is a stack of matrices LAPACK takes, else PyTorch's complaint."""
    x = expect_tensor(op, value, argument)
    if x.ndim < 2:
        raise ShapeError(
            f"{op}: The input tensor {argument} must have at least 2 dimensions, got a tensor of "
            f"shape {list(x.shape)}"
        )
    numeric(op, x)
    if square and x.shape[-1] != x.shape[-2]:
        raise not_square(op, x.shape, argument)
    return x


def numeric(op: str, x: Value) -> Value:
    """``x`` if its dtype is floating or complex of at least 32 bits a number."""
    if x.dtype.category not in ("float", "complex"):
        raise DTypeError(
            f"{op}: Expected a floating point or complex tensor as input. Got {x.dtype.name}"
        )
    if x.dtype.itemsize == 2:
        raise DTypeError(f"{op}: Low precision dtypes not supported. Got {x.dtype.name}")
    return x


def same_dtype(op: str, x: Value, y: Value) -> None:
    if x.dtype is not y.dtype:
        raise DTypeError(
            f"{op}: Expected A and B to have the same dtype, but found A of type {x.dtype.name} "
            f"and B of type {y.dtype.name} instead"
        )


def same_stack(op: str, x: Value, y: Value) -> tuple[Value, Value]:
    """Two stacks of matrices with their leading dimensions broadcast."""
    stack = broadcast_shapes(x.shape[:-2], y.shape[:-2], op=op)
    return broadcast_to(x, stack + x.shape[-2:]), broadcast_to(y, stack + y.shape[-2:])


def transposed(x: Value) -> Value:
    """The last two dimensions swapped."""
    n = x.ndim
    return ops.permute(x, dims=(*range(n - 2), n - 1, n - 2))  # type: ignore[no-any-return]


def adjoint(x: Value) -> Value:
    """The conjugate transpose."""
    return conj(transposed(x))


def matmul(x: Value, y: Value) -> Value:
    """Products of the matrices of two stacks of one shape."""
    stack = _BATCH[: x.ndim - 2]
    return ops.dot(x, y, spec=f"{stack}mk,{stack}kn->{stack}mn")  # type: ignore[no-any-return]


def hermitian_part(x: Value) -> Value:
    """(x + xᴴ) / 2."""
    return (x + adjoint(x)) / 2.0


def diagonal_of(x: Value) -> Value:
    n = x.ndim
    return ops.diagonal(x, offset=0, dim1=n - 2, dim2=n - 1)  # type: ignore[no-any-return]


def scale_columns(x: Value, factors: Value) -> Value:
    """x · diag(factors)."""
    return x * ops.reshape(factors, shape=(*factors.shape[:-1], 1, factors.shape[-1]))  # type: ignore[no-any-return]


def scale_rows(x: Value, factors: Value) -> Value:
    """diag(factors) · x."""
    return x * ops.reshape(factors, shape=(*factors.shape, 1))  # type: ignore[no-any-return]


def identity(like: Value, n: int | None = None, dtype: DType | None = None) -> Value:
    """Identity matrices of n rows, one for each matrix of ``like``."""
    n = like.shape[-1] if n is None else n
    return broadcast_to(public.eye(n, dtype=dtype or like.dtype), (*like.shape[:-2], n, n))


def columns(x: Value, start: int, stop: int) -> Value:
    """Columns ``start`` to ``stop`` of each matrix."""
    return public.narrow(x, -1, start, stop - start)  # type: ignore[no-any-return]


def rows(x: Value, start: int, stop: int) -> Value:
    """Rows ``start`` to ``stop`` of each matrix."""
    return public.narrow(x, -2, start, stop - start)  # type: ignore[no-any-return]


def each_matrix(stack: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The positions of the matrices of a stack."""
    return np.ndindex(*stack)


def scipy_routine(library: str, name: str, *arrays: Array) -> Any:
    """The BLAS or LAPACK routine ``name`` for the dtype of the arrays; it takes one matrix."""
    import scipy.linalg

    return getattr(scipy.linalg, f"get_{library}_funcs")((name,), arrays)[0]


def complaint(op: str, position: tuple[int, ...], stack: tuple[int, ...], text: str) -> LinAlgError:
    """The error about one matrix; in a stack it says which."""
    where = f"(Batch element {np.ravel_multi_index(position, stack)}): " if stack else ""
    return LinAlgError(f"{op}: {where}{text}")


def converged(op: str, function: Callable[..., Any], *arrays: Array, **kwargs: Any) -> Any:
    """A NumPy decomposition, with PyTorch's error where it does not converge."""
    try:
        return function(*arrays, **kwargs)
    except np.linalg.LinAlgError as error:
        raise LinAlgError(
            f"{op}: The algorithm failed to converge because the input matrix is ill-conditioned, "
            f"is not finite, or has too many repeated values ({error})"
        ) from None


def drawn(*shape: int, seed: int = 0, complex: bool = False) -> Array:
    """Random numbers for samples and calls."""
    rng = np.random.default_rng(61 + seed)
    x = rng.normal(size=shape)
    return np.asarray(x + 1j * rng.normal(size=shape) if complex else x)


def invertible(*shape: int, seed: int = 0, complex: bool = False) -> Array:
    """Random square matrices whose eigenvalues stay away from 0."""
    x = drawn(*shape, seed=seed, complex=complex)
    return np.asarray(x + 2.0 * shape[-1] ** 0.5 * np.eye(shape[-1]))


def positive(*shape: int, seed: int = 0, complex: bool = False) -> Array:
    """Random Hermitian positive-definite matrices."""
    x = drawn(*shape, seed=seed, complex=complex)
    return np.asarray(x @ np.conj(np.swapaxes(x, -1, -2)) + np.eye(shape[-1]))


def single(array: Array) -> Array:
    """The array in single precision."""
    return array.astype(np.complex64 if array.dtype.kind == "c" else np.float32)
