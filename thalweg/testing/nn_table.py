"""The table of PyTorch's neural-network surface: which names exist here, and why others do not.

The names stand in ``nn_names.txt`` (one line a module, written by ``scripts/nn_names``, which needs
PyTorch); `as_markdown` needs thalweg alone. ``scripts/generate`` writes docs/nn.md from it, and a
test compares the names with the installed PyTorch.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

NAMES = Path(__file__).with_name("nn_names.txt")

MODULES = (
    "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.rnn", "nn.utils.parametrize",
    "nn.utils.parametrizations", "optim", "optim.lr_scheduler", "optim.swa_utils", "utils.data",
)  # fmt: skip

_PIPES = "data pipes are deprecated in PyTorch too; datasets and loaders do their work"
_SCALED = "no 8-bit floating-point dtypes"
_LAYOUT = "values have no memory layout to convert"

# Why a name is absent.
REASONS = {
    "nn.LinearCrossEntropyOptions": "chooses among PyTorch's ways to compute in pieces",
    "nn.Container": "deprecated in PyTorch", "nn.NLLLoss2d": "deprecated in PyTorch: `NLLLoss`",
    "nn.utils.clip_grad_norm": "deprecated in PyTorch: `clip_grad_norm_`",
    "nn.utils.stateless": "deprecated in PyTorch: `func.functional_call`",
    "nn.factory_kwargs": "internal: sorts keyword arguments of constructors",
    "nn.functional.ScalingType": _SCALED, "nn.functional.SwizzleType": _SCALED,
    "nn.functional.scaled_mm": _SCALED, "nn.functional.scaled_grouped_mm": _SCALED,
    "nn.utils.convert_conv2d_weight_memory_format": _LAYOUT,
    "nn.utils.convert_conv3d_weight_memory_format": _LAYOUT,
    "optim.SparseAdam": "no sparse gradients",
    "optim.swap_in_optimizer_params_and_state": "internal: exchanges states of graph captures",
    **{
        f"utils.data.{name}": _PIPES
        for name in (
            "DFIterDataPipe", "DataChunk", "IterDataPipe", "MapDataPipe", "argument_validation",
            "functional_datapipe", "guaranteed_datapipes_determinism", "non_deterministic",
            "runtime_validation", "runtime_validation_disabled",
        )
    },
}  # fmt: skip


def listed() -> dict[str, list[str]]:
    """Module -> names, from the file."""
    found = {}
    for line in NAMES.read_text(encoding="utf-8").splitlines():
        module, _, names = line.partition(": ")
        found[module] = names.split()
    return found


def exists(module: str, name: str) -> bool:
    """Whether thalweg has the name."""
    try:
        return hasattr(importlib.import_module(f"thalweg.{module}"), name)
    except ImportError:
        return False


def absent() -> list[str]:
    """Full names that do not exist here."""
    return [f"{m}.{n}" for m, names in listed().items() for n in names if not exists(m, n)]


def as_markdown() -> str:
    """The content of docs/nn.md."""
    lines = [
        "# Modules, functions, optimizers and data tools of PyTorch",
        "",
        "Written by `scripts/generate`: the public names of PyTorch's modules for neural networks.",
        "Tests compare what exists with PyTorch; what does not is listed with its reason.",
        "",
        "| module | names | here | absent |",
        "|---|---|---|---|",
    ]
    missing = absent()
    for module, names in listed().items():
        gone = [n for n in names if f"{module}.{n}" in missing]
        lines.append(f"| `{module}` | {len(names)} | {len(names) - len(gone)} | {len(gone)} |")
    lines += ["", "## Absent", "", "| name | why |", "|---|---|"]
    lines += [f"| `{name}` | {REASONS.get(name, 'not written yet')} |" for name in missing]
    for module, names in listed().items():
        here = [f"`{n}`" for n in names if f"{module}.{n}" not in missing]
        lines += ["", f"## {module}", "", ", ".join(here)]
    return "\n".join(lines) + "\n"


def in_pytorch() -> str:
    """The content of the list of names, by the installed PyTorch."""
    lines = []
    for name in MODULES:
        module = importlib.import_module(f"torch.{name}")
        public = getattr(module, "__all__", None)
        names = sorted(public if public is not None else filter(_own(module), dir(module)))
        kept = [n for n in names if n != "Tensor" and not n.startswith("_")]
        lines.append(f"{name}: {' '.join(kept)}")
    return "\n".join(lines) + "\n"


def _own(module: object) -> object:
    """Whether a name of a module without a list is a class or function that PyTorch means to show:
    not a helper that the module imported."""

    def own(name: str) -> bool:
        value = getattr(module, name)
        if name.startswith("_") or name in _HELPERS:
            return False
        if not (inspect.isclass(value) or callable(value)):
            return False
        home = getattr(value, "__module__", None) or ""
        return home.startswith("torch") or inspect.isbuiltin(value)

    return own


_HELPERS = {
    "assert_int_or_pair", "boolean_dispatch", "handle_torch_function", "has_torch_function",
    "has_torch_function_unary", "has_torch_function_variadic", "Parameter_", "Tensor",
}  # fmt: skip
