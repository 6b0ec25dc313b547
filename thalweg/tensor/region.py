"""Several updates as one transition: how optimizers stay off the critical path."""

from __future__ import annotations

import itertools
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
from .trace import State, local, scalar, transition

Rule = Callable[..., Sequence[Value]]

# Machine code that takes a transition seen before (see `codegen.hit_update`): whether it did.
quick: Callable[[list[Tensor], list[Tensor], Hashable], bool] | None = None


class Numbers:
    """The numbers of an update, as 0-d tensors: those that did not change are the same handles."""

    __slots__ = ("tensors", "values")

    def __init__(self) -> None:
        self.values: tuple[float, ...] = ()
        self.tensors: list[Tensor] = []

    def take(self, values: Sequence[float]) -> list[Tensor]:
        """Tensors for ``values``."""
        given = tuple(map(float, values))
        # Equal values with equal signs: 0.0 and -0.0 are not one number, and NaN is not itself.
        if len(given) != len(self.values):
            self.tensors = [scalar(v) for v in given]
        else:
            for i, (new, old) in enumerate(zip(given, self.values)):
                if new != old or not new:
                    self.tensors[i] = scalar(new)
        self.values = given
        return self.tensors


@exclusive
def fused_update(
    name: str,
    rule: Rule,
    rows: Sequence[Sequence[Tensor]],
    writes: Sequence[int],
    scalars: Sequence[float] = (),
    static: Hashable = (),
    numbers: Numbers | None = None,
) -> None:
    """Apply ``rule`` to every row of tensors and write its results back, in one transition.

    ``rule(static, scalars, *row)`` gets the row as values and the numbers as 0-d values, and
    returns the new values of the columns ``writes``. The numbers are arguments of the graph:
    changing them from call to call costs nothing, and nothing at all where they are kept in
    ``numbers``. Leaves stay leaves; nothing is differentiated.
    """
    trace = local.trace
    given = (numbers or Numbers()).take(scalars)
    operands = [*given, *itertools.chain.from_iterable(rows)]
    written = [row[column] for row in rows for column in writes]
    what = (name, static, len(given), len(rows))
    if quick is not None and quick(operands, written, what):
        after_record(trace)
        return
    slots = tuple([bind(trace, tensor) for tensor in operands])
    key = (what, slots)
    before = trace.state

    def build() -> list[Value]:
        metas = before.path_metas()
        arguments = [metas[n].value for n in slots[: len(given)]]
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

    def fill(state: State) -> None:
        state.overwritten = tuple((tensor._meta.value, None) for tensor in written)

    state = transition(trace, key, name, build, fill)
    for tensor, meta in zip(written, state.metas, strict=True):
        repoint(trace, tensor, meta)
    after_record(trace)


def _constant(value: Value) -> Value:
    from ..ops.link import ops

    return ops.stop_gradient(value) if requires_grad(value) else value


def _as_before(meta: Any, value: Value) -> Value:
    return kept_gradient(meta, value, detached=True)
