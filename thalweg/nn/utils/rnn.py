"""Batches of sequences of different lengths: padded (with filler) or packed (without)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import thalweg
from thalweg.tensor import Tensor


class PackedSequence(NamedTuple):
    """Time steps laid end to end: step t has the rows of all sequences longer than t.

    ``data`` is (sum of lengths, *); ``batch_sizes`` counts the rows of each step. The longest
    sequence comes first: ``sorted_indices`` says where each one was before.
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same sequences with data moved or cast."""
        return self._replace(data=self.data.to(*args, **kwargs))

    def float(self) -> PackedSequence:
        """The same sequences in float32."""
        return self.to(thalweg.float32)

    def double(self) -> PackedSequence:
        """The same sequences in float64."""
        return self.to(thalweg.float64)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another."""
    return None if permutation is None else thalweg.argsort(permutation)


def pack_padded_sequence(
    input: Tensor,
    lengths: Tensor | Sequence[int],
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """Pack a padded batch (T, N, *) or (N, T, *).

    With ``enforce_sorted`` the lengths must not increase. ``RuntimeError`` for bad lengths.
    """
    sizes = [int(n) for n in (lengths.tolist() if isinstance(lengths, Tensor) else lengths)]
    steps = input.transpose(0, 1) if batch_first else input
    if len(sizes) != steps.shape[1]:
        raise RuntimeError(
            "Expected `len(lengths)` to be equal to batch_size, but got "
            f"{len(sizes)} (batch_size={steps.shape[1]})"
        )
    if min(sizes, default=0) <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that is <= 0"
        )
    if max(sizes) > steps.shape[0]:
        raise RuntimeError(
            f"Expected lengths of at most {steps.shape[0]} (the padded length), got {max(sizes)}"
        )
    sorted_indices = None
    if not enforce_sorted:
        order = sorted(range(len(sizes)), key=lambda position: -sizes[position])
        sorted_indices = thalweg.tensor(order, dtype=thalweg.int64, device=input.device)
        steps = steps.index_select(1, sorted_indices)
        sizes = [sizes[position] for position in order]
    elif any(before < after for before, after in pairwise(sizes)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. "
            "You can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to "
            "sidestep this requirement."
        )
    counts = [sum(size > step for size in sizes) for step in range(sizes[0])]
    data = thalweg.cat([steps[step, :count] for step, count in enumerate(counts)])
    return PackedSequence(
        data,
        thalweg.tensor(counts, dtype=thalweg.int64),
        sorted_indices,
        invert_permutation(sorted_indices),
    )


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The padded batch and the lengths; ``ValueError`` if ``total_length`` is too short."""
    counts = [int(count) for count in sequence.batch_sizes.tolist()]
    if total_length is not None and total_length < len(counts):
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, "
            f"but got total_length={total_length} and max sequence length being {len(counts)}"
        )
    batch, trailing = counts[0], tuple(sequence.data.shape[1:])
    steps = []
    for step in sequence.data.split(counts):
        missing = batch - step.shape[0]
        if missing:
            filler = _filler(sequence.data, (missing, *trailing), padding_value)
            step = thalweg.cat([step, filler])
        steps.append(step)
    for _ in range(len(counts), total_length or 0):
        steps.append(_filler(sequence.data, (batch, *trailing), padding_value))
    padded = thalweg.stack(steps, 1 if batch_first else 0)
    lengths = thalweg.tensor(
        [sum(count > row for count in counts) for row in range(batch)], dtype=thalweg.int64
    )
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(0 if batch_first else 1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices]
    return padded, lengths


def _filler(like: Tensor, shape: tuple[int, ...], value: float) -> Tensor:
    return thalweg.full(shape, value, dtype=like.dtype, device=like.device)


def pad_sequence(
    sequences: Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack tensors (L_i, *) into (T, N, *) or (N, T, *), filling up the shorter ones."""
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences)}"
        )
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            f"Expected padding_side to be one of left or right, but got {padding_side}."
        )
    rows = list(sequences)
    if not rows:
        raise RuntimeError("received an empty list of sequences")
    longest = max(row.shape[0] for row in rows)
    padded = []
    for row in rows:
        missing = longest - row.shape[0]
        if missing:
            filler = _filler(row, (missing, *row.shape[1:]), padding_value)
            row = thalweg.cat([filler, row] if padding_side == "left" else [row, filler])
        padded.append(row)
    return thalweg.stack(padded, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """The sequences of a padded batch, each with its own length."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    sizes = [int(size) for size in lengths.tolist()]
    return [rows[number, :size] for number, size in enumerate(sizes)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack tensors (L_i, *) of different lengths."""
    lengths = [sequence.shape[0] for sequence in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a packed batch, in their original order."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
