"""`Optimizer`: parameter groups, state, and one fused transition per step.

A subclass says which state tensors a parameter has (`slots`), which numbers a step needs
(`numbers`, computed on the host in double precision as PyTorch does) and the update rule over
graph values (`rule`). The base class groups parameters that share numbers and records each group's
update as one transition of the trace, whatever the number of parameters.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from ..core.errors import located
from ..ir.node import Value
from ..tensor import Tensor
from ..tensor.autograd import RemovableHandle
from ..tensor.flush import flush
from ..tensor.modes import enable_grad
from ..tensor.region import fused_update


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


class Optimizer:
    """Base of all optimizers.

    Args: ``params``, an iterable of tensors, of (name, tensor) pairs or of dicts with a ``params``
    entry and options of their own; ``defaults``, the options of groups that do not give them.
    Raises ValueError for an empty list or a non-leaf, TypeError for anything but tensors.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._steps: dict[Tensor, int] = {}
        self._pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._post_hooks: OrderedDict[int, Any] = OrderedDict()
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

    # ---- what a subclass gives

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        """Names of the state tensors (shaped like the parameter) and their initial values."""
        return {}

    def numbers(self, group: dict[str, Any], step: int) -> Sequence[float]:
        """The numbers of step ``step`` (counted from one)."""
        return (group["lr"],)

    def static(self, group: dict[str, Any], step: int) -> Hashable:
        """What selects the form of the rule; part of the trace's key."""
        return ()

    def rule(
        self, static: Any, numbers: Sequence[Value], param: Value, grad: Value, *state: Value
    ) -> Sequence[Value]:
        """New values of the parameter and of its state tensors."""
        raise NotImplementedError

    counts_steps = True  # whether state_dict carries 'step', as PyTorch's does for this optimizer

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
                    "ordering of tensors in sets will change between runs. Please use a list."
                )
            )
        params = list(given)
        if params and isinstance(params[0], tuple):
            group["param_names"] = [name for name, _ in params]
            params = [p for _, p in params]
        for param in params:
            if not isinstance(param, Tensor):
                raise located(
                    TypeError(f"optimizer can only optimize Tensors, but got {type(param).__name__}")
                )
            if not param.is_leaf:
                raise located(ValueError("can't optimize a non-leaf Tensor"))
        if len(set(params)) != len(params):
            raise located(ValueError("optimizer contains a parameter group with duplicate parameters"))
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
                else:
                    extra.grad.detach_()
                    extra.grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, and submit the step for execution.

        ``closure``, if given, is called first (with gradients enabled) and its result returned.
        """
        for pre in list(self._pre_hooks.values()):
            pre(self, (closure,) if closure is not None else (), {})
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for index, group in enumerate(self.param_groups):
            self._update(index, group)
        flush()
        for post in list(self._post_hooks.values()):
            post(self, (), {})
        return loss

    def _update(self, index: int, group: dict[str, Any]) -> None:
        slots = self.slots(group)
        by_step: dict[int, list[list[Tensor]]] = {}
        steps = self._steps
        for param in group["params"]:
            extra = param._extra
            if extra is None or extra.grad is None:
                continue
            step = steps.get(param, 0) + 1
            steps[param] = step
            state = self.state[param]
            for name, initial in slots.items():
                if name not in state:
                    shape, dtype = param._meta.shape, param._meta.dtype
                    state[name] = Tensor._from_array(np.full(shape, initial, dtype.np))
            row = [param, extra.grad, *[state[name] for name in slots]]
            by_step.setdefault(step, []).append(row)
        writes = (0, *range(2, 2 + len(slots)))
        for step, rows in by_step.items():
            static = self.static(group, step)
            fused_update(
                type(self).__name__, self.rule, rows, writes, self.numbers(group, step),
                (static, tuple(slots)),
            )  # fmt: skip
            if self.counts_steps:
                count = Tensor._from_array(np.asarray(step, np.float32))
                for row in rows:
                    self.state[row[0]]["step"] = count

    # ---- hooks

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step."""
        return RemovableHandle(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return RemovableHandle(self._post_hooks, hook)

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """State and groups in PyTorch's layout: parameters are numbered over all groups."""
        number = {p: i for i, p in enumerate(self._all_params())}
        groups = []
        for group in self.param_groups:
            packed = {k: v for k, v in group.items() if k != "params"}
            packed["params"] = [number[p] for p in group["params"]]
            groups.append(packed)
        state = {number[p]: dict(s) for p, s in self.state.items() if p in number}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` (or PyTorch's) returned. ValueError if the groups do not fit;
        then nothing is changed."""
        groups, saved = self.param_groups, state_dict["param_groups"]
        if len(groups) != len(saved):
            raise located(
                ValueError("loaded state dict has a different number of parameter groups")
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
        fresh: dict[Tensor, dict[str, Any]] = {}
        steps: dict[Tensor, int] = {}
        for name, values in state_dict["state"].items():
            param = by_name.get(name)
            if param is None:
                continue
            fresh[param] = {k: _fitted(k, v, param) for k, v in values.items()}
            if "step" in values:
                steps[param] = int(values["step"])
            else:
                steps[param] = 1
        self.state.clear()
        self.state.update(fresh)
        self._steps = steps
        for group, other in zip(groups, saved):
            params = group["params"]
            group.clear()
            group.update({k: v for k, v in other.items() if k != "params"})
            group["params"] = params

    def _all_params(self) -> Iterable[Tensor]:
        return [p for g in self.param_groups for p in g["params"]]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])


def _fitted(name: str, value: Any, param: Tensor) -> Any:
    """A loaded state entry as a tensor of this framework, in the parameter's dtype."""
    if hasattr(value, "detach") and not isinstance(value, Tensor):
        value = Tensor._from_array(np.array(value.detach().cpu().numpy()))
    if not isinstance(value, Tensor):
        return value
    value = value.detach().clone()
    if name == "step" or not param.dtype.is_floating_point:
        return value
    return value.to(param.dtype)


def check(condition: bool, message: str) -> None:
    """ValueError unless an option is in range."""
    if not condition:
        raise located(ValueError(message))
