"""`torch.jit` without a compiler of Python source: functions and modules stay what they are.

Scripting and tracing change how PyTorch runs a model, not what it computes; thalweg records and
compiles every model, so `script` and `trace` return what they are given. What only a compiled
program has (saving to TorchScript, its graph) is refused by name.
"""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, NoReturn, TypeVar

from .nn import Module

_T = TypeVar("_T")


def script(obj: _T, *args: Any, **kwargs: Any) -> _T:
    """``obj`` itself: a function, module or class."""
    return obj


def trace(func: _T, example_inputs: Any = None, *args: Any, **kwargs: Any) -> _T:
    """``func`` itself. Unlike a traced one it also follows data-dependent branches."""
    return func


def trace_module(mod: _T, inputs: Any = None, *args: Any, **kwargs: Any) -> _T:
    """``mod`` itself."""
    return mod


def script_if_tracing(fn: _T) -> _T:
    """``fn`` itself."""
    return fn


_script_if_tracing = script_if_tracing


def export(fn: _T) -> _T:
    """``fn``: marks a method for compilation."""
    return fn


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """Marks a function as one that stays Python: it does."""
    if callable(drop):
        return drop
    return lambda fn: fn


def unused(fn: _T) -> _T:
    """``fn``: marks a method that a compiled program may leave out."""
    return fn


def interface(obj: _T) -> _T:
    """``obj``: declares an interface of compiled classes."""
    return obj


def freeze(mod: _T, *args: Any, **kwargs: Any) -> _T:
    """``mod`` itself."""
    return mod


def optimize_for_inference(mod: _T, *args: Any, **kwargs: Any) -> _T:
    """``mod`` itself."""
    return mod


def is_scripting() -> bool:
    """Whether TorchScript compiles the caller: never."""
    return False


def is_tracing() -> bool:
    """Whether TorchScript traces the caller: never."""
    return False


def annotate(the_type: Any, the_value: _T) -> _T:
    """``the_value``, whose type is declared."""
    return the_value


def isinstance(obj: Any, target_type: Any) -> bool:
    """Python's isinstance, for classes and tuples of them."""
    return _isinstance(obj, target_type)


_isinstance = builtins.isinstance


class Attribute(Generic[_T]):
    """A value with a declared type, for attributes of compiled modules."""

    def __init__(self, value: _T, type: Any) -> None:
        self.value, self.type = value, type


class ScriptModule(Module):
    """The class of compiled modules. Subclasses are ordinary modules here."""


class RecursiveScriptModule(ScriptModule):
    """The class of what PyTorch's `script` returns; nothing here is one."""


class ScriptFunction:
    """The class of compiled functions; nothing here is one."""


class Error(RuntimeError):
    """An error of a compiled program."""


def script_method(fn: _T) -> _T:
    """``fn``: a method of a `ScriptModule`."""
    return fn


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f"jit.{name}: thalweg has no TorchScript programs; save and load the state_dict()"
        )

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = "NotImplementedError: there are no TorchScript programs."
    return refuse


save, load, fork, wait = _refuse("save"), _refuse("load"), _refuse("fork"), _refuse("wait")


def set_fusion_strategy(strategy: Any) -> list[Any]:
    """PyTorch's fuser settings, of which there are none: the settings before."""
    return []


def enable_onednn_fusion(enabled: bool) -> None:
    """A setting of PyTorch's fuser, which is not here."""


def onednn_fusion_enabled() -> bool:
    """Whether PyTorch's oneDNN fuser is on: it is not here."""
    return False


@contextlib.contextmanager
def fuser(name: str) -> Iterator[None]:
    """A choice of PyTorch's fusers, which are not here."""
    yield


@contextlib.contextmanager
def optimized_execution(should_optimize: bool) -> Iterator[None]:
    """Whether PyTorch optimizes compiled programs, of which there are none."""
    yield


@contextlib.contextmanager
def _disable_emit_hooks() -> Iterator[None]:
    yield


def _overload(fn: _T) -> _T:
    return fn


_overload_method = _overload

__all__ = ["Attribute", "Error", "Final", "RecursiveScriptModule", "ScriptFunction", "ScriptModule",
           "annotate", "enable_onednn_fusion", "export", "fork", "freeze", "fuser", "ignore",
           "interface", "is_scripting", "is_tracing", "isinstance", "load",
           "onednn_fusion_enabled", "optimize_for_inference", "optimized_execution", "save",
           "script", "script_if_tracing", "script_method", "set_fusion_strategy", "trace",
           "trace_module", "unused", "wait"]  # fmt: skip
