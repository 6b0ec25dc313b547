"""The libraries that are compared, and how each is told to use so many threads.

A peer is measured in a process of its own, which imports nothing but that peer.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .works import INFERENCE, Run


@dataclass(frozen=True)
class Peer:
    """``module`` must be there; ``distribution`` gives the version."""

    name: str
    module: str
    distribution: str
    build: Callable[[str, int], Run]
    works: Callable[[str], bool] = lambda name: True

    def installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None

    def version(self) -> str:
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return "source tree"


def _thalweg(name: str, threads: int) -> Run:
    import thalweg

    from .works.torch_style import build

    thalweg.set_num_threads(threads)
    return build(name, thalweg)


def _torch(name: str, threads: int) -> Run:
    import torch

    from .works.torch_style import build

    torch.set_num_threads(threads)
    return build(name, torch)


def _torch_compile(name: str, threads: int) -> Run:
    import torch

    from .works.torch_style import build

    torch.set_num_threads(threads)
    return build(name, torch, torch.compile)


def _jax(name: str, threads: int) -> Run:
    from .works.jax_style import build

    return build(name)


def _tinygrad(name: str, threads: int) -> Run:
    from .works.tinygrad_style import build

    return build(name)


def _tensorflow(name: str, threads: int) -> Run:
    import tensorflow as tf

    from .works.tensorflow_style import build

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return build(name)


def _onnxruntime(name: str, threads: int) -> Run:
    from .works.onnx_style import build

    return build(name, threads)


# XLA takes its threads from the cores it may run on, which the driver narrows; the rest read these.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

_SMALL = ("mlp", "autograd-3x4")

PEERS = (
    Peer("thalweg", "thalweg", "thalweg", _thalweg),
    Peer("torch", "torch", "torch", _torch),
    Peer("torch.compile", "torch", "torch", _torch_compile),
    Peer("jax", "jax", "jax", _jax),
    Peer("tensorflow", "tensorflow", "tensorflow-cpu", _tensorflow, lambda n: n in _SMALL),
    Peer("tinygrad", "tinygrad", "tinygrad", _tinygrad, lambda n: n in _SMALL),
    Peer("onnxruntime", "onnxruntime", "onnxruntime", _onnxruntime, lambda n: n in INFERENCE),
)


def environment(threads: int) -> dict[str, str]:
    """The variables of a worker's process."""
    values: dict[str, Any] = {name: str(threads) for name in THREAD_VARIABLES}
    values["TF_CPP_MIN_LOG_LEVEL"] = "3"
    values["JAX_PLATFORMS"] = "cpu"
    return {**os.environ, **values}


def by_name(name: str) -> Peer:
    for peer in PEERS:
        if peer.name == name:
            return peer
    raise SystemExit(f"there is no peer {name!r}; peers are {', '.join(p.name for p in PEERS)}")
