"""Late-bound names of primitives, for rules that are written in terms of other ops.

`ops.exp(x)` looks ``exp`` up when the rule runs, so files that define ops need not import one
another and the order of their definition does not matter.
"""

from __future__ import annotations

from typing import Any

from .contract import PRIMITIVES, Primitive


class _Link:
    def __getattr__(self, name: str) -> Primitive:
        try:
            return PRIMITIVES[name]
        except KeyError:
            raise AttributeError(f"no primitive is named {name!r}") from None


ops: Any = _Link()
