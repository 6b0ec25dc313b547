"""The models as JAX functions: each builder gives (parameters, forward(parameters, inputs))."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax, nn

_rng = np.random.default_rng(0)
Model = tuple[Any, Callable[[Any, Any], Any]]


def weight(*shape: int) -> Any:
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else shape[0]
    return jnp.asarray(_rng.normal(size=shape) / np.sqrt(fan_in), jnp.float32)


def linear(before: int, after: int) -> Any:
    return {"w": weight(before, after), "b": jnp.zeros(after)}


def norm(width: int) -> Any:
    return {"g": jnp.ones(width), "b": jnp.zeros(width)}


def apply(p: Any, x: Any) -> Any:
    return x @ p["w"] + p["b"]


def layer_norm(p: Any, x: Any) -> Any:
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * p["g"] + p["b"]


def attention(p: Any, x: Any, heads: int, causal: bool) -> Any:
    batch, length, width = x.shape
    q, k, v = jnp.split(apply(p["qkv"], x), 3, -1)
    q, k, v = (t.reshape(batch, length, heads, width // heads) for t in (q, k, v))
    y = nn.dot_product_attention(q, k, v, is_causal=causal)
    return apply(p["out"], y.reshape(batch, length, width))


def block(width: int) -> Any:
    return {
        "n1": norm(width), "n2": norm(width), "qkv": linear(width, 3 * width),
        "out": linear(width, width), "up": linear(width, 4 * width),
        "down": linear(4 * width, width),
    }  # fmt: skip


def gpt(size: Any, train: bool) -> Model:
    parameters = {
        "token": weight(size.vocabulary, size.width), "place": weight(size.length, size.width),
        "blocks": [block(size.width) for _ in range(size.layers)], "norm": norm(size.width),
    }  # fmt: skip

    def forward(p: Any, tokens: Any) -> Any:
        x = p["token"][tokens] + p["place"]
        for b in p["blocks"]:
            x = x + attention(b, layer_norm(b["n1"], x), size.heads, True)
            hidden = nn.gelu(apply(b["up"], layer_norm(b["n2"], x)), approximate=False)
            x = x + apply(b["down"], hidden)
        return layer_norm(p["norm"], x) @ p["token"].T

    return parameters, forward


def bert(size: Any, train: bool) -> Model:
    parameters = [block(size.width) for _ in range(size.layers)]

    def forward(p: Any, x: Any) -> Any:
        for b in p:
            x = layer_norm(b["n1"], x + attention(b, x, size.heads, False))
            hidden = nn.gelu(apply(b["up"], x), approximate=False)
            x = layer_norm(b["n2"], x + apply(b["down"], hidden))
        return x

    return parameters, forward


def lstm(size: Any, train: bool) -> Model:
    width = size.width
    cells = [{"x": linear(width, 4 * width), "h": linear(width, 4 * width)}
             for _ in range(size.layers)]  # fmt: skip
    parameters = {
        "token": weight(size.vocabulary, width), "cells": cells,
        "head": linear(width, size.vocabulary),
    }  # fmt: skip

    def layer(p: Any, xs: Any) -> Any:
        gates = apply(p["x"], xs)
        zero = jnp.zeros((xs.shape[1], width))

        def cell(carry: Any, gate: Any) -> Any:
            h, c = carry
            i, f, g, o = jnp.split(gate + apply(p["h"], h), 4, -1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        return lax.scan(cell, (zero, zero), gates)[1]

    def forward(p: Any, tokens: Any) -> Any:
        x = p["token"][tokens]
        for cell in p["cells"]:
            x = layer(cell, x)
        return apply(p["head"], x)

    return parameters, forward


def mlp(size: Any, train: bool) -> Model:
    parameters = [linear(a, b) for a, b in zip(size.widths, size.widths[1:])]

    def forward(p: Any, x: Any) -> Any:
        for layer in p[:-1]:
            x = nn.relu(apply(layer, x))
        return apply(p[-1], x)

    return parameters, forward


def conv(x: Any, w: Any, stride: int = 1, padding: int = 0) -> Any:
    return lax.conv_general_dilated(x, w, (stride, stride), [(padding, padding)] * 2)


def pool(x: Any, padding: int = 0) -> Any:
    edges = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 3, 3), (1, 1, 2, 2), edges)


def alexnet(size: Any, train: bool) -> Model:
    layers = [(64, 3, 11, 4, 2), (192, 64, 5, 1, 2), (384, 192, 3, 1, 1), (256, 384, 3, 1, 1),
              (256, 256, 3, 1, 1)]  # fmt: skip
    parameters = {
        "conv": [{"w": weight(o, i, k, k), "b": jnp.zeros(o)} for o, i, k, _, _ in layers],
        "linear": [linear(9216, 4096), linear(4096, 4096), linear(4096, 1000)],
    }

    def forward(p: Any, x: Any) -> Any:
        for i, (layer, (_, _, _, stride, padding)) in enumerate(zip(p["conv"], layers)):
            x = nn.relu(conv(x, layer["w"], stride, padding) + layer["b"][:, None, None])
            if i in (0, 1, 4):
                x = pool(x)
        x = x.reshape(x.shape[0], -1)
        first, second, last = p["linear"]
        return apply(last, nn.relu(apply(second, nn.relu(apply(first, x)))))

    return parameters, forward


def resnet50(size: Any, train: bool) -> Model:
    def unit(after: int, before: int, kernel: int) -> Any:
        return {"w": weight(after, before, kernel, kernel), **norm(after),
                "mean": jnp.zeros(after), "var": jnp.ones(after)}  # fmt: skip

    def batch_norm(p: Any, x: Any) -> Any:
        if train:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
        else:
            mean, var = p["mean"], p["var"]
        scale = p["g"] * lax.rsqrt(var + 1e-5)
        return x * scale[:, None, None] + (p["b"] - mean * scale)[:, None, None]

    blocks, strides, channels = [], [], 64
    for stage, count in enumerate((3, 4, 6, 3)):
        for i in range(count):
            width = 64 << stage
            stride = 2 if i == 0 and stage else 1
            made = {"1": unit(width, channels, 1), "2": unit(width, width, 3),
                    "3": unit(4 * width, width, 1)}  # fmt: skip
            if i == 0:
                made["s"] = unit(4 * width, channels, 1)
            blocks.append(made)
            strides.append(stride)
            channels = 4 * width
    parameters = {"stem": unit(64, 3, 7), "blocks": blocks, "head": linear(2048, 1000)}

    def forward(p: Any, x: Any) -> Any:
        x = pool(nn.relu(batch_norm(p["stem"], conv(x, p["stem"]["w"], 2, 3))), 1)
        for b, stride in zip(p["blocks"], strides):
            y = nn.relu(batch_norm(b["1"], conv(x, b["1"]["w"])))
            y = nn.relu(batch_norm(b["2"], conv(y, b["2"]["w"], stride, 1)))
            y = batch_norm(b["3"], conv(y, b["3"]["w"]))
            if "s" in b:
                x = batch_norm(b["s"], conv(x, b["s"]["w"], stride))
            x = nn.relu(x + y)
        return apply(p["head"], x.mean((2, 3)))

    return parameters, forward


BUILDERS: dict[str, Callable[[Any, bool], Model]] = {
    "gpt": gpt, "bert": bert, "lstm": lstm, "mlp": mlp, "alexnet": alexnet, "resnet50": resnet50,
}  # fmt: skip
