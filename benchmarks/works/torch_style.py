"""The works in PyTorch's words, for PyTorch eager, ``torch.compile`` and thalweg."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import INFERENCE, ROWS, SIZES, Run
from . import torch_models as models

Compile = Callable[[Any], Any]


def build(name: str, lib: Any, compiled: Compile | None = None) -> Run:
    """``compiled`` wraps what a user would pass to ``torch.compile``; None: run as written."""
    wrap = compiled or (lambda function: function)
    lib.manual_seed(0)
    if name == "autograd-3x4":
        step = autograd(lib, wrap)
    elif name in INFERENCE:
        step = inference(name, lib, wrap)
    elif name in SIZES:
        step = training(name, lib, wrap)
    else:
        step = kernel(name, lib, wrap)
    return Run(step, getattr(lib, "synchronize", lambda: None))


def training(name: str, lib: Any, wrap: Compile) -> Callable[[], Any]:
    size: Any = SIZES[name]
    F, optim = lib.nn.functional, lib.optim
    rng = np.random.default_rng(0)

    def integers(high: int, *shape: int) -> Any:
        return lib.from_numpy(rng.integers(0, high, shape))

    if name in ("gpt", "lstm"):
        model = getattr(models, name)(lib, size)
        shape = (size.batch, size.length) if name == "gpt" else (size.length, size.batch)
        inputs, targets = integers(size.vocabulary, *shape), integers(size.vocabulary, *shape)
    elif name == "mlp":
        model = models.mlp(lib, size.widths)
        inputs, targets = lib.randn(size.batch, size.widths[0]), integers(10, size.batch)
    else:
        model = getattr(models, name)(lib)
        inputs = lib.randn(size.batch, 3, size.size, size.size)
        targets = integers(size.classes, size.batch)
    if name in ("gpt", "mlp"):
        optimizer = optim.AdamW(model.parameters(), lr=3e-4)
    else:
        optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def loss_of(inputs: Any, targets: Any) -> Any:
        scores = model(inputs)
        return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), targets.reshape(-1))

    forward = wrap(loss_of)

    def step() -> Any:
        optimizer.zero_grad()
        loss = forward(inputs, targets)
        loss.backward()
        optimizer.step()
        return loss

    return step


def inference(name: str, lib: Any, wrap: Compile) -> Callable[[], Any]:
    size: Any = SIZES[name]
    if name.startswith("resnet50"):
        model = models.resnet50(lib).eval()
        inputs = lib.randn(size.batch, 3, size.size, size.size)
    else:
        model = models.bert(lib, size).eval()
        inputs = lib.randn(size.batch, size.length, size.width)
    run = wrap(model)

    def step() -> Any:
        with lib.inference_mode():
            return evaluate(lib, run(inputs))

    return step


def autograd(lib: Any, wrap: Compile) -> Callable[[], Any]:
    """a = x * y; b = a + z; c = sum(b) and the gradients of x, y and z, with N, D = 3, 4."""
    x, y, z = (lib.randn(3, 4).requires_grad_() for _ in range(3))
    forward = wrap(lambda x, y, z: (x * y + z).sum())

    def step() -> Any:
        x.grad = y.grad = z.grad = None
        forward(x, y, z).backward()
        return evaluate(lib, x.grad, y.grad, z.grad)

    return step


def evaluate(lib: Any, *results: Any) -> Any:
    """Where recording is lazy, a result that is dropped unread would never be computed: compute
    it while it is held."""
    if hasattr(lib, "synchronize"):
        lib.synchronize()
    return results


def kernel(name: str, lib: Any, wrap: Compile) -> Callable[[], Any]:
    kind, _, place = name.partition("/")
    rows, width = ROWS[place]
    F = lib.nn.functional
    x, y = lib.randn(rows, width), lib.randn(rows, width)
    gain, bias = lib.randn(width), lib.randn(width)
    targets = lib.from_numpy(np.random.default_rng(0).integers(0, width, rows))
    if kind == "adam":
        return adam(lib, rows, width, compiled=wrap)
    if kind in ("layer_norm_training", "cross_entropy"):
        leaf, g, b = (t.clone().requires_grad_() for t in (x, gain, bias))

        def forward() -> Any:
            if kind == "cross_entropy":
                return F.cross_entropy(leaf, targets)
            return (F.layer_norm(leaf, (width,), g, b) * y).sum()

        run = wrap(forward)

        def step() -> Any:
            leaf.grad = g.grad = b.grad = None
            run().backward()
            found = [t.grad for t in (leaf, g, b) if t.grad is not None]
            return evaluate(lib, *found)

        return step
    pooled = x.reshape(1, rows // 16, 16, width)
    table = {
        "gelu": lambda: F.gelu(x * gain + bias),
        "swiglu": lambda: F.silu(x) * y,
        "tanh": lambda: lib.tanh(x),
        "softmax": lambda: F.softmax(x, -1),
        "layer_norm": lambda: F.layer_norm(x, (width,), gain, bias),
        "sum_rows": lambda: x.sum(1),
        "sum_columns": lambda: x.sum(0),
        "sum_all": lambda: x.sum(),
        "transpose": lambda: x.t().contiguous(),
        "embedding": lambda: F.embedding(targets.remainder(rows), x),
        "max_pool": lambda: F.max_pool2d(pooled, 2),
    }
    run = wrap(table[kind])

    def plain() -> Any:
        with lib.no_grad():
            return evaluate(lib, run())

    return plain


def adam(lib: Any, rows: int, width: int, compiled: Compile) -> Callable[[], Any]:
    """One step over parameters that hold ``rows * width`` elements together."""
    parameters = [lib.nn.Parameter(lib.randn(rows // 8, width)) for _ in range(8)]
    for parameter in parameters:
        parameter.grad = lib.randn(rows // 8, width)
    optimizer = lib.optim.Adam(parameters, lr=1e-3)
    return compiled(optimizer.step)  # type: ignore[no-any-return]
