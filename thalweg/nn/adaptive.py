"""Softmax over very many classes, of which few are frequent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import thalweg
from thalweg.nn.containers import ModuleList, Sequential
from thalweg.nn.linear import Linear
from thalweg.nn.module import Module
from thalweg.tensor import Tensor


class _ASMoutput(NamedTuple):
    """What `AdaptiveLogSoftmaxWithLoss` returns."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log probabilities of ``n_classes`` classes, sorted by frequency, in clusters that end at
    ``cutoffs`` (Grave et al. 2017). The head knows the most frequent ones and one class for each
    further cluster, whose own weights have ``div_value`` times fewer inputs than those before.

    Every cluster is computed for every row, so that no shape depends on the targets: much less
    than a full softmax all the same.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            cutoffs != sorted(set(cutoffs))
            or any(int(c) != c for c in cutoffs)
            or not 0 < cutoffs[0] <= cutoffs[-1] < n_classes
        ):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing "
                "order, where each value is between 1 and n_classes-1"
            )
        self.in_features, self.n_classes = in_features, n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size = cutoffs[0]
        self.n_clusters = len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, **made)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(zip(self.cutoffs, self.cutoffs[1:])):
            hidden = int(in_features // (div_value ** (i + 1)))
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, bias=False, **made),
                    Linear(hidden, high - low, bias=False, **made),
                )
            )

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.head.reset_parameters()
        for first, second in self.tail:  # type: ignore[misc]
            first.reset_parameters()
            second.reset_parameters()

    def forward(self, input: Tensor, target: Tensor) -> _ASMoutput:
        """The log probability of each target, (N,), and the mean of their negatives.

        Shapes: input (N, in_features) and target (N,), or (in_features,) and (). RuntimeError for
        others, IndexError for targets outside of 0 .. n_classes - 1.
        """
        if target.dim() > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if input.dim() != target.dim() + 1:
            raise RuntimeError(
                f"{target.dim()}D target tensor expects {target.dim() + 1}D input tensors, but "
                f"found inputs with sizes {tuple(input.shape)}."
            )
        if target.dim() == 1 and input.shape[0] != target.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        rows = input if target.dim() else input.unsqueeze(0)
        targets = target if target.dim() else target.unsqueeze(0)
        # Beyond the shortlist: the number of the cluster, which is one too many past the last.
        cluster = sum((targets >= c).long() for c in self.cutoffs[1:]) + self.shortlist_size
        in_head = thalweg.where(targets < self.shortlist_size, targets, cluster)
        output = self.head(rows).log_softmax(1).gather(1, in_head.unsqueeze(1)).squeeze(1)
        for part, low, high in zip(self.tail, self.cutoffs, self.cutoffs[1:]):
            within = (targets - low).clamp(0, high - low - 1).unsqueeze(1)
            found = part(rows).log_softmax(1).gather(1, within).squeeze(1)
            mine = (targets >= low) & (targets < high)
            output = output + thalweg.where(mine, found, thalweg.zeros_like(found))
        loss = (-output).mean()
        return _ASMoutput(output if target.dim() else output.squeeze(0), loss)

    def log_prob(self, input: Tensor) -> Tensor:
        """Log probabilities of all classes, (N, n_classes)."""
        head = self.head(input).log_softmax(1)
        parts = [head[:, : self.shortlist_size]]
        for i, part in enumerate(self.tail):
            at = self.shortlist_size + i
            parts.append(part(input).log_softmax(1) + head[:, at : at + 1])
        return thalweg.cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class of each row, (N,)."""
        return self.log_prob(input).argmax(1)  # type: ignore[no-any-return]


__all__ = ["AdaptiveLogSoftmaxWithLoss"]
