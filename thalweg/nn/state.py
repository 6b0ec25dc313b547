"""State dictionaries: a module tree written as flat names to tensors, and read back with checks."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import thalweg
from thalweg.nn.hooks import Hook, HookSlot, RemovableHandle
from thalweg.nn.members import BUFFER, MODULE, PARAMETER
from thalweg.nn.parameter import is_lazy
from thalweg.tensor import Parameter, Tensor

EXTRA_STATE = "_extra_state"

NO_DATA = (
    "Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() instead of "
    "torch.nn.Module.to() when moving module from meta to a different device."
)


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict(strict=False)`` could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"_IncompatibleKeys(missing_keys={self.missing_keys}, "
            f"unexpected_keys={self.unexpected_keys})"
        )


class StateMixin:
    """``state_dict`` and ``load_state_dict`` with their hooks and per-class format versions."""

    # Raised by a class whose saved format changed; its loader reads it from the metadata.
    _version: int | None = 1
    _members: dict[str, str]
    _non_persistent_buffers_set: set[str]

    _state_dict_hooks = HookSlot()
    _state_dict_pre_hooks = HookSlot()
    _load_state_dict_pre_hooks = HookSlot()
    _load_state_dict_post_hooks = HookSlot()

    def get_extra_state(self) -> Any:
        """Extra state to store with ``state_dict``; override together with set_extra_state."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called: "
            f"{type(self).__name__} does not override it."
        )

    def set_extra_state(self, state: Any) -> None:
        """Take back what ``get_extra_state`` gave; called by ``load_state_dict``."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called: "
            f"{type(self).__name__} does not override it."
        )

    # -- hooks ---------------------------------------------------------------------------------

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before the module's state is collected."""
        return _register(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)``, which may edit the dict."""

        def edit_only(*args: Any) -> None:
            if hook(*args) is not None:
                raise RuntimeError("state_dict post-hook must return None")

        return _register(self._state_dict_hooks, edit_only)

    def _register_state_dict_hook(self, hook: Hook) -> RemovableHandle:
        """Like the post hook, but what it returns replaces the dictionary."""
        return _register(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)`` before the module loads its own entries."""
        return _register(self._load_state_dict_pre_hooks, (hook, True))

    def _register_load_state_dict_pre_hook(
        self, hook: Hook, with_module: bool = False
    ) -> RemovableHandle:
        return _register(self._load_state_dict_pre_hooks, (hook, with_module))

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after loading; it may edit the two lists."""
        return _register(self._load_state_dict_post_hooks, hook)

    # -- saving --------------------------------------------------------------------------------

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        attributes = self.__dict__
        for kind in (PARAMETER, BUFFER):
            for name, found in self._members.items():
                value = attributes[name] if found == kind else None
                if value is None or name in self._non_persistent_buffers_set:
                    continue
                destination[prefix + name] = value if keep_vars else value.detach()
        if type(self).get_extra_state is not StateMixin.get_extra_state:
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def state_dict(
        self,
        *args: Any,
        destination: dict[str, Any] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, Any]:
        """Parameters and persistent buffers by dotted name, in registration order.

        The tensors share memory with the module and are detached unless ``keep_vars``. The
        positional form ``(destination, prefix, keep_vars)`` is accepted as well.
        """
        if args:
            destination = args[0] if destination is None else destination
            prefix = args[1] if len(args) > 1 and prefix == "" else prefix
            keep_vars = args[2] if len(args) > 2 and keep_vars is False else keep_vars
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()  # type: ignore[attr-defined]
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        own = self.__dict__
        for hook in list(own.get("_state_dict_pre_hooks", {}).values()):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, kind in self._members.items():
            if kind == MODULE and own[name] is not None:
                own[name].state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook in list(own.get("_state_dict_hooks", {}).values()):
            replaced = hook(self, destination, prefix, local_metadata)
            if replaced is not None:
                destination = replaced
        assert destination is not None
        return destination

    # -- loading -------------------------------------------------------------------------------

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Copy this module's own entries (not its children's); override to migrate formats."""
        attributes = self.__dict__
        for hook, with_module in list(attributes.get("_load_state_dict_pre_hooks", {}).values()):
            receiver = (self,) if with_module else ()
            hook(
                *receiver,
                state_dict,
                prefix,
                local_metadata,
                strict,
                missing_keys,
                unexpected_keys,
                error_msgs,
            )
        assign = local_metadata.get("assign_to_params_buffers", False)
        tensors = [
            name
            for name, kind in self._members.items()
            if kind != MODULE
            and attributes[name] is not None
            and name not in self._non_persistent_buffers_set
        ]
        for name in tensors:
            key = prefix + name
            if key in state_dict:
                problem = self._load_tensor(name, key, state_dict[key], assign)
                if problem is not None:
                    error_msgs.append(problem)
            elif strict:
                missing_keys.append(key)
        self._load_extra_state(state_dict, prefix, strict, missing_keys, unexpected_keys)
        if strict:
            known = set(tensors)
            for key in state_dict:
                if not key.startswith(prefix) or key == prefix + EXTRA_STATE:
                    continue
                first, dot, _ = key[len(prefix) :].partition(".")
                is_child = bool(dot) and self._members.get(first) == MODULE
                if not is_child and key[len(prefix) :] not in known:
                    unexpected_keys.append(key)

    def _load_extra_state(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
    ) -> None:
        key = prefix + EXTRA_STATE
        if type(self).set_extra_state is not StateMixin.set_extra_state:
            if key in state_dict:
                self.set_extra_state(state_dict[key])
            elif strict:
                missing_keys.append(key)
        elif strict and key in state_dict:
            unexpected_keys.append(key)

    def _load_tensor(self, name: str, key: str, given: Any, assign: bool) -> str | None:
        """Load one tensor; what is wrong with it, in words, or ``None``."""
        current = self.__dict__[name]
        if not isinstance(given, Tensor):
            return (
                f'While copying the parameter named "{key}", expected thalweg.Tensor or '
                f"Tensor-like object from checkpoint but received {type(given)}"
            )
        if is_lazy(current) and is_lazy(given):
            return None
        if current.dim() == 0 and given.dim() == 1 and given.shape[0] == 1:
            given = given[0]  # scalars were once saved as vectors of one element
        if given.shape != current.shape:
            return (
                f"size mismatch for {key}: copying a param with shape {given.shape} from "
                f"checkpoint, the shape in current model is {current.shape}."
            )
        try:
            if not assign:
                if current.is_meta and not given.is_meta:
                    warnings.warn(
                        f"for {key}: copying from a non-meta parameter in the checkpoint to a meta "
                        "parameter in the current model, which is a no-op. (Did you mean to pass "
                        "`assign=True` to assign items in the state dictionary to their "
                        "corresponding key in the module instead of copying them in place?)",
                        stacklevel=2,
                    )
                with thalweg.no_grad():
                    current.copy_(given)
            elif isinstance(current, Parameter):
                if not isinstance(given, Parameter):
                    given = Parameter(given, requires_grad=current.requires_grad)
                else:
                    given.requires_grad_(current.requires_grad)
                setattr(self, name, given)
            else:
                setattr(self, name, given)
        except Exception as error:
            return (
                f'While copying the parameter named "{key}", whose dimensions in the model are '
                f"{current.shape} and whose dimensions in the checkpoint are {given.shape}, "
                f"an exception occurred : {error.args}."
            )
        return None

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy tensors by name into the module's parameters and buffers.

        With ``strict`` every name must match. ``assign`` makes the given tensors the module's own
        instead of copying (their dtype and device are then kept). Returns the unmatched names.
        Raises ``RuntimeError`` listing every mismatch; ``TypeError`` for what is no mapping.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing_keys: list[str] = []
        unexpected_keys: list[str] = []
        error_msgs: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        # A copy, because hooks and overridden loaders may rename entries.
        state: dict[str, Any] = OrderedDict(state_dict)
        if metadata is not None:
            state._metadata = metadata  # type: ignore[attr-defined]

        def load(module: StateMixin, local_state: dict[str, Any], prefix: str) -> None:
            local_metadata = {} if metadata is None else dict(metadata.get(prefix[:-1], {}))
            if assign:
                local_metadata["assign_to_params_buffers"] = True
            module._load_from_state_dict(
                local_state, prefix, local_metadata, True, missing_keys, unexpected_keys, error_msgs
            )
            for name, kind in list(module._members.items()):
                child = module.__dict__[name] if kind == MODULE else None
                if child is not None:
                    start = f"{prefix}{name}."
                    own = {k: v for k, v in local_state.items() if k.startswith(start)}
                    load(child, own, start)
            incompatible = IncompatibleKeys(missing_keys, unexpected_keys)
            for hook in list(module.__dict__.get("_load_state_dict_post_hooks", {}).values()):
                if hook(module, incompatible) is not None:
                    raise AssertionError(
                        "Hooks registered with ``register_load_state_dict_post_hook`` are not "
                        "expected to return new values, if incompatible_keys need to be modified, "
                        "it should be done inplace."
                    )

        load(self, state, "")
        if strict:
            for keys, kind in ((unexpected_keys, "Unexpected"), (missing_keys, "Missing")):
                if keys:
                    names = ", ".join(f'"{key}"' for key in keys)
                    error_msgs.insert(0, f"{kind} key(s) in state_dict: {names}. ")
        if error_msgs:
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t"
                + "\n\t".join(error_msgs)
            )
        return IncompatibleKeys(missing_keys, unexpected_keys)


def _register(table: Any, hook: Any) -> RemovableHandle:
    handle = RemovableHandle(table)
    table[handle.id] = hook
    return handle
