"""Public functions over values: the torch-named surface, declared beside the ops it reaches.

``@function("add")`` registers a Python function whose signature is PyTorch's and whose body
combines values; the tensor layer turns each into a recorded function, a `Tensor` method, an
in-place method and an ``out=`` form. ``@composite`` does the same but keeps the call as one
named node in the graph until the `decompose` pass replaces it by its body.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import user_location
from ..ir.node import Node, Value, make_input
from .contract import Array, Attrs, Declined, Grads, Types
from .parameters import Parameters


@dataclass(frozen=True)
class Call:
    """One call of a public function worth testing against PyTorch: NumPy arrays stand for
    tensors in ``args`` and ``kwargs``; ``grad`` says whether to compare gradients too;
    ``error`` is the exception type and a message fragment of a call that must fail."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    grad: bool = True
    error: tuple[type[Exception], str] | None = None


@dataclass
class Function:
    """A public function. ``impl`` takes and returns `Value`s and static arguments.

    ``name`` is PyTorch's ('add', 'nn.functional.gelu', 'linalg.vector_norm'); ``method`` the
    name of the `Tensor` method ('' for none); ``inplace`` adds ``method_``; ``view`` marks
    results that alias the first operand; ``random`` functions take a keyword ``rng``, an
    `ops.random.Stream`, which the caller of the public function does not see; ``host`` functions
    have results whose shape depends on data: they take and return NumPy arrays and have no
    gradient; ``operators`` are the dunder methods it implements,
    as ('__add__', '__radd__'); ``aliases`` further public names. What is not ``public`` is a
    method only, or a part of other functions: no module shows it under its name.
    """

    name: str
    impl: Callable[..., Any]
    method: str = ""
    inplace: bool = False
    view: bool = False
    operators: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    out: bool = True
    random: bool = False
    host: bool = False
    calls: Callable[[], Iterable[Call]] | None = None
    composite: Composite | None = None
    public: bool = True

    @property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.impl)

    @property
    def parameters(self) -> Parameters:
        return Parameters.of(self.impl) if self.composite is None else self.composite.public


FUNCTIONS: dict[str, Function] = {}

# Called with every function registered from then on: how layers above learn of an op that is
# defined after they were imported.
listeners: list[Callable[[Function], object]] = []


def function(
    name: str,
    *,
    method: bool | str = False,
    inplace: bool = False,
    view: bool = False,
    operators: tuple[str, ...] = (),
    aliases: tuple[str, ...] = (),
    out: bool = True,
    random: bool = False,
    host: bool = False,
    calls: Callable[[], Iterable[Call]] | None = None,
    public: bool = True,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a public function (see `Function` for the fields). Returns it unchanged."""

    def register(impl: Callable[..., Any]) -> Callable[..., Any]:
        if name in FUNCTIONS:
            raise TypeError(f"function {name!r} is already defined")
        method_name = method if isinstance(method, str) else ""
        if method is True:
            method_name = name.rpartition(".")[2]
        composite_op = impl if isinstance(impl, Composite) else None
        called = composite_op.body if composite_op is not None else impl
        called.__qualname__ = name.rpartition(".")[2]  # as Python's errors about arguments call it
        FUNCTIONS[name] = Function(
            name, impl, method_name, inplace, view, operators, aliases, out, random, host, calls,
            composite_op, public,
        )  # fmt: skip
        for listener in listeners:
            listener(FUNCTIONS[name])
        return impl

    return register


class _PublicSignature:
    """``__signature__`` of composites, made when somebody asks for it."""

    def __get__(self, instance: Composite | None, owner: type) -> inspect.Signature:
        if instance is None:
            raise AttributeError("__signature__")
        return instance.public_signature()


class Composite:
    """A named op defined by a body of other ops.

    Parameters that receive values become the node's operands, in signature order; all others
    become attributes. Optional fields: ``vjp(node, grads)`` where the derived gradient is
    numerically or computationally worse, ``reference`` where a direct NumPy form helps to test.
    """

    __signature__ = _PublicSignature()
    differentiable = True
    random = False
    pointwise = False
    view = False

    def __init__(
        self,
        name: str,
        body: Callable[..., Any],
        vjp: Callable[[Node, Any], Grads] | None,
        onnx: Any,
    ) -> None:
        self.name = name
        self.body = body
        self.vjp = vjp
        self.onnx = onnx
        # Of one that shows its operand's memory: `strides`, `write` and so on, as of a `View`.
        self.alias: Any = None
        self.__doc__ = body.__doc__
        self.__name__ = name.rpartition(".")[2]
        self.__wrapped__ = body
        # Of the body, and of the function that users call.
        self.parameters = self.public = Parameters.of(body)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        arguments = self.parameters.bind(args, kwargs)
        operands: list[Value] = []
        attrs: dict[str, Any] = {}
        for name, value in arguments.items():
            if isinstance(value, Value):
                operands.append(value)
            else:
                attrs[name] = tuple(value) if isinstance(value, list) else value
        result = self.body(**arguments)
        results = result if isinstance(result, tuple) else (result,)
        types = tuple(v.type for v in results)
        node = Node(self, tuple(operands), attrs, types, user_location())
        node.body = results
        return node.outputs if isinstance(result, tuple) else node.outputs[0]

    def expand(self, inputs: Sequence[Value], attrs: Attrs) -> tuple[Value, ...]:
        """The body's results on ``inputs``."""
        remaining = iter(inputs)
        call = {p: attrs[p] if p in attrs else next(remaining) for p in self.parameters.names}
        result = self.body(**call)
        return result if isinstance(result, tuple) else (result,)

    def infer_types(self, inputs: Types, attrs: Attrs) -> Types:
        return tuple(v.type for v in self.expand([make_input(t) for t in inputs], attrs))

    def public_signature(self) -> inspect.Signature:
        """How users call it."""
        return inspect.signature(self.body)

    def __repr__(self) -> str:
        return f"<composite {self.name}>"


COMPOSITES: dict[str, Composite] = {}


THROUGH_BODY = Declined("exported through its body")


def composite(
    name: str,
    *,
    op: str = "",
    vjp: Callable[[Node, Any], Grads] | None = None,
    onnx: Any = THROUGH_BODY,
    **options: Any,
) -> Callable[[Callable[..., Any]], Composite]:
    """Register a body of ops as a composite op and public function ``name``.

    ``op`` names the node (default: the last part of ``name``); ``options`` are the keyword
    arguments of `function`.
    """

    def register(body: Callable[..., Any]) -> Composite:
        op_name = op or name.rpartition(".")[2]
        if op_name in COMPOSITES:
            raise TypeError(f"composite {op_name!r} is already defined")
        made = Composite(op_name, body, vjp, onnx)
        COMPOSITES[op_name] = made
        function(name, **options)(made)
        return made

    return register


def body_of(node: Node) -> tuple[Value, ...]:
    """The values a composite node stands for, built once per node on the node's own inputs."""
    if node.body is None:
        node.body = node.op.expand(node.inputs, node.attrs)
    return node.body


__all__ = [
    "COMPOSITES",
    "FUNCTIONS",
    "Array",
    "Call",
    "Composite",
    "Function",
    "Mapping",
    "body_of",
    "composite",
    "function",
    "listeners",
]  # fmt: skip
