"""Several updates as one transition: how optimizers stay off the critical path."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from ..ir.graph import Graph
from ..ir.node import Value, make_input
from ..ir.types import TensorType
from ..passes.autodiff import requires_grad
from .alias import bind, kept_gradient, repoint
from .exclusive import exclusive
from .record import after_record
from .tensor import Tensor
from .trace import local, scalar_leaf, transition

Rule = Callable[..., Sequence[Value]]


@exclusive
def fused_update(
    name: str,
    rule: Rule,
    rows: Sequence[Sequence[Tensor]],
    writes: Sequence[int],
    scalars: Sequence[float] = (),
    static: Hashable = (),
) -> None:
    """Apply ``rule`` to every row of tensors and write its results back, in one transition.

    ``rule(static, scalars, *row)`` gets the row as values and the numbers as 0-d values, and
    returns the new values of the columns ``writes``. The numbers are arguments of the graph:
    changing them from call to call costs nothing. Leaves stay leaves; nothing is differentiated.
    """
    trace = local.trace
    numbers = [scalar_leaf(trace, float(s)) for s in scalars]
    slots = []
    for row in rows:
        for tensor in row:
            slots.append(tensor._slot if tensor._trace is trace else bind(trace, tensor))
    key = (name, static, tuple(numbers), len(rows), tuple(slots))
    before = trace.state

    def build() -> list[Value]:
        metas = before.path_metas()
        arguments = [metas[n].value for n in numbers]
        updated: list[Value] = []
        templates: dict[tuple[TensorType, ...], Graph] = {}
        for row in rows:
            values = [_constant(t._meta.value) for t in row]
            # Rows of equal types are updated alike: the rule runs once, the others repeat it.
            types = tuple([v.type for v in values])
            template = templates.get(types)
            if template is None:
                inputs = [make_input(t) for t in types]
                results = rule(static, arguments, *inputs)
                template = templates[types] = Graph([*arguments, *inputs], results)
            new = template.repeat([*arguments, *values])
            for column, value in zip(writes, new):
                meta = row[column]._meta
                updated.append(_as_before(meta, value))
        return updated

    state = transition(trace, key, name, build)
    if not state.overwritten:
        state.overwritten = tuple((row[c]._meta.value, None) for row in rows for c in writes)
    metas = iter(state.metas)
    for row in rows:
        for column in writes:
            repoint(trace, row[column], next(metas))
    after_record(trace)


def _constant(value: Value) -> Value:
    from ..ops.link import ops

    return ops.stop_gradient(value) if requires_grad(value) else value


def _as_before(meta: Any, value: Value) -> Value:
    return kept_gradient(meta, value, detached=True)
