"""Modules under torch's names whose attributes are thalweg's.

An attribute of ``torch.a.b`` is looked up in the shim of that module if it has one, then in the
thalweg module that answers to it. What PyTorch has and thalweg lacks becomes a stand-in
(`missing`), what PyTorch lacks too raises AttributeError: ``hasattr`` and ``from torch import``
answer as PyTorch does.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import thalweg

from .missing import stand_in
from .names import has_name, hides_module, is_module, nearest

# Where the names of a torch module are found if not in the thalweg module of the same path.
ANSWERS = {
    "torch.functional": "thalweg", "torch.serialization": "thalweg", "torch.types": "thalweg",
    "torch._C": "thalweg", "torch._C._nn": "thalweg.nn.functional", "torch.cpu.amp": "thalweg.amp",
    "torch._C._linalg": "thalweg.linalg", "torch._C._fft": "thalweg.fft",
    "torch._C._special": "thalweg.special", "torch._tensor": "thalweg",
    "torch._torch_docs": "thalweg", "torch.ops.aten": "thalweg", "torch.storage": "thalweg",
    "torch.nn.modules": "thalweg.nn", "torch.nn.parameter": "thalweg.nn.parameter thalweg.nn",
    "torch.nn.modules.batchnorm": "thalweg.nn.normalization thalweg.nn.lazy thalweg.nn",
    "torch.nn.modules.instancenorm": "thalweg.nn.normalization thalweg.nn",
    "torch.nn.modules.module": "thalweg.nn.module thalweg.nn.state thalweg.nn.hooks thalweg.nn",
    "torch.nn.modules.container": "thalweg.nn.containers thalweg.nn",
    "torch.nn.modules.rnn": "thalweg.nn.rnn thalweg.nn.rnn_cells thalweg.nn",
    "torch.nn.modules.pixelshuffle": "thalweg.nn.upsampling thalweg.nn",
    "torch.nn.modules.activation": "thalweg.nn.activation thalweg.nn.attention thalweg.nn",
    "torch.utils.hooks": "thalweg.nn.hooks",
    "torch.nn.utils.weight_norm": "thalweg.nn.utils.weight_hooks thalweg.nn.utils",
    "torch.nn.utils.spectral_norm": "thalweg.nn.utils.weight_hooks thalweg.nn.utils",
    "torch.utils._pytree": "thalweg.utils.pytree", "torch.autograd.variable": "thalweg.autograd",
    "torch.autograd.grad_mode": "thalweg.autograd", "torch.return_types": "thalweg",
}  # fmt: skip
_NOTHING = object()
SHIMS = f"{__package__}.shims"


class Face(ModuleType):
    """A module under a torch name. Attributes, once found, are kept as its own."""

    def __getattr__(self, name: str) -> Any:
        value = resolve(self.__name__, name)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing a module below sets it here, where something else may have its name.
        if not (isinstance(value, Face) and hides_module(self.__name__, name)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        own = [n for n in offered(self.__name__) if has_name(self.__name__, n) is not False]
        return sorted({*self.__dict__, *own})


def resolve(module: str, name: str) -> Any:
    """The attribute ``name`` of the torch module ``module``. AttributeError if PyTorch has none."""
    full_name = f"{module}.{name}"
    shim = shim_of(module)
    if shim is not None and name in vars(shim):
        return vars(shim)[name]
    if name.startswith("__"):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    below = is_module(full_name) or shim_of(full_name) is not None
    if below and not hides_module(module, name):
        return importlib.import_module(full_name)
    if has_name(module, name) is False:
        raise AttributeError(f"module {module!r} has no attribute {name!r}" + hint(module, name))
    value = next((getattr(s, name) for s in sources_of(module) if hasattr(s, name)), _NOTHING)
    if isinstance(value, ModuleType):
        return importlib.import_module(full_name)
    if value is _NOTHING:
        return stand_in(full_name, lambda: hint(module, name).removeprefix("; "))
    return value


def hint(module: str, name: str) -> str:
    """The end of an error message: the nearest names that are there."""
    found = nearest(module, name, offered(module))
    return f"; nearest: {', '.join(found)}" if found else ""


def offered(module: str) -> list[str]:
    """Names under which the torch module ``module`` can give something."""
    shim = shim_of(module)
    found = {n for part in sources_of(module) for n in dir(part)} | set(dir(shim) if shim else ())
    return sorted(n for n in found if not n.startswith("_"))


def shim_of(module: str) -> ModuleType | None:
    """The module of `shims` that adds to a torch module: dots become underscores there."""
    return _import(f"{SHIMS}.{_shim_name(module)}")


def _shim_name(module: str) -> str:
    return module.removeprefix("torch").removeprefix(".").replace(".", "__").lower() or "torch"


def sources_of(module: str) -> list[ModuleType]:
    """The thalweg modules that answer to a torch module: of its path, or the nearest above it,
    but never the root for a module that is not the root's."""
    name = module
    while name != "torch":
        found = ANSWERS.get(name) or _import_name(f"thalweg{name.removeprefix('torch')}")
        if found is not None:
            return [importlib.import_module(part) for part in found.split()]
        inner = name.removeprefix("torch.nn.modules.")
        if inner != name and (own := _import_name(f"thalweg.nn.{inner}")) is not None:
            return [importlib.import_module(own), thalweg.nn]
        name = name.rpartition(".")[0]
    return [thalweg] if module == "torch" else []


_known: dict[str, str | None] = {}


def _import_name(name: str) -> str | None:
    """``name`` if there is such a module in thalweg and it is meant to be seen."""
    if name not in _known:
        parts = name.split(".")[1:]
        hidden = parts[0] in _HIDDEN or any(p.startswith("_") for p in parts)
        try:
            found = None if hidden else importlib.util.find_spec(name)
            there = found is not None or (not hidden and name in sys.modules)
        except ModuleNotFoundError:
            there = False
        _known[name] = name if there else None
    return _known[name]


# Parts of thalweg that are no torch modules, though a torch module may be called so.
_HIDDEN = {"core", "ir", "ops", "passes", "lowering", "codegen", "runtime", "pipeline", "tensor",
           "app", "interop", "testing", "numpy", "tensorflow", "data", "serialization"}  # fmt: skip


def _import(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None
