"""`Optimizer`: parameter groups, state, and one fused transition per step.

A subclass says which state tensors a parameter has (`slots`), which numbers a step needs
(`numbers`, computed on the host in double precision as PyTorch does) and the update rule over
graph values (`rule`). The base class batches parameters that share numbers and records each
batch's update as one transition of the trace, whatever the number of parameters. A subclass may
instead define ``step`` itself, in ordinary tensor operations.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from ..core.errors import located
from ..ir.node import Value
from ..tensor import Tensor
from ..tensor.autograd import RemovableHandle
from ..tensor.flush import flush
from ..tensor.modes import enable_grad
from ..tensor.region import Numbers, fused_update
from .values import loaded, plain, row_rule, scalar, split_names, stand_ins, write_back

_NO_STATE: dict[str, Any] = {}


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def _outermost(step: Callable[..., Any]) -> Callable[..., Any]:
    """``step`` with the hooks around it; a step that calls its base class's runs them once."""

    @functools.wraps(step)
    def wrapper(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if self._stepping:
            return step(self, *args, **kwargs)
        self._stepping = self._opt_called = True
        try:
            args = (self, *args)
            for hook in list(self._pre_hooks.values()):
                changed = hook(self, args, kwargs)
                if changed is None:
                    continue
                if not isinstance(changed, tuple) or len(changed) != 2:
                    raise located(
                        RuntimeError(
                            "a step pre-hook must return None or a tuple of (new_args, "
                            f"new_kwargs), but got {changed}."
                        )
                    )
                args, kwargs = changed
            result = step(*args, **kwargs)
            flush()
            for hook in list(self._post_hooks.values()):
                hook(self, args, kwargs)
            return result
        finally:
            self._stepping = False

    wrapper.notes_call = True  # type: ignore[attr-defined]
    return wrapper


def notes_call(optimizer: Optimizer) -> None:
    """See to it that a call of ``step`` is noted, for an instance whose ``step`` was replaced."""
    replaced = optimizer.step
    if not hasattr(replaced, "notes_call"):

        @functools.wraps(replaced)
        def step(*args: Any, **kwargs: Any) -> Any:
            optimizer._opt_called = True
            return replaced(*args, **kwargs)

        step.notes_call = True  # type: ignore[attr-defined]
        optimizer.step = step  # type: ignore[method-assign]


class Optimizer:
    """Base of all optimizers.

    Args: ``params``, an iterable of tensors, of (name, tensor) pairs or of dicts with a ``params``
    entry and options of their own; ``defaults``, the options of groups that do not give them.
    Raises ValueError for an empty list or a non-leaf, TypeError for anything but tensors.
    """

    _stepping = False
    _opt_called = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _outermost(cls.step)  # type: ignore[method-assign]

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._reset()
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        if isinstance(params, Tensor):
            raise located(
                TypeError(
                    "params argument given to the optimizer should be an iterable of Tensors or "
                    f"dicts, but got {type(params).__name__}"
                )
            )
        groups = list(params)
        if not groups:
            raise located(ValueError("optimizer got an empty parameter list"))
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)
        # The model is made: initial values are computed now, not in the first training step, which
        # would be a program of its own then.
        flush()

    def _reset(self) -> None:
        self._steps: dict[int, int] = {}  # by the parameter's id
        self._numbers: defaultdict[Hashable, Numbers] = defaultdict(Numbers)
        self._pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._post_hooks: OrderedDict[int, Any] = OrderedDict()
        self._state_hooks: dict[str, OrderedDict[int, Any]] = {}

    # ---- what a subclass gives

    counts_steps = True  # whether the state has 'step', as PyTorch's has for this optimizer
    scalar_slots: frozenset[str] = frozenset()  # state tensors that are 0-d, not the parameter's

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        """Names of the state tensors (shaped like the parameter) and their initial values."""
        return {}

    def numbers(self, group: dict[str, Any], step: int) -> Sequence[float]:
        """The numbers of step ``step`` (counted from one; 0 unless ``counts_steps``)."""
        return (group["lr"],)

    def static(self, group: dict[str, Any], step: int, fresh: bool) -> Hashable:
        """What selects the form of the rule; part of the trace's key. ``fresh`` tells that the
        state tensors were just made."""
        return ()

    def rule(
        self, static: Any, numbers: Sequence[Value], param: Value, grad: Value, *state: Value
    ) -> Sequence[Value]:
        """New values of the parameter and of its state tensors."""
        raise NotImplementedError

    # ---- the public interface

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: ``{"params": ..., option: value, ...}``."""
        if not isinstance(param_group, dict):
            raise located(
                TypeError(f"param_group must be a dict, but got {type(param_group).__name__}")
            )
        group = dict(param_group)
        given = group["params"]
        if isinstance(given, Tensor):
            given = [given]
        elif isinstance(given, set):
            raise located(
                TypeError(
                    "optimizer parameters need to be organized in ordered collections, but the "
                    "ordering of tensors in sets will change between runs. Please use a list "
                    "instead."
                )
            )
        names, params = split_names(list(given))
        if names:
            group["param_names"] = names
        for param in params:
            if not isinstance(param, Tensor):
                raise located(
                    TypeError(
                        "optimizer can only optimize Tensors, but one of the params is "
                        f"{type(param).__name__}"
                    )
                )
            if not param.is_leaf:
                raise located(ValueError("can't optimize a non-leaf Tensor"))
        group["params"] = params
        for name, default in self.defaults.items():
            if default is required and name not in group:
                raise located(
                    ValueError(
                        f"parameter group didn't specify a value of required optimization "
                        f"parameter {name}"
                    )
                )
            group.setdefault(name, default)
        if group.get("differentiable"):
            raise located(
                NotImplementedError(
                    "differentiable=True is not supported: an optimizer step is not recorded for "
                    "autograd; write the update in tensor operations instead"
                )
            )
        if group.get("fused") and group.get("foreach"):
            raise located(RuntimeError("`fused` and `foreach` cannot be `True` together."))
        if len(set(params)) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; each is updated "
                "as often as it is listed",
                stacklevel=3,
            )
        for other in self.param_groups:
            if ("param_names" in other) is not ("param_names" in group):
                raise located(
                    ValueError(
                        "all optimizer param groups should be with/without names. cannot add a "
                        f"group with{'' if names else 'out'} names to an optimizer "
                        f"with{'out' if names else ''} names"
                    )
                )
        known = {p for g in self.param_groups for p in g["params"]}
        if not known.isdisjoint(params):
            raise located(ValueError("some parameters appear in more than one parameter group"))
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        for group in self.param_groups:
            for param in group["params"]:
                extra = param._extra
                if extra is None or extra.grad is None:
                    continue
                if set_to_none:
                    extra.grad = None
                    continue
                if not extra.grad.is_leaf:
                    extra.grad.detach_()
                elif extra.grad.requires_grad:
                    extra.grad.requires_grad_(False)
                extra.grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, and submit the step for execution.

        ``closure``, if given, is called first (with gradients enabled) and its result returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update(group)
        return loss

    step = _outermost(step)

    def _update(self, group: dict[str, Any]) -> None:
        options = plain(group)
        slots = self.slots(options)
        batches = self._batches(group["params"], slots)
        writes = (0, *range(2, 2 + len(slots)))
        rule = row_rule(self.rule)
        for batch, ((step, fresh, _), rows) in enumerate(batches.items()):
            static = self.static(options, step, fresh)
            copies = stand_ins(rows, writes)
            # The class is part of the key: two of the same name may have different rules.
            fused_update(
                type(self).__name__, rule, rows, writes, self.numbers(options, step),
                (type(self), static, tuple(slots)), self._numbers[id(group), batch],
            )  # fmt: skip
            write_back(copies)

    def _batches(
        self, params: Sequence[Tensor], slots: dict[str, float]
    ) -> dict[tuple[int, bool, int], list[list[Tensor]]]:
        """Rows of parameter, gradient and state, by what decides their numbers and rule. A
        parameter listed twice is updated in two batches, one after the other."""
        batches: dict[tuple[int, bool, int], list[list[Tensor]]] = {}
        steps = self._steps
        keeps_state = bool(slots) or self.counts_steps
        twice = len(set(map(id, params))) < len(params)
        times: dict[int, int] = {}
        counts: dict[int, Tensor] = {}
        step, fresh, before = 0, False, 0
        for param in params:
            extra = param._extra
            grad = None if extra is None else extra.grad
            if grad is None:
                continue
            row = [param, grad]
            if keeps_state:
                state = self.state[param]
                if self.counts_steps:
                    number = id(param)
                    steps[number] = step = steps[number] + 1 if "step" in state else 1
                    count = counts.get(step)
                    if count is None:
                        count = counts[step] = scalar(step)
                    state["step"] = count
                fresh = False
                for name, initial in slots.items():
                    held = state.get(name)
                    if held is None:
                        fresh = True
                        held = state[name] = self._initial(name, initial, param)
                    row.append(held)
            if twice:
                before = times[id(param)] = times.get(id(param), -1) + 1
            rows = batches.get((step, fresh, before))
            if rows is None:
                rows = batches[step, fresh, before] = []
            rows.append(row)
        return batches

    def _initial(self, name: str, value: float, param: Tensor) -> Tensor:
        if name in self.scalar_slots:
            return scalar(value)
        dtype = param._meta.dtype
        # The rule sees a complex number as two, and each begins with the value.
        number = complex(value, value) if dtype.is_complex else value
        if not number:  # memory that nobody touches before the step
            return Tensor._from_array(np.zeros(param._meta.shape, dtype.np))
        return Tensor._from_array(np.full(param._meta.shape, number, dtype.np))

    # ---- hooks

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step. It may return new (args,
        kwargs); the first of the args is the optimizer."""
        return RemovableHandle(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return RemovableHandle(self._post_hooks, hook)

    def register_state_dict_pre_hook(
        self, hook: Callable[[Optimizer], None], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer)`` before `state_dict` looks at the state."""
        return self._add_state_hook("before saving", hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` with what `state_dict` made; a dictionary that it
        returns is returned instead."""
        return self._add_state_hook("after saving", hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` with a copy of what `load_state_dict` was given; a
        dictionary that it returns is loaded instead."""
        return self._add_state_hook("before loading", hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[[Optimizer], None], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer)`` after `load_state_dict`."""
        return self._add_state_hook("after loading", hook, prepend)

    def _add_state_hook(
        self, when: str, hook: Callable[..., Any], prepend: bool
    ) -> RemovableHandle:
        hooks = self._state_hooks.setdefault(when, OrderedDict())
        handle = RemovableHandle(hooks, hook)
        if prepend:
            hooks.move_to_end(handle.id, last=False)
        return handle

    def _run_state_hooks(self, when: str, *state: dict[str, Any]) -> Any:
        for hook in list(self._state_hooks.get(when, {}).values()):
            changed = hook(self, *state)
            if state and changed is not None:
                state = (changed,)
        return state[0] if state else None

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """State and groups in PyTorch's layout: parameters are numbered over all groups."""
        self._run_state_hooks("before saving")
        number: dict[Any, int] = {p: i for i, p in enumerate(self._all_params())}
        groups = []
        for group in self.param_groups:
            packed = {k: v for k, v in group.items() if k != "params"}
            packed["params"] = [number[p] for p in group["params"]]
            groups.append(packed)
        # Entries that belong to no parameter are a subclass's own and keep their keys.
        state = {number.get(p, p): dict(s) for p, s in self.state.items()}
        return self._run_state_hooks("after saving", {"state": state, "param_groups": groups})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` (or PyTorch's) returned. ValueError if the groups do not fit;
        then nothing is changed."""
        state_dict = self._run_state_hooks("before loading", dict(state_dict))
        groups, saved = self.param_groups, state_dict["param_groups"]
        if len(groups) != len(saved):
            raise located(
                ValueError(
                    "loaded state dict has a different number of parameter groups: expected "
                    f"{len(groups)}, got {len(saved)}"
                )
            )
        for i, (group, other) in enumerate(zip(groups, saved)):
            if len(group["params"]) != len(other["params"]):
                raise located(
                    ValueError(
                        "loaded state dict contains a parameter group that doesn't match the size "
                        f"of optimizer's group: group {i} has {len(group['params'])} parameters, "
                        f"the loaded one {len(other['params'])}"
                    )
                )
        names = itertools.chain.from_iterable(g["params"] for g in saved)
        by_name = dict(zip(names, self._all_params()))
        fresh: dict[Any, Any] = {}
        for name, values in state_dict["state"].items():
            param = by_name.get(name)
            if param is None:
                fresh[name] = values
            else:
                fresh[param] = {k: loaded(v, None if k == "step" else param.dtype)
                                for k, v in values.items()}  # fmt: skip
        self.state.clear()
        self.state.update(fresh)
        self._count_again()
        for group, other in zip(groups, saved):
            kept = {"params": group["params"]}
            if "param_names" in group:
                kept["param_names"] = group["param_names"]
            group.clear()
            group.update({k: loaded(v) for k, v in other.items() if k != "params"})
            group.update(kept)
            for option, default in self.defaults.items():
                group.setdefault(option, default)
        self._run_state_hooks("after loading")

    def _count_again(self) -> None:
        """Take the step counts from the state."""
        self._steps = {}
        if self.counts_steps and type(self).step is Optimizer.step:
            for param, values in self.state.items():
                if isinstance(param, Tensor) and "step" in values:
                    self._steps[id(param)] = int(values["step"])

    def __getstate__(self) -> dict[str, Any]:
        # Hooks are code and stay with the optimizer they were registered on.
        return {
            "defaults": self.defaults, "state": self.state, "param_groups": self.param_groups,
        }  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()
        self._count_again()

    def _all_params(self) -> list[Tensor]:
        return [p for g in self.param_groups for p in g["params"]]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])
