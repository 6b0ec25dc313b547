"""The works in JAX's words: pure functions of parameter trees under ``jit``, arguments donated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn

from . import INFERENCE, ROWS, SIZES, Run
from .jax_models import BUILDERS


def build(name: str) -> Run:
    held: list[Any] = [None]

    def wait() -> None:
        jax.block_until_ready(held[0])

    if name == "autograd-3x4":
        made = autograd()
    elif name in INFERENCE:
        made = inference(name)
    elif name in SIZES:
        made = training(name)
    else:
        made = kernel(name)

    def step() -> None:
        held[0] = made()

    return Run(step, wait)


def cross_entropy(scores: Any, targets: Any) -> Any:
    scores = scores.reshape(-1, scores.shape[-1])
    picked = jnp.take_along_axis(nn.log_softmax(scores), targets.reshape(-1, 1), 1)
    return -picked.mean()


def adamw(parameters: Any, grads: Any, state: Any) -> tuple[Any, Any]:
    count, first, second = state
    count = count + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)

    def update(p: Any, m: Any, v: Any) -> Any:
        m, v = m / (1 - 0.9**count), v / (1 - 0.999**count)
        return p * (1 - 3e-4 * 0.01) - 3e-4 * m / (jnp.sqrt(v) + 1e-8)

    return jax.tree.map(update, parameters, first, second), (count, first, second)


def momentum(parameters: Any, grads: Any, state: Any) -> tuple[Any, Any]:
    state = jax.tree.map(lambda v, g: 0.9 * v + g, state, grads)
    return jax.tree.map(lambda p, v: p - 0.01 * v, parameters, state), state


def training(name: str) -> Callable[[], Any]:
    size: Any = SIZES[name]
    rng = np.random.default_rng(0)
    parameters, forward = BUILDERS[name](size, True)
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    if name in ("gpt", "mlp"):
        update: Any = adamw
        state: Any = (jnp.float32(0), zeros, jax.tree.map(jnp.zeros_like, parameters))
    else:
        update, state = momentum, zeros
    if name in ("gpt", "lstm"):
        shape = (size.batch, size.length) if name == "gpt" else (size.length, size.batch)
        inputs, targets = (jnp.asarray(rng.integers(0, size.vocabulary, shape)) for _ in "it")
    elif name == "mlp":
        inputs = jnp.asarray(rng.normal(size=(size.batch, size.widths[0])), jnp.float32)
        targets = jnp.asarray(rng.integers(0, 10, size.batch))
    else:
        shape = (size.batch, 3, size.size, size.size)
        inputs = jnp.asarray(rng.normal(size=shape), jnp.float32)
        targets = jnp.asarray(rng.integers(0, size.classes, size.batch))

    @partial(jax.jit, donate_argnums=(0, 1))
    def train(parameters: Any, state: Any, inputs: Any, targets: Any) -> Any:
        def loss_of(parameters: Any) -> Any:
            return cross_entropy(forward(parameters, inputs), targets)

        loss, grads = jax.value_and_grad(loss_of)(parameters)
        return *update(parameters, grads, state), loss

    held = [parameters, state]

    def step() -> Any:
        *held[:], loss = train(*held, inputs, targets)
        return held, loss

    return step


def inference(name: str) -> Callable[[], Any]:
    size: Any = SIZES[name]
    parameters, forward = BUILDERS[name.partition("-")[0]](size, False)
    rng = np.random.default_rng(0)
    if name.startswith("resnet50"):
        shape: tuple[int, ...] = (size.batch, 3, size.size, size.size)
    else:
        shape = (size.batch, size.length, size.width)
    inputs = jnp.asarray(rng.normal(size=shape), jnp.float32)
    run = jax.jit(forward)
    return lambda: run(parameters, inputs)


def autograd() -> Callable[[], Any]:
    rng = np.random.default_rng(0)
    x, y, z = (jnp.asarray(rng.normal(size=(3, 4)), jnp.float32) for _ in range(3))
    run = jax.jit(jax.value_and_grad(lambda x, y, z: (x * y + z).sum(), argnums=(0, 1, 2)))
    return lambda: run(x, y, z)


def layer_norm(x: Any, gain: Any, bias: Any) -> Any:
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * gain + bias


def kernel(name: str) -> Callable[[], Any]:
    kind, _, place = name.partition("/")
    rows, width = ROWS[place]
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.normal(size=(rows, width)), jnp.float32) for _ in range(2))
    gain, bias = (jnp.asarray(rng.normal(size=width), jnp.float32) for _ in range(2))
    targets = jnp.asarray(rng.integers(0, width, rows))
    if kind == "adam":
        parameters = [x[i * (rows // 8) : (i + 1) * (rows // 8)] for i in range(8)]
        grads = [p + 1 for p in parameters]
        zeros = [[jnp.zeros_like(p) for p in parameters] for _ in range(2)]
        held: list[Any] = [parameters, (jnp.float32(0), *zeros)]
        update = jax.jit(lambda p, s, g: adamw(p, g, s), donate_argnums=(0, 1))

        def adam() -> Any:
            held[:] = update(*held, grads)
            return held

        return adam
    if kind == "cross_entropy":
        run: Any = jax.jit(jax.grad(lambda x: cross_entropy(x, targets)))
        return lambda: run(x)
    if kind == "layer_norm_training":
        run = jax.jit(jax.grad(lambda x, g, b: (layer_norm(x, g, b) * y).sum(), (0, 1, 2)))
        return lambda: run(x, gain, bias)
    pooled = x.reshape(1, rows // 16, 16, width)
    table: dict[str, Callable[..., Any]] = {
        "gelu": lambda x: nn.gelu(x * gain + bias, approximate=False),
        "swiglu": lambda x: nn.silu(x) * y,
        "tanh": jnp.tanh,
        "softmax": nn.softmax,
        "layer_norm": lambda x: layer_norm(x, gain, bias),
        "sum_rows": lambda x: x.sum(1),
        "sum_columns": lambda x: x.sum(0),
        "sum_all": jnp.sum,
        "transpose": lambda x: x.T,
        "embedding": lambda x: x[targets % rows],
        "max_pool": lambda x: lax.reduce_window(
            pooled + 0 * x[0, 0], -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"
        ),
    }
    run = jax.jit(table[kind])
    return lambda: run(x)
