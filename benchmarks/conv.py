"""Convolution kernels against PyTorch's, layer by layer: `python -m benchmarks.conv [pattern]`.

Each line is one layer in one direction; "ratio" is PyTorch's time over ours, the median over rounds
in which both run in turn in one process on one thread. Times are those of the thread, so other
work on the machine shifts them less. Weights are packed and sources padded in every call.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.codegen.objects import emit_object
from thalweg.codegen.target import host
from thalweg.codegen.templates import instantiate
from thalweg.core.dtypes import float32
from thalweg.ir.anchor import AnchorCall, Epilogue, Operand
from thalweg.ir.loops import Buffer, Store, Var
from thalweg.runtime.loader import load
from thalweg.runtime.native import NativeKernel

KINDS = ("forward", "weight", "input")
TEMPLATES = {
    "forward": "conv", "weight": "conv_weight_grad", "input": "conv_input_grad",
}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    name: str
    channels: int
    size: int
    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1

    @property
    def result(self) -> int:
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1


ALEXNET = (
    Layer("alex1", 3, 224, 64, 11, 4, 2),
    Layer("alex2", 64, 27, 192, 5, 1, 2),
    Layer("alex3", 192, 13, 384, 3, 1, 1),
    Layer("alex4", 384, 13, 256, 3, 1, 1),
    Layer("alex5", 256, 13, 256, 3, 1, 1),
)


def resnet50() -> Iterator[Layer]:
    """The distinct convolutions of ResNet-50."""
    yield Layer("r50.stem", 3, 224, 64, 7, 2, 3)
    channels, size = 64, 56
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        out, stride = 4 * width, 1 if stage == 1 else 2
        name = f"r50.{stage}"
        yield Layer(f"{name}.in", channels, size, width, 1)
        yield Layer(f"{name}.3x3s", width, size, width, 3, stride, 1)
        yield Layer(f"{name}.down", channels, size, out, 1, stride)
        size //= stride
        yield Layer(f"{name}.out", width, size, out, 1)
        yield Layer(f"{name}.in2", out, size, width, 1)
        if stage > 1:
            yield Layer(f"{name}.3x3", width, size, width, 3, 1, 1)
        channels = out


EXTRA = (
    Layer("dw.3x3", 144, 56, 144, 3, 1, 1, 144),
    Layer("dw.3x3s2", 96, 112, 96, 3, 2, 1, 96),
    Layer("dw.7x7", 192, 28, 192, 7, 1, 3, 192),
    Layer("grouped.3x3", 128, 56, 128, 3, 1, 1, 32),
    Layer("vit.patch", 3, 224, 192, 16, 16),
    Layer("mnist", 1, 28, 32, 3, 1, 1),
)


def make_call(layer: Layer, batch: int, kind: str) -> AnchorCall:
    x = (batch, layer.channels, layer.size, layer.size)
    w = (layer.filters, layer.channels // layer.groups, layer.kernel, layer.kernel)
    y = (batch, layer.filters, layer.result, layer.result)
    attrs: dict[str, Any] = {
        "stride": (layer.stride,) * 2, "padding": ((layer.padding,) * 2,) * 2,
        "dilation": (1, 1), "groups": layer.groups,
    }  # fmt: skip
    shapes = {"forward": (x, w, y), "weight": (x, y, w), "input": (y, w, x)}[kind]
    if kind != "forward":
        attrs["shape"] = shapes[2]
    n, c, h, k = shapes[2]
    merged = (1, n, c * h * k) if kind == "weight" else (n, c, h * k)
    buffers = [Buffer(name, float32, shape) for name, shape in zip("ab", shapes)]
    operands = [Operand(i, 0, s, _dense(s), float32) for i, s in enumerate(shapes[:2])]
    index = ("n", "c", "p")
    store = Store("out", tuple(map(Var, index)), Var("x", float32))
    return AnchorCall(
        TEMPLATES[kind], tuple(sorted(attrs.items())), tuple(operands), merged, float32,
        (*buffers, Buffer("out", float32, merged, "out")), Epilogue(index, "x", (store,)),
    )  # fmt: skip


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(np.prod(shape[d + 1 :])) for d in range(len(shape)))


class Native:
    """A compiled kernel with its operands bound."""

    def __init__(self, kernel: NativeKernel, arrays: list[np.ndarray[Any, Any]]) -> None:
        symbols = list(dict.fromkeys(launch.symbol for launch in kernel.launches))
        self._library = load(emit_object(kernel.text, host()), symbols)
        self._spaces = [np.zeros(size + 64, np.uint8) for size in kernel.workspaces]
        spaces = [-(-s.ctypes.data // 64) * 64 for s in self._spaces]
        self._arrays = arrays
        pointers = [a.ctypes.data for a in arrays] + spaces
        self._args = (ctypes.c_void_p * len(pointers))(*pointers)
        prototype = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        self.launches = [
            (launch.symbol, prototype(self._library.addresses[launch.symbol]), launch.extent)
            for launch in kernel.launches
        ]

    def __call__(self) -> None:
        for _, run, extent in self.launches:
            run(ctypes.addressof(self._args), 0, extent)

    def phases(self) -> str:
        """Milliseconds of each launch, once."""
        shown = []
        for symbol, run, extent in self.launches:
            start = time.thread_time()
            run(ctypes.addressof(self._args), 0, extent)
            shown.append(f"{symbol} {(time.thread_time() - start) * 1e3:.1f}")
        return ", ".join(shown)


def rival(layer: Layer, kind: str, arrays: list[np.ndarray[Any, Any]], shape: Any) -> Any:
    """PyTorch's kernel of one direction."""
    import torch

    a, b = (torch.from_numpy(array) for array in arrays[:2])
    options = (
        None, [layer.stride] * 2, [layer.padding] * 2, [1, 1], False, [0, 0], layer.groups,
    )  # fmt: skip
    if kind == "forward":
        return lambda: torch.convolution(a, b, *options)
    masks = [kind == "input", kind == "weight", False]
    other = torch.empty(shape)
    x, g, w = (other, a, b) if kind == "input" else (a, b, other)
    return lambda: torch.ops.aten.convolution_backward(g, x, w, *options, masks)


def timed(run: Callable[[], Any]) -> float:
    start = time.thread_time()
    run()
    return time.thread_time() - start


def compare(layer: Layer, batch: int, kind: str, rounds: int) -> dict[str, Any]:
    call = make_call(layer, batch, kind)
    rng = np.random.default_rng(0)
    arrays = [
        rng.standard_normal(p.shape if p.mode == "in" else (0,), np.float32) for p in call.params
    ]
    arrays[-1] = np.zeros(call.params[-1].shape, np.float32)
    begin = time.thread_time()
    kernel = instantiate(call, host())
    ours = Native(kernel, arrays)
    compile_ms = (time.thread_time() - begin) * 1e3
    w = (layer.filters, layer.channels // layer.groups, layer.kernel, layer.kernel)
    x = (batch, layer.channels, layer.size, layer.size)
    theirs = rival(layer, kind, arrays, x if kind == "input" else w)
    ours()
    expected = theirs()
    expected = (expected if kind == "forward" else expected[0 if kind == "input" else 1]).numpy()
    error = np.abs(arrays[2].reshape(expected.shape) - expected).max() / np.abs(expected).max()
    assert error < 1e-3, (layer, kind, error)
    pairs = [(timed(theirs), timed(ours)) for _ in range(rounds)]
    ms = statistics.median(o for _, o in pairs) * 1e3
    flops = 2 * batch * layer.filters * layer.result**2 * w[1] * layer.kernel**2
    return {
        "layer": layer.name, "batch": batch, "kind": kind, "ms": ms,
        "ratio": statistics.median(t / o for t, o in pairs),
        "gflops": flops / min(o for _, o in pairs) * 1e-9,
        "compile_ms": compile_ms, "error": float(error), "phases": ours.phases(),
    }  # fmt: skip


def main() -> None:
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="", help="part of the layers' names")
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--batch", type=int, nargs="*", default=[16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--extra", action="store_true", help="depthwise, grouped, patches")
    args = parser.parse_args()
    layers = [*ALEXNET, *resnet50(), *(EXTRA if args.extra else ())]
    print(
        f"{'layer':12} {'n':>3} {'kind':8} {'ms':>8} {'ratio':>6} {'GF/s':>6} {'compile':>8}  error"
    )
    for layer in layers:
        for batch in args.batch:
            for kind in args.kinds:
                if args.pattern in layer.name:
                    row = compare(layer, batch, kind, args.rounds)
                    head = f"{row['layer']:12} {batch:3} {kind:8} {row['ms']:8.2f}"
                    rest = f"{row['compile_ms']:5.0f}ms  {row['error']:.0e}  [{row['phases']}]"
                    print(f"{head} {row['ratio']:6.2f} {row['gflops']:6.1f}  {rest}", flush=True)


if __name__ == "__main__":
    main()
