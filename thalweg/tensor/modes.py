"""Gradient modes as context managers and decorators: `no_grad`, `enable_grad`, `inference_mode`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from ..core import flags
from .flush import restart
from .trace import local, set_grad_mode

_F = TypeVar("_F", bound=Callable[..., Any])


class _Mode:
    """Base: usable as ``with no_grad():``, ``@no_grad()`` and ``@no_grad``."""

    def __new__(cls, function: Any = None, *args: Any) -> Any:
        made = object.__new__(cls)
        if callable(function):
            made.__init__(*args)  # type: ignore[misc]
            return made(function)
        return made

    def __init__(self, *args: Any) -> None:
        self._before: list[bool] = []

    def _enabled(self) -> bool:
        raise NotImplementedError

    def __enter__(self) -> None:
        self._before.append(set_grad_mode(self._enabled()))

    def __exit__(self, *error: object) -> None:
        set_grad_mode(self._before.pop())

    def __call__(self, function: _F) -> _F:
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                iterator = function(*args, **kwargs)
                while True:
                    with self._fresh():
                        try:
                            item = next(iterator)
                        except StopIteration as stop:
                            return stop.value
                    yield item

            return generator  # type: ignore[return-value]

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self._fresh():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]

    def _fresh(self) -> _Mode:
        return type(self)()


class no_grad(_Mode):
    """Operations inside are not recorded for differentiation."""

    def _enabled(self) -> bool:
        return False


class enable_grad(_Mode):
    """Operations inside are recorded for differentiation, whatever the mode outside."""

    def _enabled(self) -> bool:
        return True


class inference_mode(_Mode):
    """As `no_grad`; ``mode=False`` does nothing."""

    def __new__(cls, mode: Any = True) -> Any:
        return _Mode.__new__(cls, mode if callable(mode) else None)

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.mode = mode if isinstance(mode, bool) else True
        self._inference: list[bool] = []

    def _enabled(self) -> bool:
        return not self.mode and local.grad

    def _fresh(self) -> _Mode:
        return inference_mode(self.mode)

    def __enter__(self) -> None:
        self._inference.append(local.inference)
        local.inference = self.mode
        super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        local.inference = self._inference.pop()


class set_grad_enabled(_Mode):
    """Switch recording on or off, at once or for a ``with`` block."""

    def __new__(cls, mode: bool) -> Any:
        return object.__new__(cls)

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = bool(mode)
        self._before.append(set_grad_mode(self.mode))

    def _enabled(self) -> bool:
        return self.mode

    def __enter__(self) -> None:
        set_grad_mode(self.mode)

    def _fresh(self) -> _Mode:
        return enable_grad() if self.mode else no_grad()

    def __call__(self, function: _F) -> _F:
        set_grad_mode(self._before.pop())
        return super().__call__(function)


def is_grad_enabled() -> bool:
    """Whether operations are recorded for differentiation in this thread."""
    return local.grad


def is_inference_mode_enabled() -> bool:
    return local.inference


class eager:
    """Run each op as it is recorded: ``with thalweg.eager():`` for debugging."""

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self._context: Any = None

    def __enter__(self) -> None:
        self._context = flags.override(eager=self.enabled)
        self._context.__enter__()
        restart()

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(*error)
        restart()
