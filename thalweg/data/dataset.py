"""Datasets: anything with `__getitem__` and `__len__`, or anything that can be iterated."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from thalweg.data import _tensors
from thalweg.data._tensors import Array
from thalweg.data.seeding import EpochKey, Stream, random_stream

T_co = TypeVar("T_co", covariant=True)

Gather = Callable[[Sequence[int]], "list[Array]"]


class Dataset(Generic[T_co]):
    """Samples reached by key. Subclasses define `__getitem__` and usually `__len__`.

    A subclass may also define `__getitems__(indices)`, which returns a whole batch of samples as a
    list and is preferred by `DataLoader` where it exists.
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__(index)")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset[Any]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co]):
    """Samples that come in their own order. Subclasses define `__iter__`.

    Each worker process iterates over its own copy: use `get_worker_info()` to give each its share.
    """

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__()")

    def __add__(self, other: Dataset[Any]) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset["tuple[Any, ...]"]):
    """Sample i is the tuple of the i-th entries of tensors with one common first dimension.

    Shapes: each tensor (N, ...); a sample holds tensors (...). Raises ValueError when the first
    dimensions differ.
    """

    def __init__(self, *tensors: Any) -> None:
        if any(len(tensor.shape) == 0 for tensor in tensors):
            raise ValueError("TensorDataset expects tensors of at least one dimension, given 0-d")
        lengths = [int(tensor.shape[0]) for tensor in tensors]
        if len(set(lengths)) > 1:
            raise ValueError(
                "Size mismatch between tensors: TensorDataset expects equal first dimensions, "
                f"given {lengths}"
            )
        self.tensors = tensors
        self._views: list[tuple[int, Array]] | None = None

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        if not isinstance(index, (int, np.integer)) or any(
            _needs_graph(tensor) for tensor in self.tensors
        ):
            return tuple(tensor[index] for tensor in self.tensors)
        # Sample by sample, an indexing operation would be recorded for every row of the data set;
        # rows of the array are the same numbers and need nothing executed, in workers least of all.
        return tuple(_tensors.wrap(np.array(array[index])) for array in self.arrays())

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0]) if self.tensors else 0

    def arrays(self) -> list[Array]:
        """The tensors' values as arrays, read again after an in-place change of a tensor."""
        versions = [int(getattr(tensor, "_version", 0)) for tensor in self.tensors]
        if self._views is None or [version for version, _ in self._views] != versions:
            values = [_tensors.unwrap(tensor) for tensor in self.tensors]
            self._views = list(zip(versions, values))
        return [array for _, array in self._views]

    def gather(self, indices: Sequence[int]) -> list[Array]:
        """The collated batch of `indices` in one NumPy indexing operation for each tensor."""
        rows = np.asarray(indices, dtype=np.intp)
        return [array[rows] for array in self.arrays()]

    def __getstate__(self) -> dict[str, Any]:
        # Arrays, not tensors: a worker that is started afresh must not need the engine.
        state = {key: value for key, value in vars(self).items() if key != "_views"}
        if any(_needs_graph(tensor) for tensor in self.tensors):
            return state
        return {**state, "tensors": self.arrays()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        tensors = state["tensors"]
        if isinstance(tensors, list):
            tensors = tuple(_tensors.wrap(array) for array in tensors)
        self.__dict__.update(state, tensors=tensors, _views=None)


class StackDataset(Dataset[Any]):
    """Sample i holds the i-th samples of several datasets, as a tuple or, by keyword, a dict."""

    datasets: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if bool(args) == bool(kwargs):
            raise ValueError(
                "StackDataset expects datasets either all by position or all by keyword, given "
                f"{len(args)} by position and {len(kwargs)} by keyword"
            )
        self.datasets = args if args else kwargs
        lengths = [len(dataset) for dataset in self.members()]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"Size mismatch between datasets: StackDataset expects equal lengths, given "
                f"{lengths}"
            )
        self._length = lengths[0]

    def members(self) -> list[Any]:
        """The stacked datasets in order."""
        return list(self.datasets.values() if isinstance(self.datasets, dict) else self.datasets)

    def _combine(self, parts: Iterable[Any]) -> Any:
        if isinstance(self.datasets, dict):
            return dict(zip(self.datasets, parts))
        return tuple(parts)

    def __getitem__(self, index: Any) -> Any:
        return self._combine(dataset[index] for dataset in self.members())

    def __getitems__(self, indices: list[int]) -> list[Any]:
        columns = [_fetch_many(dataset, indices) for dataset in self.members()]
        return [self._combine(row) for row in zip(*columns)]

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset[T_co]):
    """Datasets one after another. Raises ValueError for none, or for an index beyond the end."""

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets: list[Any] = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset expects at least one dataset, given none")
        for dataset in self.datasets:
            if isinstance(dataset, IterableDataset):
                raise ValueError(
                    "ConcatDataset expects datasets with indices, given the iterable "
                    f"{type(dataset).__name__}; use ChainDataset"
                )
        self.cumulative_sizes = list(itertools.accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples")
        place = index % len(self)
        which = bisect.bisect_right(self.cumulative_sizes, place)
        start = self.cumulative_sizes[which - 1] if which else 0
        return self.datasets[which][place - start]


class ChainDataset(IterableDataset[Any]):
    """Iterable datasets one after another."""

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets: list[Any] = list(datasets)

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                raise TypeError(
                    f"ChainDataset expects IterableDataset, given {type(dataset).__name__}"
                )
            yield from dataset

    def __len__(self) -> int:
        return sum(len(member) for member in self.datasets)


class Subset(Dataset[T_co]):
    """The samples of a dataset at given indices."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return _fetch_many(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


def random_split(
    dataset: Any, lengths: Sequence[int | float], generator: Any = None
) -> list[Subset[Any]]:
    """Disjoint random subsets of the given lengths, or of the given fractions that sum to 1.

    Fractions are rounded down and what is left over goes to the first subsets in turn. The split
    is a function of the generator's seed and offset, or of the default seed. Raises ValueError when
    lengths do not sum to the dataset's length or a fraction is outside [0, 1].
    """
    total = len(dataset)
    if math.isclose(math.fsum(lengths), 1.0):
        sizes = _sizes_from_fractions(lengths, total)
    else:
        sizes = [int(length) for length in lengths]
    if sum(sizes) != total:
        raise ValueError(
            "Sum of input lengths does not equal the length of the input dataset: expected "
            f"{total}, given {list(lengths)}"
        )
    order = random_stream(*EpochKey(generator).take(), Stream.SPLIT).permutation(total).tolist()
    ends = list(itertools.accumulate(sizes))
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends)]


def _sizes_from_fractions(fractions: Sequence[float], total: int) -> list[int]:
    for place, fraction in enumerate(fractions):
        if not 0 <= fraction <= 1:
            raise ValueError(f"Fraction at index {place} is not between 0 and 1: given {fraction}")
    sizes = [math.floor(total * fraction) for fraction in fractions]
    for extra in range(total - sum(sizes)):
        sizes[extra % len(sizes)] += 1
    for place, size in enumerate(sizes):
        if size == 0:
            warnings.warn(f"Length of split at index {place} is 0: it is an empty dataset.")
    return sizes


def settle(dataset: Any) -> None:
    """Read the values of tensors now, so that a process about to be forked need not."""
    if isinstance(dataset, TensorDataset):
        dataset.arrays()
    elif isinstance(dataset, Subset):
        settle(dataset.dataset)
    elif isinstance(dataset, (ConcatDataset, ChainDataset)):
        for member in dataset.datasets:
            settle(member)
    elif isinstance(dataset, StackDataset):
        for member in dataset.members():
            settle(member)


def array_gather(dataset: Any) -> Gather | None:
    """How to read a collated batch of arrays at once, where that equals sample by sample."""
    if type(dataset) is TensorDataset:
        if not dataset.tensors or any(_needs_graph(tensor) for tensor in dataset.tensors):
            return None
        return dataset.gather
    if type(dataset) is Subset:
        inner = array_gather(dataset.dataset)
        if inner is not None:
            table = dataset.indices
            return lambda indices: inner([table[i] for i in indices])
    return None


def _fetch_many(dataset: Any, indices: list[int]) -> list[Any]:
    many = getattr(dataset, "__getitems__", None)
    if not callable(many):
        return [dataset[i] for i in indices]
    samples: list[Any] = many(indices)
    if len(samples) != len(indices):
        raise ValueError(
            f"{type(dataset).__name__}.__getitems__ expected to return {len(indices)} samples, "
            f"gave {len(samples)}"
        )
    return samples


def _needs_graph(tensor: Any) -> bool:
    return bool(getattr(tensor, "requires_grad", False))
