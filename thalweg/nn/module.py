"""Module: a tree of parameters, buffers and submodules with a ``forward``.

Invariant: every member is an ordinary attribute in the instance's ``__dict__``, and ``_members``
maps its name to its kind. So reading ``self.weight`` costs a plain attribute lookup, there is no
``__getattr__``, and the dictionaries ``_parameters``, ``_buffers`` and ``_modules`` are views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import thalweg
from thalweg.nn.hooks import HookMixin
from thalweg.nn.members import BUFFER, MODULE, PARAMETER, MemberView
from thalweg.nn.parameter import Buffer, Parameter, is_lazy
from thalweg.nn.state import NO_DATA, StateMixin
from thalweg.tensor import Tensor


class Module(HookMixin, StateMixin):
    """Base class of all layers and models.

    Assigning a ``Parameter`` or a ``Module`` to an attribute registers it; buffers are registered
    with :meth:`register_buffer`. A subclass calls ``super().__init__()`` first and defines
    ``forward``.
    """

    training: bool
    dump_patches: bool = False

    def __init__(self) -> None:
        # Straight into __dict__: the checks of __setattr__ have nothing to find here.
        attributes = self.__dict__
        attributes["training"] = True
        attributes["_members"] = {}
        attributes["_non_persistent_buffers_set"] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward``, surrounded by the registered hooks."""
        if self._hooked:
            return self._call_with_hooks(args, kwargs)
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every subclass that is called defines it."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    # -- attributes ----------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        members = self.__dict__.get("_members")
        own = isinstance(value, (Parameter, Buffer, Module))
        if not own and (members is None or name not in members):
            object.__setattr__(self, name, value)
            return
        if members is None:
            what = "module" if isinstance(value, Module) else "parameters"
            raise AttributeError(f"cannot assign {what} before Module.__init__() call")
        old = members.get(name)
        if isinstance(value, Parameter):
            new = PARAMETER
        elif isinstance(value, Buffer):
            new = BUFFER
        elif old == PARAMETER and value is not None:
            raise TypeError(
                f"cannot assign '{_type_name(value)}' as parameter '{name}' "
                "(thalweg.nn.Parameter or None expected)"
            )
        elif isinstance(value, Module):
            new = MODULE
        else:
            assert old is not None
            if value is not None and (old == MODULE or not isinstance(value, Tensor)):
                what, wanted = (
                    ("child module", "thalweg.nn.Module")
                    if old == MODULE
                    else ("buffer", "thalweg.Tensor")
                )
                raise TypeError(
                    f"cannot assign '{_type_name(value)}' as {what} '{name}' "
                    f"({wanted} or None expected)"
                )
            new = old
        if old != new:
            if old is not None:
                del members[name]
                self._non_persistent_buffers_set.discard(name)
            members[name] = new
        if isinstance(value, Buffer):
            hidden = self._non_persistent_buffers_set
            (hidden.discard if value.persistent else hidden.add)(name)
        self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        members = self.__dict__.get("_members")
        if members is not None and members.pop(name, None) == BUFFER:
            self._non_persistent_buffers_set.discard(name)

    def __dir__(self) -> list[str]:
        # Children of a Sequential are called "0", "1", …: no attributes one could type.
        return sorted(name for name in super().__dir__() if not name[0].isdigit())

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @property
    def _parameters(self) -> MemberView:
        return MemberView(self.__dict__, PARAMETER)

    @property
    def _buffers(self) -> MemberView:
        return MemberView(self.__dict__, BUFFER)

    @property
    def _modules(self) -> MemberView:
        return MemberView(self.__dict__, MODULE)

    def _check_new_member(self, what: str, name: object, kind: str) -> None:
        if "_members" not in self.__dict__:
            raise AttributeError(f"cannot assign {what} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {_type_name(name)}")
        if "." in name:
            given = f", got: {name}" if kind == MODULE else ""
            raise KeyError(f'{what} name can\'t contain "."{given}')
        if name == "":
            raise KeyError(f'{what} name can\'t be empty string ""')
        if hasattr(self, name) and self._members.get(name) != kind:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter (or ``None``: a name reserved for one) under ``name``."""
        self._check_new_member("parameter", name, PARAMETER)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{_type_name(param)}' object to parameter '{name}' "
                "(thalweg.nn.Parameter or None required)"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be "
                "created explicitly. To express a parameter as a function of another Tensor, "
                "compute the value in the forward() method."
            )
        self._members[name] = PARAMETER
        self.__dict__[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but is not trained; ``state_dict`` has it if persistent."""
        self._check_new_member("buffer", name, BUFFER)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{_type_name(tensor)}' object to buffer '{name}' "
                "(thalweg Tensor or None required)"
            )
        self._members[name] = BUFFER
        self.__dict__[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module under ``name``."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{_type_name(module)} is not a Module subclass")
        self._check_new_member("module", name, MODULE)
        self._members[name] = MODULE
        self.__dict__[name] = module

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as :meth:`add_module`."""
        self.add_module(name, module)

    # -- walking the tree ----------------------------------------------------------------------

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """All modules with their dotted names, this one (named ``prefix``) first."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                inner = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, inner, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """All modules, each once, this one first."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Direct submodules with their names, each module once."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """Direct submodules, each once."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        # A list made by plain recursion: optimizers and clipping walk the tree every step, and
        # generators nested to its depth would double the time.
        members: list[tuple[str, Any]] = []
        _gather(self, kind, prefix, recurse, remove_duplicate, members, set())
        return iter(members)

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters with their dotted names; a tied parameter appears once, at its first name."""
        return self._named_members(PARAMETER, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Buffers with their dotted names."""
        return self._named_members(BUFFER, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """The submodule with a dotted name; ``""`` is this module. ``AttributeError`` if absent."""
        module: Module = self
        for item in target.split(".") if target else ():
            if not hasattr(module, item):
                raise AttributeError(f"{module._get_name()} has no attribute `{item}`")
            module = getattr(module, item)
            if not isinstance(module, Module):
                raise AttributeError(f"`{item}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Replace (or, unless ``strict``, add) the submodule with a dotted name."""
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def _get_member(self, target: str, kind: str, phrase: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        if module._members.get(name) != kind or getattr(module, name) is None:
            raise AttributeError(f"`{name}` is not {phrase}")
        return getattr(module, name)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with a dotted name; ``AttributeError`` if there is none."""
        return self._get_member(target, PARAMETER, "an nn.Parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with a dotted name; ``AttributeError`` if there is none."""
        return self._get_member(target, BUFFER, "a buffer")

    # -- changing the whole tree ---------------------------------------------------------------

    def apply(self, fn: Callable[[Module], None]) -> Self:
        """Call ``fn`` on every submodule, children before parents, and on this module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace every tensor by ``fn`` of it; parameters keep their identity."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        attributes = self.__dict__
        for name, kind in self._members.items():
            value = attributes[name] if kind != MODULE else None
            if value is None:
                continue
            if kind == BUFFER:
                attributes[name] = fn(value)
                continue
            grad = value.grad
            with thalweg.no_grad():
                changed = fn(value.data)
                if changed.is_meta is value.is_meta or is_lazy(value):
                    # Optimizers hold the parameter object, so its value changes and it does not.
                    value.data = changed
                else:
                    value = attributes[name] = Parameter(changed, value.requires_grad)
                if grad is not None:
                    value.grad = fn(grad.detach()).requires_grad_(grad.requires_grad)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move and/or cast in place: ``to(device, dtype, non_blocking)``, ``to(dtype)``,
        ``to(tensor)``.

        Only floating point and complex tensors are cast. ``TypeError`` for other dtypes.
        """
        device, dtype = _parse_to(args, kwargs)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(
                "nn.Module.to only accepts floating point or complex dtypes, but got desired "
                f"dtype={dtype}"
            )

        def convert(tensor: Tensor) -> Tensor:
            if dtype is not None and (tensor.is_floating_point() or tensor.is_complex()):
                tensor = tensor.to(dtype)
            if device is not None and tensor.is_meta and thalweg.device(device).type != "meta":
                raise NotImplementedError(NO_DATA)
            return tensor if device is None else tensor.to(device)

        return self._apply(convert)

    def _cast(self, dtype: Any) -> Self:
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def float(self) -> Self:
        """Cast floating point members to float32."""
        return self._cast(thalweg.float32)

    def double(self) -> Self:
        """Cast floating point members to float64."""
        return self._cast(thalweg.float64)

    def half(self) -> Self:
        """Cast floating point members to float16."""
        return self._cast(thalweg.float16)

    def bfloat16(self) -> Self:
        """Cast floating point members to bfloat16."""
        return self._cast(thalweg.bfloat16)

    def type(self, dst_type: Any) -> Self:
        """Cast every parameter and buffer, integers included, to ``dst_type``."""
        return self._apply(lambda t: t.type(dst_type))

    def cpu(self) -> Self:
        """Move to the CPU."""
        return self._apply(lambda t: t.to("cpu"))

    def cuda(self, device: Any = None) -> Self:
        """Move to a GPU (the current one by default)."""
        where = "cuda" if device is None else device
        where = f"cuda:{where}" if isinstance(where, int) else where
        return self._apply(lambda t: t.to(where))

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Move without copying: members get uninitialised storage on ``device``."""
        return self._apply(lambda t: thalweg.empty_like(t, device=device), recurse=recurse)

    def train(self, mode: bool = True) -> Self:
        """Set training mode (dropout, batch statistics) in the whole tree."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """The same as ``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set ``requires_grad`` of all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, or set them to zero in place with ``set_to_none=False``."""
        for parameter in self.parameters():
            if parameter.grad is None:
                continue
            if set_to_none:
                parameter.grad = None
            else:
                with thalweg.no_grad():
                    parameter.grad = parameter.grad.detach()
                    parameter.grad.zero_()

    # -- printing ------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the parentheses of the module's repr."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [
            f"({name}): {indent_tail(repr(module))}" for name, module in self._modules.items()
        ]
        if not lines and not children:
            return f"{self._get_name()}()"
        if len(lines) == 1 and not children:
            return f"{self._get_name()}({extra})"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines + children) + "\n)"


def _gather(
    module: Module,
    kind: str,
    prefix: str,
    recurse: bool,
    remove_duplicate: bool,
    members: list[tuple[str, Any]],
    seen: set[int],
) -> None:
    """Append the members of one kind, this module's before its children's."""
    attributes = module.__dict__
    children = []
    for name, found in attributes["_members"].items():
        if found == kind:
            value = attributes[name]
            if value is not None and id(value) not in seen:
                if remove_duplicate:
                    seen.add(id(value))
                members.append((f"{prefix}.{name}" if prefix else name, value))
        elif found == MODULE:
            children.append(name)
    if not recurse:
        return
    for name in children:
        child = attributes[name]
        if child is not None and id(child) not in seen:
            if remove_duplicate:
                seen.add(id(child))
            inner = f"{prefix}.{name}" if prefix else name
            _gather(child, kind, inner, recurse, remove_duplicate, members, seen)


def indent_tail(text: str) -> str:
    """Indent all lines but the first by two spaces: nested reprs line up."""
    return text.replace("\n", "\n  ")


def _type_name(value: Any) -> str:
    if isinstance(value, Tensor):
        return "thalweg." + type(value).__name__
    return type(value).__name__


def _parse_to(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """Device and dtype out of the accepted argument forms of ``Module.to``."""
    unknown = set(kwargs) - {"device", "dtype", "tensor", "other", "non_blocking", "copy"}
    unknown -= {"memory_format"}
    given = [arg for arg in args if arg is not None and not isinstance(arg, bool)]
    given += [kwargs[key] for key in ("device", "dtype", "tensor", "other") if kwargs.get(key)]
    device = dtype = None
    valid = not unknown and not (len(args) == 0 and not kwargs)
    for value in given:
        if isinstance(value, Tensor):
            device, dtype = value.device, value.dtype
        elif isinstance(value, thalweg.dtype) and dtype is None:
            dtype = value
        elif isinstance(value, (str, int, thalweg.device)) and device is None:
            device = f"cuda:{value}" if isinstance(value, int) else value
        else:
            valid = False
    if not valid:
        shown = ", ".join([type(a).__name__ for a in args] + [f"{k}=" for k in kwargs])
        raise TypeError(
            f"to() received an invalid combination of arguments - got ({shown}), but expected "
            "(device, dtype, non_blocking, copy), (dtype, non_blocking, copy) or "
            "(Tensor, non_blocking, copy)"
        )
    return device, dtype
