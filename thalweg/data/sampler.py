"""Samplers: the order in which keys of a dataset are visited, resumable at any epoch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from thalweg.data import _tensors
from thalweg.data._tensors import Array
from thalweg.data.seeding import EpochKey, Stream, random_stream

T_co = TypeVar("T_co", covariant=True)

_CHUNK = 4096


class Sampler(Generic[T_co]):
    """Keys in some order. Subclasses define `__iter__` and usually `__len__`.

    A sampler whose order changes from epoch to epoch also defines `state_dict()` (the state before
    the next epoch) and `load_state_dict(state)`; `DataLoader` uses them to resume.
    """

    def __init__(self, data_source: Any = None) -> None:
        pass

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__()")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ... for every sample of `data_source`."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class _SeededSampler(Sampler[int]):
    """A sampler with one key an epoch; the order is computed when iteration is asked for."""

    def __init__(self, generator: Any) -> None:
        self.generator = generator
        self._key = EpochKey(generator)

    def _stream(self) -> np.random.Generator:
        return random_stream(*self._key.take(), Stream.ORDER)

    def state_dict(self) -> dict[str, int]:
        """Seed and step that the next epoch's order follows from."""
        return self._key.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Make the next epoch the one that `state` was taken before."""
        self._key.load_state_dict(state)


class RandomSampler(_SeededSampler):
    """A seeded random order: a permutation, or draws with replacement.

    Without a generator the order follows from (`initial_seed()`, number of epochs this sampler has
    begun); with one, from its seed and offset. `num_samples` beyond the dataset's length repeats
    whole permutations. Raises ValueError for a `num_samples` that is not positive, TypeError for a
    `replacement` that is not a bool.
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        super().__init__(generator)
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got {replacement!r}")
        if num_samples is not None and (not isinstance(num_samples, int) or num_samples <= 0):
            raise ValueError(f"num_samples should be a positive integer, but got {num_samples!r}")

    @property
    def num_samples(self) -> int:
        """How many keys one epoch has."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        return self._draw(self._stream(), len(self.data_source), self.num_samples)

    def _draw(self, stream: np.random.Generator, size: int, count: int) -> Iterator[int]:
        if count and not size:
            raise ValueError(f"{count} samples asked of an empty dataset")
        while count > 0:
            if self.replacement:
                keys = stream.integers(0, size, min(count, _CHUNK))
            else:
                keys = stream.permutation(size)[:count]
            count -= len(keys)
            yield from _numbers(keys)

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(_SeededSampler):
    """The given indices in a seeded random order."""

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        super().__init__(generator)
        self.indices = indices

    def __iter__(self) -> Iterator[int]:
        order = self._stream().permutation(len(self.indices))
        return (self.indices[place] for place in _numbers(order))

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(_SeededSampler):
    """Indices 0..len(weights)-1, drawn with probability proportional to their weight.

    Without replacement, draws are successive: P. Efraimidis, P. Spirakis, "Weighted random
    sampling with a reservoir", 2006 (the largest u^(1/w) win). Raises ValueError for bad arguments,
    RuntimeError when fewer weights are positive than samples are asked without replacement.
    """

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Any = None,
    ) -> None:
        super().__init__(generator)
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer, given {num_samples!r}")
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got {replacement!r}")
        values = _tensors.unwrap(weights) if _tensors.is_tensor(weights) else np.asarray(weights)
        if values.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence, given shape {values.shape}")
        self.weights: Array = values.astype(np.float64)
        self.num_samples = num_samples
        self.replacement = replacement
        if not np.isfinite(self.weights).all() or (self.weights < 0).any():
            raise RuntimeError("weights expected to be finite and not negative")
        positive = int((self.weights > 0).sum())
        if positive == 0 or (not replacement and positive < num_samples):
            raise RuntimeError(
                f"cannot draw {num_samples} samples {'with' if replacement else 'without'} "
                f"replacement: {positive} of {len(self.weights)} weights are positive"
            )

    def __iter__(self) -> Iterator[int]:
        stream = self._stream()
        if self.replacement:
            share = self.weights / self.weights.sum()
            return _numbers(stream.choice(len(share), self.num_samples, p=share))
        with np.errstate(divide="ignore"):
            waiting = stream.standard_exponential(len(self.weights)) / self.weights
        return _numbers(np.argsort(waiting, kind="stable")[: self.num_samples])

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler["list[int]"]):
    """Lists of `batch_size` keys from a sampler; the last may be shorter unless `drop_last`."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, got {batch_size!r}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got {drop_last!r}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        # The sampler is asked at once, not at the first batch: what it draws from a shared
        # generator must not depend on when a prefetching thread gets there.
        return self._batches(iter(self.sampler))

    def _batches(self, keys: Iterator[int]) -> Iterator[list[int]]:
        batch: list[int] = []
        for key in keys:
            batch.append(key)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def state_dict(self) -> dict[str, Any]:
        """The state of the sampler that keys come from, empty where it keeps none."""
        return sampler_state(self.sampler)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hand the state on to the sampler that keys come from."""
        load_sampler_state(self.sampler, state)


class DistributedSampler(Sampler[int]):
    """The share of one of `num_replicas` processes in a common, seeded order.

    Process `rank` takes entries rank, rank + num_replicas, ... of the order, which is padded from
    its own start (or cut, with `drop_last`) to divide evenly. The order follows from (seed, epoch):
    call `set_epoch` before each epoch. `num_replicas` and `rank` default to the environment
    variables WORLD_SIZE and RANK. Raises RuntimeError where neither is given, ValueError for a rank
    outside [0, num_replicas).
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.num_replicas = _from_environment("WORLD_SIZE", "num_replicas", num_replicas)
        self.rank = _from_environment("RANK", "rank", rank)
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(
                f"Invalid rank {self.rank}, rank should be in the interval "
                f"[0, {self.num_replicas - 1}]"
            )
        self.dataset = dataset
        self.epoch = 0
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last

    @property
    def num_samples(self) -> int:
        """How many keys each process gets."""
        size = len(self.dataset)
        if self.drop_last:
            return size // self.num_replicas
        return math.ceil(size / self.num_replicas)

    @property
    def total_size(self) -> int:
        """How many keys all processes get together."""
        return self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[int]:
        size = len(self.dataset)
        order = np.arange(size)
        if self.shuffle:
            order = random_stream(self.seed, self.epoch, Stream.ORDER).permutation(size)
        if size:
            order = np.resize(order, self.total_size)  # repeats from the start, or cuts
        return _numbers(order[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """Seed and epoch of the next iteration."""
        return {"seed": self.seed, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore seed and epoch."""
        self.seed, self.epoch = int(state["seed"]), int(state["epoch"])


def sampler_state(sampler: Any) -> dict[str, Any]:
    """A sampler's state before its next epoch; empty for one that has none to keep."""
    method = getattr(sampler, "state_dict", None)
    return dict(method()) if callable(method) else {}


def load_sampler_state(sampler: Any, state: dict[str, Any]) -> None:
    """Restore what `sampler_state` returned. Raises ValueError when the sampler cannot take it."""
    method = getattr(sampler, "load_state_dict", None)
    if callable(method):
        method(state)
    elif state:
        raise ValueError(
            f"the saved state belongs to a sampler with {sorted(state)}, but "
            f"{type(sampler).__name__} has no load_state_dict"
        )


def _numbers(keys: Array) -> Iterator[int]:
    # Python numbers a stretch at a time: a permutation stays eight bytes a key.
    for start in range(0, len(keys), _CHUNK):
        yield from keys[start : start + _CHUNK].tolist()


def _from_environment(variable: str, argument: str, given: int | None) -> int:
    if given is not None:
        return given
    if variable not in os.environ:
        raise RuntimeError(
            f"DistributedSampler expects {argument}, or the environment variable {variable} that "
            "a distributed launch sets; neither is given"
        )
    return int(os.environ[variable])
