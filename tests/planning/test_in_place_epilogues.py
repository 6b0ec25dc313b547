"""Products whose epilogue updates an operand in its own memory: as updates of weights do."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.core.dtypes import float32
from thalweg.ir.graph import Graph
from thalweg.ir.node import make_input
from thalweg.ir.types import TensorType
from thalweg.ops.link import ops
from thalweg.pipeline import optimise, run_graph
from thalweg.planning.native import build
from thalweg.runtime.buffer import Buffer
from thalweg.runtime.memory import allocate

RNG = np.random.default_rng(3)


def owned(array: np.ndarray) -> Buffer:
    memory = allocate(array.nbytes)
    buffer = Buffer()
    buffer.fill_memory(memory, memory.address, array.shape, array.dtype)
    buffer.get()[...] = array
    buffer._array = None
    return buffer


@pytest.mark.parametrize(
    ("m", "n", "k"),
    [
        (64, 64, 64), (37, 53, 29), (1, 40, 300), (300, 1, 17), (3, 500, 700), (130, 70, 600),
        (7, 9, 1), (512, 10, 64), (10, 512, 64), (2, 2, 3000), (90, 1, 2000), (33, 130, 257),
    ],
)  # fmt: skip
@pytest.mark.parametrize("spec", ["mk,kn->mn", "km,kn->mn", "mk,nk->mn"])
def test_momentum_and_weights(m: int, n: int, k: int, spec: str) -> None:
    left, right = spec.partition("->")[0].split(",")
    sizes = {"m": m, "n": n, "k": k}
    shapes = [tuple(sizes[c] for c in letters) for letters in (left, right)] + [(m, n)] * 2
    x, g, w, v = (make_input(TensorType(s, float32)) for s in shapes)

    def constant(value: float) -> object:
        return ops.full(shape=(m, n), value=value, dtype=float32)

    moved = v * constant(0.9) + ops.dot(x, g, spec=spec)
    program = build(optimise(Graph([x, g, w, v], [w - moved * constant(0.1), moved])), run_graph)
    arrays = [RNG.normal(size=s).astype(np.float32) for s in shapes]
    buffers = [owned(a) for a in arrays]
    homes = [buffers[2].address(), buffers[3].address()]
    outputs = [Buffer(), Buffer()]
    program.run(buffers, outputs)
    product = np.einsum(spec, arrays[0].astype(np.float64), arrays[1].astype(np.float64))
    wanted = arrays[3] * 0.9 + product
    assert sorted(b.address() for b in outputs) == sorted(homes)
    np.testing.assert_allclose(outputs[1].get(), wanted, 2e-4, 2e-4)
    np.testing.assert_allclose(outputs[0].get(), arrays[2] - 0.1 * wanted, 2e-4, 2e-4)
