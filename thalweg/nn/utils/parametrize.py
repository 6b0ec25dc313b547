"""Parametrizations: a parameter or buffer computed from others each time that it is read.

``register_parametrization(module, "weight", p)`` moves the tensor to
``module.parametrizations.weight.original`` and makes ``module.weight`` a property whose value is
``p(original)``. The module's class becomes a subclass of its own, because properties are a class's.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import thalweg
from thalweg.nn.containers import ModuleDict, ModuleList
from thalweg.nn.module import Module
from thalweg.tensor import Parameter, Tensor

_cache: dict[tuple[int, str], Tensor] = {}
_caching = 0


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Within this context every parametrized tensor is computed once, when it is first read."""
    global _caching
    _caching += 1
    try:
        yield
    finally:
        _caching -= 1
        if not _caching:
            _cache.clear()


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _same_kind(what: str, given: Any, wanted: Tensor) -> None:
    """ValueError unless ``given`` is a tensor of the shape and dtype of ``wanted``."""
    if not isinstance(given, Tensor):
        raise ValueError(f"{what} must return a tensor, got {type(given).__name__}.")
    if given.dtype != wanted.dtype:
        raise ValueError(
            f"{what} may not change the dtype of the tensor, unless the `unsafe` flag is enabled: "
            f"expected {wanted.dtype}, got {given.dtype}."
        )
    if given.shape != wanted.shape:
        raise ValueError(
            f"{what} may not change the shape of the tensor, unless the `unsafe` flag is enabled: "
            f"expected {tuple(wanted.shape)}, got {tuple(given.shape)}."
        )


def _inverted(module: Module, value: Any) -> Any:
    """What the parametrization makes ``value`` from; ``value`` itself where it does not say."""
    if not hasattr(module, "right_inverse"):
        return value
    try:
        return module.right_inverse(value)
    except NotImplementedError:
        return value


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, in order, and what they are computed from: ``original``,
    or ``original0``, ``original1``, … where ``right_inverse`` of the first gave a sequence.

    ``ValueError`` if the result differs in shape or dtype, unless ``unsafe``.
    """

    is_tensor: bool

    def __init__(
        self, modules: Sequence[Module], original: Tensor | Parameter, unsafe: bool = False
    ) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        with thalweg.no_grad():
            new: Any = original
            for module in reversed(self._values()):
                new = _inverted(module, new)
        if not isinstance(new, (Tensor, list, tuple)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(new).__name__}"
            )
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(new)
        like = original.detach()
        if self.is_tensor:
            if new.dtype != original.dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype: "
                    f"expected {original.dtype}, got {new.dtype}"
                )
            if new is not original:
                # The object stays, so that optimizers which hold it go on training it.
                like = original.detach().clone()
                original.data = new.detach()
            _register(self, "original", original)
        else:
            for number, part in enumerate(new):
                if not isinstance(part, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors (list, "
                        f"tuple...). Got element {number} of the sequence with type "
                        f"{type(part).__name__}."
                    )
                if isinstance(original, Parameter):
                    part = Parameter(part.detach().clone(), original.requires_grad)
                _register(self, f"original{number}", part)
        if not unsafe:
            _same_kind("Registering a parametrization", self(), like)

    def _originals(self) -> list[Tensor]:
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{number}") for number in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the parametrized tensor becomes ``value``.

        ``RuntimeError`` where a parametrization has no ``right_inverse``.
        """
        with thalweg.no_grad():
            new: Any = value
            for module in reversed(self._values()):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
                new = module.right_inverse(new)
            parts = [new] if self.is_tensor else list(new)
            if len(parts) != self.ntensors:
                raise ValueError(
                    "'right_inverse' must return a sequence of tensors of length "
                    f"{self.ntensors}. Got a sequence of length {len(parts)}."
                )
            for original, part in zip(self._originals(), parts):
                if not isinstance(part, Tensor) or part.dtype != original.dtype:
                    got = getattr(part, "dtype", type(part).__name__)
                    raise ValueError(
                        f"`right_inverse` should return tensors of dtype {original.dtype}, "
                        f"got {got}"
                    )
                original.data = part.detach().clone() if part is value else part.detach()

    def forward(self) -> Tensor:
        first, *rest = self._values()
        value = first(*self._originals())
        for module in rest:
            value = module(value)
        return value  # type: ignore[no-any-return]


def _specialise(module: Module) -> None:
    """Give the module a class of its own, which properties can be added to."""
    base: Any = type(module)

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if isinstance(vars(type(self)).get(name), property):
            object.__setattr__(self, name, value)
        else:
            base.__setattr__(self, name, value)

    def state(self: Any) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict()."
        )

    def deep_copy(self: Any, memo: dict[int, Any]) -> Any:
        found = memo.get(id(self))
        if found is None:
            found = memo[id(self)] = type(self).__new__(type(self))
            found.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return found

    made = {"__setattr__": set_attribute, "__getstate__": state, "__deepcopy__": deep_copy}
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), made)


def _add_property(module: Any, name: str) -> None:
    def get(self: Any) -> Tensor:
        if not _caching:
            return self.parametrizations[name]()  # type: ignore[no-any-return]
        key = (id(self), name)
        found = _cache.get(key)
        if found is None:
            found = _cache[key] = self.parametrizations[name]()
        return found

    def put(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(get, put))


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute ``module.<tensor_name>`` by ``parametrization`` from now on; returns the module.

    A ``right_inverse(tensor)`` of the parametrization gives what the tensor's present value is
    computed from, and makes the attribute assignable. ``ValueError`` if there is no such tensor, or
    if shape or dtype change and ``unsafe`` does not allow it.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            now = getattr(module, tensor_name)
            result = parametrization(now)
            _same_kind("A parametrization", result, now)
            _same_kind("right_inverse", _inverted(parametrization, result), now)
        found: Any = module.parametrizations[tensor_name]  # type: ignore[attr-defined]
        found.append(parametrization)
        found.unsafe |= unsafe
        return module
    original = module._parameters.get(tensor_name)
    if original is None:
        original = module._buffers.get(tensor_name)
    if original is None:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element "
            f"with name '{tensor_name}'"
        )
    made = ParametrizationList([parametrization], original, unsafe=unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        _specialise(module)
        module.parametrizations = ModuleDict()  # type: ignore[attr-defined]
    _add_property(module, tensor_name)
    module.parametrizations[tensor_name] = made  # type: ignore[attr-defined]
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module has parametrizations (of the tensor of that name)."""
    found = module.__dict__.get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make the tensor an ordinary one again: with its parametrized value, or (not
    ``leave_parametrized``) with the original one. Returns the module.

    ``ValueError`` if it is not parametrized, or if its originals are several and should be left.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    table: Any = module.parametrizations  # type: ignore[attr-defined]
    found = table[tensor_name]
    if not leave_parametrized and not found.is_tensor:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is "
            "parametrized in terms of a sequence of tensors."
        )
    first = found._originals()[0]
    kept = first
    if leave_parametrized:
        with thalweg.no_grad():
            value = getattr(module, tensor_name).detach().clone()
        if found.is_tensor:
            kept.data = value
        else:
            kept = Parameter(value, first.requires_grad) if isinstance(first, Parameter) else value
    own: Any = type(module)
    delattr(own, tensor_name)
    del table[tensor_name]
    _register(module, tensor_name, kept)
    if not len(table):
        delattr(module, "parametrizations")
        module.__class__ = own.__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The module's class as it was before it got parametrizations."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Give ``to_module`` the parametrizations of ``from_module`` (or those of one tensor) and the
    values that they are computed from. Returns ``to_module``."""
    if not is_parametrized(from_module):
        return to_module
    source: Any = from_module.parametrizations  # type: ignore[attr-defined]
    names: Iterable[str] = list(source) if tensor_name is None else [tensor_name]
    for name in names:
        if not hasattr(to_module, name):
            _register(to_module, name, copy.deepcopy(source[name]._originals()[0]))
        for parametrization in source[name]._values():
            register_parametrization(to_module, name, parametrization, unsafe=source[name].unsafe)
        target: Any = to_module.parametrizations[name]  # type: ignore[attr-defined]
        for old, new in zip(source[name]._originals(), target._originals()):
            new.data = old.detach().clone()
    return to_module


__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]
