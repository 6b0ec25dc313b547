"""Small works in TensorFlow's words: Keras layers, ``tf.function`` with XLA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from . import SIZES, Run


def build(name: str) -> Run:
    made = {"mlp": mlp, "autograd-3x4": autograd}[name]()
    held: list[Any] = [None]

    def step() -> None:
        held[0] = made()

    return Run(step, lambda: [t.numpy() for t in tf.nest.flatten(held[0])])


def mlp() -> Callable[[], Any]:
    size: Any = SIZES["mlp"]
    rng = np.random.default_rng(0)
    layers = [tf.keras.layers.Dense(n, activation="relu") for n in size.widths[1:-1]]
    model = tf.keras.Sequential([*layers, tf.keras.layers.Dense(size.widths[-1])])
    inputs = tf.constant(rng.normal(size=(size.batch, size.widths[0])), tf.float32)
    targets = tf.constant(rng.integers(0, size.widths[-1], size.batch))
    model(inputs)
    optimizer = tf.keras.optimizers.AdamW(3e-4, weight_decay=0.01)
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=True)
    def train(inputs: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, model(inputs))
            loss = tf.reduce_mean(losses)
        grads = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(grads, model.trainable_variables))
        return loss

    return lambda: train(inputs, targets)


def autograd() -> Callable[[], Any]:
    rng = np.random.default_rng(0)
    x, y, z = (tf.constant(rng.normal(size=(3, 4)), tf.float32) for _ in range(3))

    @tf.function(jit_compile=True)
    def run(x: Any, y: Any, z: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch((x, y, z))
            c = tf.reduce_sum(x * y + z)
        return tape.gradient(c, (x, y, z))

    return lambda: run(x, y, z)
