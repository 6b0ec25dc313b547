"""The parameters of Python functions, read off their code.

`inspect.signature` says more and costs thirty times as much, for hundreds of functions while the
package is imported and for every composite that is recorded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_STAR = inspect.CO_VARARGS


class Parameters:
    """``names`` in order, those that may be given by position first (``positional`` of them), with
    the ``defaults`` of those that have one; ``star`` is the name of ``*args``, or empty."""

    __slots__ = ("_known", "defaults", "names", "positional", "star")

    def __init__(
        self, names: Sequence[str], positional: int, defaults: Mapping[str, Any], star: str = ""
    ) -> None:
        self.names = tuple(names)
        self.positional = positional
        self.defaults = dict(defaults)
        self.star = star
        self._known = frozenset(self.names)

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Parameters:
        """Those of a function; of a decorated one, where that says what it wraps, of the inner."""
        plain: Any = inspect.unwrap(function)
        code = plain.__code__
        count = code.co_argcount
        total = count + code.co_kwonlyargcount
        names = code.co_varnames[:total]
        given = plain.__defaults__ or ()
        defaults = dict(zip(names[count - len(given) : count], given))
        defaults.update(plain.__kwdefaults__ or {})
        return cls(names, count, defaults, code.co_varnames[total] if code.co_flags & _STAR else "")

    def __contains__(self, name: str) -> bool:
        return name in self._known or name == self.star

    def plus(self, name: str, default: Any) -> Parameters:
        """With one more at the end, which may be given by position."""
        return Parameters(
            (*self.names, name), self.positional + 1, {**self.defaults, name: default}
        )

    def without(self, left_out: Sequence[str]) -> Parameters:
        """All but some."""
        names = [n for n in self.names if n not in left_out]
        positional = sum(n not in left_out for n in self.names[: self.positional])
        return Parameters(
            names, positional, {n: self.defaults[n] for n in names if n in self.defaults}
        )

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The value of every parameter of a call, in order. TypeError, in Python's words, if the
        call does not fit."""
        names = self.names
        if len(args) > self.positional:
            raise TypeError("too many positional arguments")
        found = dict(zip(names, args))
        if kwargs:
            for name in kwargs:
                if name not in self._known:
                    raise TypeError(f"got an unexpected keyword argument {name!r}")
                if name in found:
                    raise TypeError(f"multiple values for argument {name!r}")
            found.update(kwargs)
        if len(found) == len(names) and not kwargs:
            return found
        defaults = self.defaults
        try:
            return {name: found[name] if name in found else defaults[name] for name in names}
        except KeyError as missing:
            raise TypeError(f"missing a required argument: {missing}") from None
