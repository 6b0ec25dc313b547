"""Hooks: what may happen around a module's forward and backward, and in which order.

A call without hooks never comes here: ``Module.__call__`` looks at one flag, ``_hooked``, that the
first registration sets (on the module, or on the class for hooks that apply to every module).
"""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import thalweg
from thalweg.tensor import Tensor

Hook = Callable[..., Any]


class RemovableHandle:
    """What registering a hook returns; ``remove()`` (or leaving a ``with`` block) undoes it."""

    _ids = itertools.count()

    def __init__(self, hooks: HookTable, extra: Iterable[HookTable] = ()) -> None:
        self.id = next(RemovableHandle._ids)
        # Weak, so that a forgotten handle does not keep a model alive.
        self._tables = tuple(weakref.ref(table) for table in (hooks, *extra))

    def remove(self) -> None:
        """Forget the hook; a second call does nothing."""
        for reference in self._tables:
            table = reference()
            if table is not None:
                table.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.remove()

    def __getstate__(self) -> tuple[tuple[HookTable | None, ...], int]:
        return tuple(reference() for reference in self._tables), self.id

    def __setstate__(self, state: tuple[tuple[HookTable | None, ...], int]) -> None:
        tables, self.id = state
        # A table that died before pickling has no owner to clean up after.
        self._tables = tuple(weakref.ref(t if t is not None else HookTable()) for t in tables)
        RemovableHandle._ids = itertools.count(max(next(RemovableHandle._ids), self.id + 1))


class HookTable(dict[int, Any]):
    """Hooks by handle id, in calling order."""

    __slots__ = ("__weakref__",)


class HookSlot:
    """A hook table that a module gets when it is first asked for: most modules never have one."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, module: Any, owner: type | None = None) -> Any:
        if module is None:
            return self
        return module.__dict__.setdefault(self.name, HookTable())


_global_pre = HookTable()
_global_forward = HookTable()
_global_forward_always = HookTable()
_global_backward_pre = HookTable()
_global_backward = HookTable()
_GLOBAL_TABLES = (_global_pre, _global_forward, _global_backward_pre, _global_backward)


class HookMixin:
    """Registration of forward and backward hooks, and the call that honours them."""

    # False on the class; a module with hooks has its own True. Read once per call.
    _hooked = False

    _forward_pre_hooks = HookSlot()
    _forward_pre_hooks_with_kwargs = HookSlot()
    _forward_hooks = HookSlot()
    _forward_hooks_with_kwargs = HookSlot()
    _forward_hooks_always_called = HookSlot()
    _backward_pre_hooks = HookSlot()
    _backward_hooks = HookSlot()

    forward: Callable[..., Any]

    def _add_hook(
        self, table: HookTable, hook: Hook, prepend: bool, *marks: HookTable
    ) -> RemovableHandle:
        handle = RemovableHandle(table, marks)
        table[handle.id] = hook
        for mark in marks:
            mark[handle.id] = True
        if prepend:
            _put_first(table, handle.id)
        self.__dict__["_hooked"] = True
        return handle

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before each forward; what it returns replaces ``args``.

        With ``with_kwargs`` it is ``hook(module, args, kwargs)`` and may return the new pair.
        ``prepend`` puts it before the hooks already there.
        """
        marks = (self._forward_pre_hooks_with_kwargs,) if with_kwargs else ()
        return self._add_hook(self._forward_pre_hooks, hook, prepend, *marks)

    def register_forward_hook(
        self,
        hook: Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after each forward; its result replaces the output.

        With ``with_kwargs`` it is ``hook(module, args, kwargs, output)``. ``always_call`` runs the
        hook (with output ``None``) even when the forward raised.
        """
        marks = [self._forward_hooks_with_kwargs] if with_kwargs else []
        if always_call:
            marks.append(self._forward_hooks_always_called)
        return self._add_hook(self._forward_hooks, hook, prepend, *marks)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before the module's gradients are computed.

        It may return a new ``grad_output``.
        """
        return self._add_hook(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` once the gradients of the inputs exist.

        Both are tuples, ``None`` standing for what is no tensor; the hook may return a new
        ``grad_input``. Only positional arguments of the forward appear in ``grad_input``.
        """
        return self._add_hook(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """`register_full_backward_hook` under its older name; PyTorch's older form gives the
        gradients of the last operation's inputs in place of the module's."""
        return self.register_full_backward_hook(hook)

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        own = self.__dict__
        pre = _snapshot(_global_pre, own.get("_forward_pre_hooks"))
        post = _snapshot(_global_forward, own.get("_forward_hooks"))
        backward_pre = _snapshot(_global_backward_pre, own.get("_backward_pre_hooks"))
        backward = _snapshot(_global_backward, own.get("_backward_hooks"))
        if not (pre or post or backward_pre or backward):
            own.pop("_hooked", None)
            if not any(_GLOBAL_TABLES):
                HookMixin._hooked = False
            return self.forward(*args, **kwargs)

        called: set[int] = set()
        try:
            for key, hook in pre:
                args, kwargs = self._run_pre_hook(key, hook, args, kwargs)
            bracket = None
            if backward_pre or backward:
                bracket = _BackwardBracket(
                    self, [h for _, h in backward_pre], [h for _, h in backward]
                )
                args = bracket.wrap_inputs(args)
            result = self.forward(*args, **kwargs)
            for key, hook in post:
                called.add(key)
                changed = self._run_forward_hook(key, hook, args, kwargs, result)
                if changed is not None:
                    result = changed
            return result if bracket is None else bracket.wrap_outputs(result)
        except Exception:
            self._run_always_called(post, called, args, kwargs)
            raise

    def _run_pre_hook(
        self, key: int, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if key in self._forward_pre_hooks_with_kwargs:
            answer = hook(self, args, kwargs)
            if answer is None:
                return args, kwargs
            if isinstance(answer, tuple) and len(answer) == 2:
                return answer
            raise RuntimeError(
                "forward pre-hook must return None or a tuple of (new_args, new_kwargs), "
                f"but got {answer}."
            )
        answer = hook(self, args)
        if answer is None:
            return args, kwargs
        return (answer if isinstance(answer, tuple) else (answer,)), kwargs

    def _run_forward_hook(
        self, key: int, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> Any:
        if key in self._forward_hooks_with_kwargs:
            return hook(self, args, kwargs, result)
        return hook(self, args, result)

    def _run_always_called(
        self,
        hooks: list[tuple[int, Hook]],
        called: set[int],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        for key, hook in hooks:
            always = key in self._forward_hooks_always_called or key in _global_forward_always
            if key in called or not always:
                continue
            try:
                self._run_forward_hook(key, hook, args, kwargs, None)
            except Exception as error:  # the forward's own error is the one to report
                warnings.warn(
                    f"forward hook with ``always_call=True`` raised an exception that was "
                    f"silenced as another error was raised in forward: {error}"
                )


def _put_first(table: dict[int, Any], key: int) -> None:
    """Move one entry to the front, keeping the order of the others."""
    rest = {other: hook for other, hook in table.items() if other != key}
    first = {key: table[key]}
    table.clear()
    table.update(first | rest)


def _snapshot(first: HookTable, second: HookTable | None) -> list[tuple[int, Hook]]:
    """Hooks in calling order, fixed now: a hook may remove itself while it runs."""
    hooks = list(first.items())
    if second:
        hooks.extend(second.items())
    return hooks


class _BackwardBracket:
    """Two identity functions around a forward that see its gradients pass.

    The one at the outputs notes ``grad_output``; the one at the inputs then has ``grad_input`` and
    calls the hooks. Where no input needs a gradient, the hooks run at the outputs.
    """

    def __init__(self, module: Any, pre_hooks: list[Hook], hooks: list[Hook]) -> None:
        self.module = module
        self.pre_hooks = pre_hooks
        self.hooks = hooks
        self.grad_output: tuple[Any, ...] | None = None
        self.input_count = 0
        self.input_places: list[int] | None = None
        self.output_places: list[int] = []
        self.output_count = 0

    def wrap_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.input_count = len(args)
        wrapped, self.input_places = _through(self.seen_inputs, args)
        return wrapped

    def wrap_outputs(self, result: Any) -> Any:
        results = result if isinstance(result, tuple) else (result,)
        self.output_count = len(results)
        wrapped, places = _through(self.seen_outputs, results)
        if places is None:
            return result
        self.output_places = places
        return wrapped if isinstance(result, tuple) else wrapped[0]

    def seen_outputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        full = _scatter(grads, self.output_places, self.output_count)
        for hook in self.pre_hooks:
            answer = hook(self.module, full)
            if answer is not None:
                full = _checked(answer, len(full), "Backward pre hook", "grad_output")
        self.grad_output = full
        if self.input_places is None:
            nothing = (None,) * self.input_count
            for hook in self.hooks:
                answer = hook(self.module, nothing, full)
                if answer is not None and any(
                    a is not None for a in (answer if isinstance(answer, tuple) else (answer,))
                ):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should "
                        "always return None or None for all gradients."
                    )
            self.grad_output = None
        return tuple(full[place] for place in self.output_places)

    def seen_inputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        assert self.input_places is not None
        if self.grad_output is None:  # no gradient came through the outputs of this call
            return grads
        full = _scatter(grads, self.input_places, self.input_count)
        for hook in self.hooks:
            answer = hook(self.module, full, self.grad_output)
            if answer is not None:
                full = _checked(answer, len(full), "Backward hook", "grad_input")
        self.grad_output = None
        return tuple(full[place] for place in self.input_places)


def _scatter(values: tuple[Any, ...], places: list[int], count: int) -> tuple[Any, ...]:
    full: list[Any] = [None] * count
    for place, value in zip(places, values):
        full[place] = value
    return tuple(full)


def _checked(answer: Any, expected: int, who: str, what: str) -> tuple[Any, ...]:
    answer = answer if isinstance(answer, tuple) else (answer,)
    if len(answer) != expected:
        raise RuntimeError(
            f"{who} returned an invalid number of {what}, got {len(answer)}, "
            f"but expected {expected}"
        )
    return answer


def _through(
    see: Callable[[tuple[Any, ...]], tuple[Any, ...]], values: tuple[Any, ...]
) -> tuple[tuple[Any, ...], list[int] | None]:
    """Pass the tensors among ``values`` through an identity whose backward calls ``see``.

    Returns the values and the places of the tensors, or ``None`` where no gradient will flow.
    """
    places = [place for place, value in enumerate(values) if isinstance(value, Tensor)]
    if not thalweg.is_grad_enabled() or not any(values[p].requires_grad for p in places):
        return values, None
    observed = _observe_function().apply(see, *[values[place] for place in places])
    full = list(values)
    for place, value in zip(places, observed if isinstance(observed, tuple) else (observed,)):
        full[place] = value
    return tuple(full), places


_observe: Any = None


def _observe_function() -> Any:
    """The identity ``autograd.Function``; made at first use because the class needs autograd."""
    global _observe
    if _observe is None:

        class Observe(thalweg.autograd.Function):
            @staticmethod
            def forward(ctx: Any, see: Any, *tensors: Any) -> Any:
                ctx.see = see
                seen = tuple(t.view_as(t) for t in tensors)
                constant = [out for out, t in zip(seen, tensors) if not t.requires_grad]
                ctx.mark_non_differentiable(*constant)
                return seen

            @staticmethod
            def backward(ctx: Any, *grads: Any) -> Any:
                return (None, *ctx.see(grads))

        _observe = Observe
    return _observe


def _add_global(table: HookTable, hook: Hook, *marks: HookTable) -> RemovableHandle:
    handle = RemovableHandle(table, marks)
    table[handle.id] = hook
    for mark in marks:
        mark[handle.id] = True
    HookMixin._hooked = True
    return handle


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, args)`` before the forward of every module."""
    return _add_global(_global_pre, hook)


def register_module_forward_hook(hook: Hook, *, always_call: bool = False) -> RemovableHandle:
    """Call ``hook(module, args, output)`` after the forward of every module."""
    marks = (_global_forward_always,) if always_call else ()
    return _add_global(_global_forward, hook, *marks)


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, grad_output)`` before the backward of every module."""
    return _add_global(_global_backward_pre, hook)


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` after the backward of every module."""
    return _add_global(_global_backward, hook)
