"""LLVM text to object code, for any target; no optimisation passes run on the text."""

from __future__ import annotations

import functools
from typing import Any

from .target import Target


@functools.cache
def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm


def machine(target: Target, level: int = 2) -> Any:
    """A fresh LLVM target machine. It must not be shared with an execution engine, which would
    own and dispose of it."""
    llvm = _llvm()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=level, reloc="pic", codemodel="default"
    )


def emit_object(text: str, target: Target, level: int = 2) -> bytes:
    """Object code of a module. RuntimeError with LLVM's message and the text's line if the text
    is not valid."""
    module, made = _module(text, target, level)
    return made.emit_object(module)  # type: ignore[no-any-return]


def emit_assembly(text: str, target: Target, level: int = 2) -> str:
    """The same as assembly, for people."""
    module, made = _module(text, target, level)
    return made.emit_assembly(module)  # type: ignore[no-any-return]


def _module(text: str, target: Target, level: int) -> tuple[Any, Any]:
    made = machine(target, level)
    module = _llvm().parse_assembly(text)
    module.triple = target.triple
    module.data_layout = str(made.target_data)
    module.verify()
    return module, made
