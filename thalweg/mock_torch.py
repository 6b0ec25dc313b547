"""`torch` served by thalweg, for packages that import it: unmodified, and without PyTorch.

    with thalweg.mock_torch.enable():
        import timm                      # and whatever else imports torch
        model = timm.create_model("resnet18")

    python -m thalweg.mock_torch script.py [arguments]
    python -m thalweg.mock_torch -m module [arguments]

`enable()` works at once, until the end of its ``with`` block or `disable()`. An installed PyTorch
and the modules that hold it are put aside meanwhile and come back undisturbed. `asked` lists the
torch names that were imported and are not there.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence

from .interop.mock_torch import finder
from .interop.mock_torch.missing import ASKED, MissingName
from .interop.mock_torch.worlds import World

_mocked, _real = World(), World()
_depth = 0


class enable:
    """Let ``import torch`` mean thalweg from now on; as a context manager, until its end."""

    def __init__(self) -> None:
        global _depth
        if _depth == 0:
            _real.leave()
            finder.install()
            _mocked.enter()
        _depth += 1

    def __enter__(self) -> enable:
        return self

    def __exit__(self, *error: object) -> None:
        disable()


def disable() -> None:
    """Undo the last `enable` that is in force."""
    global _depth
    if _depth == 0:
        raise RuntimeError("mock_torch is not enabled")
    _depth -= 1
    if _depth == 0:
        _mocked.leave()
        finder.remove()
        _real.enter()


def is_enabled() -> bool:
    """Whether ``import torch`` means thalweg."""
    return _depth > 0


def asked() -> dict[str, str]:
    """Torch names that were imported or read but are not there, with who asked for each first."""
    return dict(sorted(ASKED.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a script or module as ``__main__`` with torch served by thalweg."""
    rest = list(sys.argv[1:] if arguments is None else arguments)
    module = rest[:1] == ["-m"]
    rest = rest[1:] if module else rest
    if not rest or rest[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if rest else 2
    target = rest[0]
    before = sys.argv, sys.path[0]
    sys.argv = rest
    with enable():
        try:
            if module:
                runpy.run_module(target, run_name="__main__", alter_sys=True)
            else:
                sys.path[0] = os.path.dirname(os.path.abspath(target))
                runpy.run_path(target, run_name="__main__")
        finally:
            sys.argv, sys.path[0] = before
    return 0


__all__ = ["MissingName", "asked", "disable", "enable", "is_enabled", "main"]

if __name__ == "__main__":
    # The module of this name, not this copy of it, holds the state.
    from thalweg.mock_torch import main as _main

    sys.exit(_main())
