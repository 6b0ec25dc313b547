"""A group of primitives that one kernel computes: what fusion makes, and lowering takes apart.

``body`` is the computation. The other attributes say how the kernel walks over it, so that no
later stage has to find that out again:

``kind``    "loops": a loop nest over ``domain``, ``body`` being pointwise ops, index maps and
            reductions; "anchor": a kernel template, whose op stands in the body once, with index
            maps before and pointwise ops after it; "many": independent loop nests, each a fused
            node of the body, in one kernel
``domain``  extents of the loop nest, in row-major order of the elements
``inner``   the dimensions of the domain that the body's reductions run over
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import float64
from ..core.errors import GraphError
from ..ir.graph import Graph
from ..ir.node import make_input
from ..ir.types import TensorType
from .contract import Array, Attrs, Declined, Primitive, Sample, Types, primitive
from .evaluate import run_graph
from .link import ops

Shape = tuple[int, ...]
KINDS = ("loops", "anchor", "many")


@primitive
class Fused(Primitive):
    """The results of ``body`` for the operands, computed by one kernel."""

    name = "fused"
    inputs = None
    outputs = 0
    differentiable = False
    index: ClassVar[Any] = Declined("whatever its body does")
    vjp: Any = Declined("made after differentiation")
    sbp: Any = Declined("made after partitioning, for one device")
    batch: Any = Declined("made after batching")
    lower: Any = Declined("taken apart by `lowering`, by the rules of the ops in its body")
    onnx = Declined("exported through its body")

    def infer(
        self, *operands: TensorType, body: Graph, kind: str, domain: Shape, inner: Shape
    ) -> Types:
        if kind not in KINDS:
            raise GraphError(f"fused: expected a kind among {', '.join(KINDS)}, got {kind!r}")
        if operands != body.input_types:
            raise GraphError(
                f"fused: expected operands ({', '.join(map(str, body.input_types))}), got "
                f"({', '.join(map(str, operands))})"
            )
        if list(inner) != sorted(set(inner)) or any(not 0 <= d < len(domain) for d in inner):
            raise GraphError(f"fused: expected sorted dimensions of {domain} as inner, got {inner}")
        return body.output_types

    def num_outputs(self, attrs: Attrs) -> int:
        return len(attrs["body"].outputs)

    def reference(
        self, *operands: Array, body: Graph, kind: str, domain: Shape, inner: Shape
    ) -> Any:
        return tuple(run_graph(body, operands))

    def samples(self) -> Iterator[Sample]:
        x, y = (make_input(TensorType((2, 3), float64)) for _ in range(2))
        total = ops.reduce_sum(x * y, dims=(1,))
        attrs: dict[str, Any] = {"body": Graph([x, y], [x * y, total]), "kind": "loops"}
        arrays = tuple(np.random.default_rng(3).normal(size=(2, 2, 3)))
        yield Sample(arrays, {**attrs, "domain": (2, 3), "inner": (1,)}, grad=False)
        bad: list[tuple[dict[str, Any], str]] = [
            ({"domain": (2, 3), "inner": (2,)}, "expected sorted dimensions"),
            ({"domain": (6,), "inner": (), "kind": "both"}, "expected a kind among"),
        ]
        for wrong, fragment in bad:
            yield Sample(arrays, {**attrs, **wrong}, error=(RuntimeError, fragment))
        yield Sample(
            arrays[:1], {**attrs, "domain": (2, 3), "inner": ()}, error=(RuntimeError, "operands")
        )


__all__ = ["KINDS", "Fused"]
