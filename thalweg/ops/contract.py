"""The op contract: everything that is known of an op stands in its class.

Two kinds of ops exist. A `Primitive` gives, or declines with a reason, each field below. A
composite (`ops.function.composite`) is a body of other ops that keeps its name in the graph.

Primitives are strict: operands of one primitive have the dtypes and shapes its ``infer`` asks
for; broadcasting and type promotion are explicit ``expand`` and ``cast`` nodes, which
`ops.arithmetic` inserts for user-facing functions. So no rule below ever meets broadcasting.

=============  ===================================================================================
``index``      index notation ("...mk,...kn->...mn"), for people and for the rules derived from it
``infer``      types of the results from the types of the operands, or an error
``reference``  NumPy: the definition of correct
``vjp``        vector-Jacobian product, written in ops
``sbp``        legal signatures on one mesh axis
``batch``      the op with an extra leading dimension on some operands (`vmap`)
``lower``      how native code computes it: one of the forms below
``onnx``       operator name and attribute mapping
``torch``      the public functions that reach it (declared with ``@function`` beside the op)
``samples``    operands worth testing, an iterable of `Sample`
=============  ===================================================================================

Forms of ``lower``
- pointwise ops: ``lower(self, *scalars, **attrs) -> Expr``, the result's element from the
  operands' elements (loop-IR expressions);
- ``indexed`` ops, whose result element i is an expression of operand elements at indices
  computed from i (views, pad, concat, iota, gathers, random bits):
  ``lower(self, node, loads, index) -> Expr``, where ``index`` holds one int64 expression per
  dimension of the result and ``loads[k](at)`` is operand k's element at the expressions ``at``;
- reductions: the flag ``reduces`` names the accumulation ("add", "mul", "max", "min"), and
  ``lower(self, dtype)`` is the literal from which an accumulation in ``dtype`` starts;
- `LoopKernel`: ``lower.build(node) -> loops.Kernel``, a whole loop nest of its own whose buffers
  are the operands and then the results;
- `Template`: the name of a kernel template in `codegen`. If the op has a method
  ``seen(shape)``, the template sees its result in that shape;
- `Host`: it runs on the host, in Python, and why that is right (data-dependent shapes, LAPACK).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np

from ..core.device import META
from ..core.errors import user_location
from ..ir.node import Node, Value
from ..ir.sbp import Broadcast, Sbp, Signature, Split, split_bounds
from ..ir.types import TensorType

Array: TypeAlias = np.ndarray[Any, Any]
Types: TypeAlias = tuple[TensorType, ...]
Attrs: TypeAlias = Mapping[str, Any]
Grads: TypeAlias = Sequence[Value | None]


class Declined(str):
    """A field of the contract that an op does not have, and why."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"declined: {self}")


class Template(str):
    """``lower`` of an op whose kernels come from a template of `codegen`, by name."""

    __slots__ = ()


class Host(str):
    """``lower`` of an op that native programs run on the host by its reference, and why."""

    __slots__ = ()


@dataclass(frozen=True)
class LoopKernel:
    """``lower`` of an op that is a loop nest of its own: ``build(node)`` gives a
    `loops.Kernel` whose parameters are the operands, then the results, then workspaces."""

    build: Callable[[Node], Any]


@dataclass(frozen=True)
class Sample:
    """One call worth testing: ``arrays`` are the operands (NumPy), ``attrs`` the attributes.

    ``grad`` false keeps it out of the gradient tests (kinks, integers, non-finite values);
    ``error`` is the exception type and a fragment of the message of a call that must fail.
    """

    arrays: tuple[Array, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    grad: bool = True
    error: tuple[type[Exception], str] | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class IndexRange:
    """The integers of operand number ``operand`` must lie in ``low <= i < high``; else running
    the op raises `IndexOutOfRange` with ``message``, formatted with the offending ``index``."""

    operand: int
    low: int
    high: int
    message: str


PRIMITIVES: dict[str, Primitive] = {}

FIELDS = (
    "index", "infer", "reference", "vjp", "sbp", "batch", "lower", "onnx", "samples",
)  # fmt: skip


class Primitive:
    """Base class of the primitives. Subclass it, fill the fields, decorate with `@primitive`.

    ``inputs`` fixes the number of operands (None: any). ``differentiable`` says for each result
    whether gradients flow through it. ``linear`` marks ops linear in all operands together
    (so Partial sums pass through), ``view`` those whose result may alias their operand.
    ``indexed`` and ``reduces`` say how ``lower`` is to be read. ``heavy`` ops cost much more than
    reading their operands: worth moving out of loops, and never worth computing twice.
    """

    name: ClassVar[str]
    inputs: ClassVar[int | None] = 1
    outputs: ClassVar[int] = 1
    differentiable: ClassVar[bool] = True
    pointwise: ClassVar[bool] = False
    view: ClassVar[bool] = False
    random: ClassVar[bool] = False
    indexed: ClassVar[bool] = False
    reduces: ClassVar[str] = ""
    heavy: ClassVar[bool] = False

    index: ClassVar[str | Declined]
    infer: Any
    reference: Any
    vjp: Any
    sbp: Any
    batch: Any
    lower: Any
    onnx: Any
    samples: Any

    def __call__(self, *operands: Value, **attrs: Any) -> Any:
        """Apply to values: one `Value`, or a tuple of them for ops with several results."""
        types = self.infer_types(tuple([v.node.types[v.index] for v in operands]), attrs)
        node = Node(self, operands, attrs, types, user_location())
        return node.outputs[0] if self.outputs == 1 else node.outputs

    def infer_types(self, inputs: Types, attrs: Attrs) -> Types:
        if self.inputs is not None and len(inputs) != self.inputs:
            raise TypeError(f"{self.name}: expected {self.inputs} operands, got {len(inputs)}")
        result = self.infer(*inputs, **attrs)
        types = result if isinstance(result, tuple) else (result,)
        for given in inputs:
            if given.device is META:  # what is made of nothing has no data either
                return tuple([TensorType(t.shape, t.dtype, META, t.placement) for t in types])
        return types

    def run(self, arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
        """The reference applied to arrays, always as a tuple."""
        result = self.reference(*arrays, **attrs)
        results = result if isinstance(result, tuple) else (result,)
        return tuple(r if isinstance(r, np.ndarray) else np.asarray(r) for r in results)

    def num_outputs(self, attrs: Attrs) -> int:
        return self.outputs

    def localize(self, attrs: Attrs, signature: Signature, types: Types, rank: Rank) -> Attrs:
        """The attributes with which ``rank`` runs its part under ``signature``.

        ``types`` are the global operand types followed by the global result types.
        """
        return attrs

    def index_ranges(self, node: Node) -> tuple[IndexRange, ...]:
        """Where the positions among the operands must lie.

        Native kernels never touch memory outside of their buffers, whatever the positions hold;
        that they lie in their ranges is checked apart from the kernels, by the smallest and
        largest element (``kernels/bounds.py``), as errors may come a little later.
        """
        return ()

    def field(self, name: str) -> Any:
        return getattr(type(self), name, None)

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"


@dataclass(frozen=True, slots=True)
class Rank:
    """Position on one mesh axis: rank ``index`` of ``size``."""

    index: int
    size: int

    def local_shape(self, shape: tuple[int, ...], sbp: Sbp) -> tuple[int, ...]:
        """The shape this rank holds of a tensor of global ``shape``."""
        if not isinstance(sbp, Split):
            return shape
        start, stop = self.bounds(shape, sbp)
        return (*shape[: sbp.dim], stop - start, *shape[sbp.dim + 1 :])

    def bounds(self, shape: tuple[int, ...], sbp: Split) -> tuple[int, int]:
        return split_bounds(shape[sbp.dim], self.size, self.index)


def primitive(cls: type[Primitive]) -> Primitive:
    """Class decorator: check that every field is given or declined, register, instantiate.

    Raises TypeError naming the missing fields, or if the name is taken.
    """
    missing = [f for f in FIELDS if getattr(cls, f, None) is None]
    if missing:
        raise TypeError(
            f"primitive {cls.__name__}: fields {missing} are neither given nor declined "
            "(write `field = Declined('reason')`)"
        )
    op = cls()
    if op.name in PRIMITIVES:
        raise TypeError(f"primitive {op.name!r} is already defined")
    PRIMITIVES[op.name] = op
    return op


def all_broadcast(node: Node) -> Signature:
    """Every rank computes everything: legal for every deterministic op."""
    return Signature((Broadcast(),) * len(node.inputs), (Broadcast(),) * len(node.outputs))


SampleSource: TypeAlias = Callable[[], Iterator[Sample]]
