"""What is timed: one file a programming style, each written as that style's users would write it.

A style offers ``build(name, lib) -> Run`` for the works it knows. All styles of one work do the
same arithmetic on the same shapes; `SIZES` fixes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """``step()`` submits one iteration; ``wait()`` returns when all submitted ones are done."""

    step: Callable[[], object]
    wait: Callable[[], object]


@dataclass(frozen=True)
class Gpt:
    layers: int = 6
    width: int = 384
    heads: int = 6
    length: int = 256
    batch: int = 8
    vocabulary: int = 256


@dataclass(frozen=True)
class Lstm:
    layers: int = 2
    width: int = 650
    length: int = 35
    batch: int = 20
    vocabulary: int = 10000


@dataclass(frozen=True)
class Mlp:
    batch: int = 64
    widths: tuple[int, ...] = (784, 512, 256, 10)


@dataclass(frozen=True)
class Images:
    batch: int
    size: int = 224
    classes: int = 1000


@dataclass(frozen=True)
class Bert:
    layers: int = 12
    width: int = 768
    heads: int = 12
    length: int = 128
    batch: int = 1


SIZES = {
    "gpt": Gpt(),
    "lstm": Lstm(),
    "mlp": Mlp(),
    "alexnet": Images(32),
    "resnet50": Images(8),
    "resnet50-inference": Images(1),
    "bert-inference": Bert(),
}

# Sides of square-ish matrices for the kernels below: in the second-level cache, in the third, and
# in memory (128 KB, 2 MB and 64 MB of float32).
ROWS = {"L2": (128, 256), "L3": (512, 1024), "DRAM": (8192, 2048)}

KERNELS = (
    "gelu", "swiglu", "tanh", "softmax", "layer_norm", "layer_norm_training", "cross_entropy",
    "sum_rows", "sum_columns", "sum_all", "transpose", "embedding", "max_pool", "adam",
)  # fmt: skip

TRAINING = ("gpt", "lstm", "mlp", "alexnet", "resnet50", "autograd-3x4")
INFERENCE = ("resnet50-inference", "bert-inference")


def names() -> list[str]:
    """Every work, kernels as 'kernel/place'."""
    kernels = [f"{kernel}/{place}" for kernel in KERNELS for place in ROWS]
    return [*TRAINING, *INFERENCE, *kernels]
