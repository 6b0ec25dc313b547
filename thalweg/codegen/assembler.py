"""LLVM text to object code; also the program of a compiling worker process.

This file imports nothing of the package, so that a worker process, which runs it as a script,
starts as fast as llvmlite does. A worker reads pickled requests ``(text, triple, cpu, features,
level)`` from its standard input until that ends, and answers each with the object code (bytes) or
the error message (str); it ends when nothing comes for a while. No optimisation passes run on the
text.
"""

from __future__ import annotations

import functools
import pickle
import select
import sys
from typing import Any


@functools.cache
def llvm() -> Any:
    """llvmlite's binding, initialised for all targets.

    Loop strength reduction is off: on kernels with many addresses in a loop it took half of the
    whole code generation, and made none of them faster.
    """
    import llvmlite.binding as binding

    binding.set_option("thalweg", "-disable-lsr")
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    return binding


def machine(triple: str, cpu: str, features: str, level: int) -> Any:
    """A fresh LLVM target machine. It must not be shared with an execution engine, which would
    own and dispose of it."""
    return llvm().Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=level, reloc="pic", codemodel="default"
    )  # fmt: skip


def parsed(text: str, triple: str, cpu: str, features: str, level: int) -> tuple[Any, Any]:
    """The verified module, and the machine to emit it with."""
    made = machine(triple, cpu, features, level)
    module = llvm().parse_assembly(text)
    module.triple = triple
    module.data_layout = str(made.target_data)
    module.verify()
    return module, made


def emit(text: str, triple: str, cpu: str, features: str, level: int) -> bytes:
    """Object code of a module. RuntimeError with LLVM's message and the text's line if the text
    is not valid."""
    module, made = parsed(text, triple, cpu, features, level)
    return made.emit_object(module)  # type: ignore[no-any-return]


_PATIENCE = 120.0  # seconds


def main() -> None:
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while select.select([requests], [], [], _PATIENCE)[0]:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        answer: bytes | str
        try:
            answer = emit(*request)
        except RuntimeError as error:
            answer = str(error)
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
