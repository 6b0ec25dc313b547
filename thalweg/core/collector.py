"""The cyclic garbage collector while graphs are built.

Building a graph makes many objects that all stay alive; the collector would look through them
again and again, for a third of the time, and find nothing.
"""

from __future__ import annotations

import gc


class uncollected:
    """Inside ``with uncollected():`` the collector rests; afterwards it is as it was."""

    __slots__ = ("_was_on",)

    def __enter__(self) -> None:
        self._was_on = gc.isenabled()
        gc.disable()

    def __exit__(self, *error: object) -> None:
        if self._was_on:
            gc.enable()
