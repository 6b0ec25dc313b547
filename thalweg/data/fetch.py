"""Fetching: from the keys of one batch to the collated batch, in whatever process that happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from thalweg.data import _tensors
from thalweg.data.collate import (
    Wrap,
    collate_with,
    convert_with,
    default_collate,
    default_convert,
)
from thalweg.data.dataset import IterableDataset, array_gather


class Exhausted(Exception):
    """The iterable dataset has no more samples."""


@dataclass(frozen=True)
class FetchPlan:
    """What a fetcher is built from; plain enough to be sent to a worker process."""

    dataset: Any
    collate_fn: Callable[[Any], Any]
    batched: bool
    batch_size: int | None
    drop_last: bool

    def fetcher(self, wrap: Wrap = _tensors.wrap) -> MapFetcher | IterableFetcher:
        """A fetcher whose default collation makes tensors with `wrap`."""
        if isinstance(self.dataset, IterableDataset):
            return IterableFetcher(self, wrap)
        return MapFetcher(self, wrap)

    def collate(self, wrap: Wrap) -> Callable[[Any], Any]:
        """The collate function; the two default ones make tensors with `wrap`."""
        if self.collate_fn is default_collate:
            return lambda batch: collate_with(wrap, batch)
        if self.collate_fn is default_convert:
            return lambda data: convert_with(wrap, data)
        return self.collate_fn


class MapFetcher:
    """Batches of a dataset with keys. An error is given the key it happened at as a note."""

    def __init__(self, plan: FetchPlan, wrap: Wrap) -> None:
        self._dataset = plan.dataset
        self._batched = plan.batched
        self._wrap = wrap
        self._collate = plan.collate(wrap)
        default = plan.batched and plan.collate_fn is default_collate
        self._gather = array_gather(plan.dataset) if default else None

    def __call__(self, keys: Any) -> Any:
        if self._gather is not None:
            arrays = _noting("fetching", keys, self._gather, keys)
            return [self._wrap(array) for array in arrays]
        return _noting("collating", keys, self._collate, self._samples(keys))

    def skip(self, keys: Any) -> None:
        """Keys hold no state: nothing has to be read to pass over a batch."""

    def _samples(self, keys: Any) -> Any:
        if not self._batched:
            return _noting("fetching", keys, self._dataset.__getitem__, keys)
        many = getattr(self._dataset, "__getitems__", None)
        if callable(many):
            return _noting("fetching", keys, many, keys)
        return [_noting("fetching", key, self._dataset.__getitem__, key) for key in keys]


class IterableFetcher:
    """Batches of a dataset that is iterated. Raises `Exhausted` at its end."""

    def __init__(self, plan: FetchPlan, wrap: Wrap) -> None:
        self._plan = plan
        self._collate = plan.collate(wrap)
        self._samples: Iterator[Any] = iter(plan.dataset)
        self._read = 0

    def __call__(self, keys: Any) -> Any:
        start = self._read
        batch = self._next_batch()
        try:
            return self._collate(batch)
        except Exception as error:
            error.add_note(f"while collating samples {start} to {self._read - 1} of the dataset")
            raise

    def skip(self, keys: Any) -> None:
        """Read one batch and forget it."""
        self._next_batch()

    def _next_batch(self) -> Any:
        try:
            if not self._plan.batched:
                sample = next(self._samples, _END)
                batch = [] if sample is _END else [sample]
            else:
                batch = list(islice(self._samples, self._plan.batch_size))
        except Exception as error:
            error.add_note(f"while fetching a sample at or after number {self._read}")
            raise
        self._read += len(batch)
        if not batch or (self._plan.drop_last and len(batch) < (self._plan.batch_size or 1)):
            raise Exhausted
        return batch if self._plan.batched else batch[0]


_END = object()


def _noting(doing: str, keys: Any, function: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return function(argument)
    except StopIteration as error:
        # Left alone it would look like the end of the epoch.
        raise RuntimeError(f"StopIteration while {doing} sample {_shortened(keys)}") from error
    except Exception as error:
        error.add_note(f"while {doing} sample {_shortened(keys)} of the dataset")
        raise


def _shortened(keys: Any) -> str:
    if isinstance(keys, list) and len(keys) > 8:
        return f"[{', '.join(map(str, keys[:8]))}, ... {len(keys)} in all]"
    return str(keys)
