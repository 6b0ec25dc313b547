"""Late-bound public functions, for bodies that are written in terms of other public functions.

As `link.ops` does for primitives: `public.where(...)` looks the function up when it is called,
with PyTorch's broadcasting and promotion.
"""

from __future__ import annotations

from typing import Any

from .function import FUNCTIONS


class _Public:
    def __getattr__(self, name: str) -> Any:
        try:
            return FUNCTIONS[name].impl
        except KeyError:
            raise AttributeError(f"no public function is named {name!r}") from None


public: Any = _Public()
