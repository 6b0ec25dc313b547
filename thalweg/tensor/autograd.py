"""Autograd's public functions: `backward`, `grad`, hooks, and custom `Function`s."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from ..core.errors import ArgumentError, AutogradError, located
from ..ir.types import TensorType
from ..ops.link import ops
from . import repeat
from .alias import bind, repoint
from .backward import FREED, run_backward, run_hooks
from .exclusive import exclusive
from .modes import no_grad
from .points import FunctionPoint, HookPoint
from .record import result
from .tensor import Tensor
from .trace import local, set_grad_mode, transition


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Accumulate into ``.grad`` of the leaves the gradients of ``tensors``.

    Args: ``tensors`` of any shape; ``grad_tensors`` of the same shapes (None for one-element
    tensors: ones); ``retain_graph`` (default: ``create_graph``) keeps what a second pass needs;
    ``inputs`` restricts accumulation to these leaves.
    Raises RuntimeError for tensors without history, non-scalars without gradient, graphs already
    freed and values modified in place since.
    """
    usual = retain_graph is None and not create_graph and inputs is None
    if usual and grad_tensors is None and grad_variables is None and repeat.repeat(tensors):
        return
    try:
        _backward(tensors, grad_tensors or grad_variables, retain_graph, create_graph, inputs)
    except Exception as error:
        raise located(error) from None


@exclusive
def _backward(
    tensors: Any, grad_tensors: Any, retain_graph: bool | None, create_graph: bool, inputs: Any
) -> None:
    roots = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    grads = _cotangents(roots, grad_tensors)
    retain = create_graph if retain_graph is None else retain_graph
    wanted = None
    if inputs is not None:
        wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if not wanted:
            raise AutogradError("'inputs' argument to backward() cannot be empty.")
    usual = len(roots) == 1 and grads[0] is None and wanted is None
    usual = usual and not retain and not create_graph
    start = repeat.begin(roots[0]) if usual else None
    found = run_backward(roots, grads, wanted, retain, create_graph)
    before = set_grad_mode(create_graph)
    try:
        for leaf, grad in found.found.values():
            accumulate(leaf, grad, create_graph)
    finally:
        set_grad_mode(before)
    if start is not None:
        repeat.end(start, found.found.values())


def accumulate(leaf: Tensor, grad: Tensor, create_graph: bool) -> None:
    """Add a gradient to ``leaf.grad``: hooks first, then in place unless differentiable."""
    extra = leaf._ensure_extra()
    if extra.hooks and extra.base is None and leaf._meta.is_leaf:
        grad = run_hooks(leaf, grad)
    if extra.grad is None:
        extra.grad = grad
    elif create_graph:
        extra.grad = extra.grad + grad
    else:
        extra.grad.add_(grad)
    if extra.post_hooks:
        for hook in list(extra.post_hooks.values()):
            hook(leaf)


def _cotangents(roots: Sequence[Tensor], given: Any) -> list[Tensor | None]:
    if given is None:
        grads: list[Tensor | None] = [None] * len(roots)
    elif isinstance(given, Tensor):
        grads = [given]
    else:
        grads = list(given)
    if len(grads) != len(roots):
        raise AutogradError(f"got {len(roots)} tensors and {len(grads)} gradients")
    for i, (root, grad) in enumerate(zip(roots, grads)):
        if not isinstance(root, Tensor):
            raise ArgumentError(f"expected Tensors to differentiate, got {type(root).__name__}")
        if not root.requires_grad:
            raise AutogradError(
                f"element {i} of tensors does not require grad and does not have a grad_fn"
            )
        if grad is None:
            if root.shape.numel() != 1:
                raise AutogradError(
                    "grad can be implicitly created only for scalar outputs, got shape "
                    f"{list(root.shape)}"
                )
        elif grad.shape != root.shape:
            raise AutogradError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {grad.shape} and output[{i}] "
                f"has a shape of {root.shape}."
            )
    return grads


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of ``sum(outputs * grad_outputs)`` with respect to ``inputs``, as a tuple.

    ``create_graph`` makes them differentiable; an input that does not take part raises
    RuntimeError unless ``allow_unused`` (None then) or ``materialize_grads`` (zeros).
    """
    try:
        roots = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        for tensor in wanted:
            if not tensor.requires_grad:
                raise AutogradError("One of the differentiated Tensors does not require grad")
        if is_grads_batched:
            return _batched_grad(roots, wanted, grad_outputs, create_graph, allow_unused)
        cotangents = _cotangents(roots, grad_outputs)
        retain = create_graph if retain_graph is None else retain_graph
        run = run_backward(roots, cotangents, wanted, retain, create_graph)
        results: list[Tensor | None] = []
        for tensor in wanted:
            pair = run.found.get(id(tensor))
            found = pair[1] if pair is not None else None
            if found is not None and tensor.is_leaf:
                found = run_hooks(tensor, found)
            if found is None and materialize_grads:
                from .creation import zeros_like

                found = zeros_like(tensor)
            if found is None and not allow_unused:
                raise AutogradError(
                    "One of the differentiated Tensors appears to not have been used in the "
                    "graph. Set allow_unused=True if this is the desired behavior."
                )
            results.append(found)
        return tuple(results)
    except Exception as error:
        raise located(error) from None


def _batched_grad(
    roots: Sequence[Tensor], wanted: Sequence[Tensor], grads: Any, create: bool, unused: Any
) -> tuple[Tensor | None, ...]:
    from .functional import stack

    rows = [grads] if isinstance(grads, Tensor) else list(grads)
    per_row = [
        grad(roots, wanted, [g[i] for g in rows], True, create, allow_unused=unused)
        for i in range(rows[0].shape[0])
    ]
    return tuple(None if c[0] is None else stack(list(c)) for c in zip(*per_row))


# ---- hooks


class RemovableHandle:
    """Returned when a hook is registered; `remove` takes the hook off again."""

    _ids = itertools.count()

    def __init__(self, hooks: dict[int, Any], hook: Callable[..., Any]) -> None:
        self._hooks = hooks
        self.id = next(RemovableHandle._ids)
        hooks[self.id] = hook

    def remove(self) -> None:
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def register_hook(tensor: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call ``hook(grad)`` whenever a gradient for ``tensor`` is computed; a tensor it returns
    takes the gradient's place."""
    if not tensor.requires_grad:
        raise located(
            RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        )
    extra = tensor._ensure_extra()
    if extra.hooks is None:
        extra.hooks = {}
    if not tensor.is_leaf:
        _add_hook_point(tensor)
    return RemovableHandle(extra.hooks, hook)


def _add_hook_point(tensor: Tensor) -> None:
    extra = tensor._ensure_extra()
    if extra.history is not None:
        history, value = extra.history
        history.boundaries.setdefault(value, HookPoint(history.slots[value], tensor))
        return
    trace = local.trace
    slot = bind(trace, tensor)
    value = tensor._meta.value
    known = trace.boundaries.get(value)
    if known is None:
        trace.boundaries[value] = HookPoint(slot, tensor)
    elif not (isinstance(known, HookPoint) and known.tensor is tensor):
        # A custom function stands here: give the hook a value of its own behind it.
        state = transition(
            trace, ("hook", slot), tensor._meta.name,
            lambda: [ops.reshape(value, shape=value.shape)],
        )  # fmt: skip
        version = extra.version
        repoint(trace, tensor, state.metas[0])
        extra.version = version
        trace.boundaries[tensor._meta.value] = HookPoint(tensor._slot, tensor)


def register_post_accumulate_grad_hook(
    tensor: Tensor, hook: Callable[[Tensor], None]
) -> RemovableHandle:
    """Call ``hook(tensor)`` after a gradient was accumulated into the leaf ``tensor``."""
    if not tensor.is_leaf:
        raise located(
            RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        )
    extra = tensor._ensure_extra()
    if extra.post_hooks is None:
        extra.post_hooks = {}
    return RemovableHandle(extra.post_hooks, hook)


def retain_grad(tensor: Tensor) -> None:
    """Keep the gradient of a non-leaf tensor in its ``.grad``."""
    if not tensor.requires_grad:
        raise located(RuntimeError("can't retain_grad on Tensor that has requires_grad=False"))
    if tensor.is_leaf:
        return
    extra = tensor._ensure_extra()
    if not extra.retain:
        extra.retain = True
        _add_hook_point(tensor)


# ---- custom functions


class FunctionCtx:
    """What `Function.forward` leaves for `Function.backward`."""

    def __init__(self) -> None:
        self._saved: tuple[Tensor | None, ...] = ()
        self._versions: tuple[int, ...] = ()
        self._dirty: tuple[Tensor, ...] = ()
        self._non_differentiable: tuple[Tensor, ...] = ()
        self._materialize = True
        self._freed = False
        self.needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        self._saved = tensors
        self._versions = tuple(t._version if t is not None else 0 for t in tensors)

    save_for_forward = save_for_backward

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        if self._freed:
            raise located(AutogradError(FREED))
        for tensor, version in zip(self._saved, self._versions):
            if tensor is not None and tensor._version != version:
                raise located(
                    AutogradError(
                        "one of the variables needed for gradient computation has been modified "
                        f"by an inplace operation: saved tensor of shape {list(tensor.shape)} is "
                        f"at version {tensor._version}; expected version {version} instead."
                    )
                )
        return self._saved

    def mark_dirty(self, *tensors: Tensor) -> None:
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        self._materialize = value


class Function:
    """Base class of custom differentiable functions.

    Subclasses define static ``forward(ctx, *args)`` and ``backward(ctx, *grads)`` (or ``forward``
    without ctx and ``setup_context(ctx, inputs, output)``) and are called through ``apply``.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("You must implement the forward function for custom Function.")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom Function."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` and record its outputs as results of this function."""
        return FunctionCall(cls).apply(args, kwargs)


class _Place:
    """Where a tensor stood before a custom function ran."""

    def __init__(self, tensor: Tensor) -> None:
        self.meta, self.buffer = tensor._meta, tensor._buffer
        extra = tensor._extra
        self.history = extra.history if extra is not None else None
        self.trace, self.slot = tensor._trace, tensor._slot

    def handle(self) -> Tensor:
        """A handle on that value."""
        if self.meta.is_leaf:
            raise AutogradError(
                "a leaf Variable that requires grad is being used in an in-place operation."
            )
        made: Tensor = object.__new__(Tensor)
        made._meta, made._buffer, made._extra = self.meta, self.buffer, None
        made._trace, made._slot = None, self.slot
        if self.history is not None:
            made._ensure_extra().history = self.history
        elif self.trace is local.trace and self.trace is not None:
            made._trace = self.trace
            self.trace.tensors[self.slot] = made
        return made


class FunctionCall:
    """One application: its context, the tensors it took, and how many results it gave."""

    def __init__(self, function: type[Function]) -> None:
        self.function = function
        self.ctx: Any = type(f"{function.__name__}Backward", (FunctionCtx,), {})()
        self.inputs: list[Any] = []
        self.outputs = 0
        self.types: list[TensorType | None] = []

    def apply(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        self.inputs = list(args)
        ctx = self.ctx
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        track = local.grad and any(ctx.needs_input_grad)
        function = self.function
        separate = getattr(function, "setup_context", None)
        places = {id(a): _Place(a) for a in args if isinstance(a, Tensor)}
        with no_grad():
            if separate is None:
                produced = function.forward(ctx, *args, **kwargs)
            else:
                produced = function.forward(*args, **kwargs)
                separate(ctx, tuple(args), produced)
        if not track:
            return produced
        for i, value in enumerate(self.inputs):
            if any(value is t for t in ctx._dirty):
                # The handle becomes the function's result; gradients go to what it was before.
                self.inputs[i] = places[id(value)].handle()
        single = not isinstance(produced, (tuple, list))
        results = [produced] if single else list(produced)
        self.outputs = len(results)
        self.types = [r._meta.value.type if isinstance(r, Tensor) else None for r in results]
        wrapped = [self._mark(r, i) for i, r in enumerate(results)]
        # Saved outputs must be the differentiable handles, as in PyTorch.
        swap = {id(old): new for old, new in zip(results, wrapped) if isinstance(old, Tensor)}
        ctx._saved = tuple(swap.get(id(t), t) for t in ctx._saved)
        ctx._versions = tuple(t._version if t is not None else 0 for t in ctx._saved)
        return wrapped[0] if single else tuple(wrapped)

    def _mark(self, value: Any, index: int) -> Any:
        if not isinstance(value, Tensor):
            return value
        if any(value is t for t in self.ctx._non_differentiable):
            return value
        if value.dtype.category not in ("float", "complex"):
            return value
        trace = local.trace
        slot = bind(trace, value)
        source = value._meta.value
        name = f"{self.function.__name__}Backward"
        state = transition(
            trace, ("function", name, slot, index), name,
            lambda: [ops.as_leaf(ops.stop_gradient(source))],
        )  # fmt: skip
        meta = state.metas[0]
        meta.is_leaf = False
        dirty = any(value is t for t in self.ctx._dirty)
        if dirty:
            repoint(trace, value, meta)
            handle = value
        else:
            handle = result(trace, meta)
        trace.boundaries[meta.value] = FunctionPoint(meta.slot, self, index)
        return handle

    def backward(self, grads: Sequence[Tensor | None], retain: bool) -> list[tuple[Tensor, Tensor]]:
        """Call the user's ``backward``; pairs of (input tensor, its gradient)."""
        from .creation import zeros

        ctx = self.ctx
        given = list(grads)
        if ctx._materialize:
            for i, kind in enumerate(self.types):
                if kind is not None and given[i] is None:
                    given[i] = zeros(kind.shape, dtype=kind.dtype)
        returned = self.function.backward(ctx, *given)
        ctx._freed = bool(ctx._saved) and not retain
        values = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        name = self.function.__name__
        while len(values) > len(self.inputs) and values[-1] is None:
            values.pop()
        if len(values) != len(self.inputs):
            raise AutogradError(
                f"function {name}Backward returned an incorrect number of gradients (expected "
                f"{len(self.inputs)}, got {len(values)})"
            )
        pairs = []
        for i, (tensor, value, needed) in enumerate(zip(self.inputs, values, ctx.needs_input_grad)):
            if value is None or not needed:
                continue
            if value.shape != tensor.shape:
                raise AutogradError(
                    f"Function {name}Backward returned an invalid gradient at index {i} - got "
                    f"{list(value.shape)} but expected shape compatible with {list(tensor.shape)}"
                )
            pairs.append((tensor, value))
        return pairs


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for `Function.backward`: its gradients are not differentiable again."""

    def wrapped(ctx: Any, *args: Any) -> Any:
        with no_grad():
            return function(ctx, *args)

    return wrapped
