"""DataLoader: sampler, fetching and prefetching put together, resumable at every batch."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from thalweg.data import _tensors
from thalweg.data.collate import default_collate, default_convert
from thalweg.data.dataset import IterableDataset
from thalweg.data.fetch import FetchPlan
from thalweg.data.sampler import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    load_sampler_state,
    sampler_state,
)
from thalweg.data.seeding import Stream, mixed_seed

T_co = TypeVar("T_co", covariant=True)

_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


@dataclass
class _Progress:
    """How far one epoch has come, and what its order followed from."""

    epoch: int
    position: int
    sampler: dict[str, Any]
    seed: int
    finished: bool = False


class DataLoader(Generic[T_co]):
    """Batches of a dataset, in an order that can be repeated and resumed exactly.

    The order of an epoch is a function of the sampler's seed and the number of the epoch, the same
    for any `num_workers`. Without `generator` the seed is `initial_seed()` and epochs are counted
    by this loader, so keep one loader for all epochs: a new one begins at epoch 0 again.

    Worker processes are forked on Linux; `multiprocessing_context` chooses otherwise. Batches come
    back through shared memory. Without a `worker_init_fn`, Python's, NumPy's and this package's
    generators are seeded anew in the worker for every batch, so random augmentation too is the
    same for any number of workers. With `num_workers=0`, a given `prefetch_factor` makes a
    background thread keep that many batches ready.

    `pin_memory` and `pin_memory_device` are accepted and have no effect on the CPU. With
    `in_order=False` batches still come in order.

    Raises ValueError for contradictory or out-of-range arguments. An exception in a worker is
    raised here as its own type, with the worker's traceback and the index of the sample.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        iterable = isinstance(dataset, IterableDataset)
        _check_order(iterable, shuffle, sampler, batch_sampler, batch_size, drop_last)
        if batch_sampler is not None:
            batch_size = None
        elif sampler is None and not iterable:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else None
            sampler = SequentialSampler(dataset) if sampler is None else sampler
        if batch_sampler is None and batch_size is not None and sampler is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)

        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.generator = generator
        self.prefetch_factor = 2 if prefetch_factor is None and num_workers else prefetch_factor
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        batched = batch_size is not None or batch_sampler is not None
        self.collate_fn = collate_fn or (default_collate if batched else default_convert)
        self.multiprocessing_context = multiprocessing_context
        self._iterable = iterable
        self._plan = FetchPlan(dataset, self.collate_fn, batched, batch_size, drop_last)
        self._pool: Any = None
        self._current: weakref.ref[_EpochIterator] | None = None
        self._progress: _Progress | None = None
        self._loaded: _Progress | None = None
        self._epoch = 0
        self._seed: int | None = None
        self._ready = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and getattr(self, "_ready", False):
            raise ValueError(f"{name} attribute should not be set after DataLoader is initialized")
        object.__setattr__(self, name, value)

    def __len__(self) -> int:
        if not self._iterable:
            return len(self._keys_sampler())
        count = len(self.dataset)
        if self.batch_size is None:
            return count
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        previous = self._current() if self._current is not None else None
        if previous is not None and self.persistent_workers:
            previous.retire()
        progress = self._begin()
        iterator = _EpochIterator(self._source(progress), progress, not self.persistent_workers)
        self._current = weakref.ref(iterator)
        return iterator

    def state_dict(self) -> dict[str, Any]:
        """Where the latest iteration stands: plain numbers, for `load_state_dict`.

        The position counts batches handed out, not those prefetched. Between epochs it is the start
        of the next one.
        """
        at = self._loaded or self._progress
        if at is None or at.finished:
            at = _Progress(self._epoch, 0, self._sampler_state(), self._current_seed())
        return {
            "epoch": at.epoch,
            "position": at.position,
            "sampler": dict(at.sampler),
            "seed": at.seed,
            **self._layout(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next iteration continue where `state` was taken, batch for batch.

        The dataset, batch size and, for an iterable dataset, the number of workers must be the same
        as then: raises ValueError otherwise, KeyError for a state that is not a loader's.
        """
        for name, value in self._layout().items():
            if state[name] != value:
                raise ValueError(
                    f"cannot resume exactly: the state was saved with {name}={state[name]}, this "
                    f"DataLoader has {name}={value}"
                )
        loaded = _Progress(
            int(state["epoch"]), int(state["position"]), dict(state["sampler"]), int(state["seed"])
        )
        load_sampler_state(self._keys_sampler(), loaded.sampler)
        self._loaded = loaded
        self._epoch = loaded.epoch
        self._seed = loaded.seed

    def _layout(self) -> dict[str, Any]:
        sized = hasattr(type(self.dataset), "__len__") and not self._iterable
        return {
            "batch_size": self.batch_size,
            "samples": len(self.dataset) if sized else None,
            "num_workers": self.num_workers if self._iterable else None,
        }

    def _begin(self) -> _Progress:
        progress = _Progress(self._epoch, 0, self._sampler_state(), self._current_seed())
        if self._loaded is not None:
            progress.position = self._loaded.position
        self._loaded = None
        self._progress = progress
        self._epoch += 1
        return progress

    def _keys_sampler(self) -> Any:
        return self.batch_sampler if self.batch_sampler is not None else self.sampler

    def _sampler_state(self) -> dict[str, Any]:
        return sampler_state(self._keys_sampler())

    def _current_seed(self) -> int:
        if self._seed is not None:
            return self._seed
        if self.generator is not None:
            return int(self.generator.initial_seed())
        return _tensors.initial_seed()

    def _source(self, progress: _Progress) -> Any:
        from thalweg.data.sources import InlineSource, ThreadSource, WorkerSource

        keys = itertools.repeat(None) if self._iterable else iter(self._keys_sampler())
        timeout = self.timeout or None
        if self.num_workers:
            return WorkerSource(
                self._workers(),
                keys,
                self.num_workers,
                self.prefetch_factor or 1,
                mixed_seed(progress.seed, progress.epoch, Stream.WORKER),
                timeout,
                progress.position,
                self._iterable,
            )
        source = InlineSource(self._plan.fetcher(), keys, progress.position)
        if self.prefetch_factor:
            return ThreadSource(source, self.prefetch_factor, timeout)
        return source

    def _workers(self) -> Any:
        from thalweg.data.pool import WorkerPool, default_context

        if self._pool is not None and not self._pool.closed:
            return self._pool
        context = self.multiprocessing_context
        if context is None:
            context = default_context()
        elif isinstance(context, str):
            import multiprocessing

            context = multiprocessing.get_context(context)
        pool = WorkerPool(self._plan, self.num_workers, self.worker_init_fn, context)
        if self.persistent_workers:
            self._pool = pool
        return pool


class _EpochIterator:
    """The batches of one epoch; counts those it has handed out."""

    def __init__(self, source: Any, progress: _Progress, owner: bool) -> None:
        self._source = source
        self._progress = progress
        self._owner = owner

    def __iter__(self) -> _EpochIterator:
        return self

    def __next__(self) -> Any:
        if self._source is None:
            if self._progress.finished:
                raise StopIteration
            raise RuntimeError("this iterator ended when the DataLoader began another iteration")
        try:
            return next(self._source)
        except StopIteration:
            self._progress.finished = True
            if self._owner:
                self._source.close()
            self._source = None
            raise
        finally:
            if self._source is not None:
                self._progress.position = self._source.position

    def retire(self) -> None:
        """Leave shared workers to a newer iterator."""
        self._source = None


def _check_workers(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool
) -> None:
    if num_workers < 0:
        raise ValueError(
            f"num_workers option should be non-negative, given {num_workers}; use num_workers=0 to "
            "disable multiprocessing."
        )
    if timeout < 0:
        raise ValueError(f"timeout option should be non-negative, given {timeout}")
    if prefetch_factor is not None and prefetch_factor <= 0:
        raise ValueError(f"prefetch_factor option should be positive, given {prefetch_factor}")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_order(
    iterable: bool,
    shuffle: bool | None,
    sampler: Any,
    batch_sampler: Any,
    batch_size: int | None,
    drop_last: bool,
) -> None:
    if iterable:
        given = {"shuffle": shuffle, "sampler": sampler, "batch_sampler": batch_sampler}
        for name, value in given.items():
            if value is not None and value is not False:
                raise ValueError(
                    "DataLoader with IterableDataset: the dataset decides the order; expected "
                    f"unspecified {name} option, but got {name}={value}"
                )
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    others = batch_size != 1 or shuffle or sampler is not None or drop_last
    if batch_sampler is not None and others:
        raise ValueError(
            "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and "
            "drop_last"
        )
    if batch_sampler is None and batch_size is None and drop_last:
        raise ValueError(
            "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
        )
    if (
        batch_sampler is None
        and batch_size is not None
        and (not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0)
    ):
        raise ValueError(f"batch_size should be a positive integer value, got {batch_size!r}")
