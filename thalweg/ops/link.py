"""Late-bound names of primitives, for rules that are written in terms of other ops.

`ops.exp(x)` looks ``exp`` up when the rule runs, so files that define ops need not import one
another and the order of their definition does not matter.
"""

from __future__ import annotations

from typing import Any

from .contract import PRIMITIVES, Primitive


class _Link:
    def __getattr__(self, name: str) -> Primitive:
        found = PRIMITIVES.get(name)
        if found is None:
            raise AttributeError(f"no primitive is named {name!r}")
        setattr(self, name, found)  # found without this function from now on
        return found


ops: Any = _Link()
