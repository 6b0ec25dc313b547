"""DataLoader in the main process: arguments, batches, orders, and resuming from any batch."""

import itertools
import json
import random
import threading
import time

import numpy as np
import pytest
import torch.utils.data

import thalweg
from thalweg.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
    random_split,
)

SIZE = 23


class Squares(Dataset):
    """Item i is an array made of i, and random numbers if asked."""

    def __init__(self, size=SIZE, noisy=False):
        self.size, self.noisy = size, noisy

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if self.noisy:
            return index, np.random.rand(), random.random()
        return {"x": np.full((2, 2), index * index, np.float32), "i": index}


class Stream(IterableDataset):
    """The numbers of a range, each worker having every num_workers-th."""

    def __init__(self, size=SIZE):
        self.size = size

    def __iter__(self):
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, self.size, step))


def flat(batches):
    """Nested lists of numbers, comparable with ==."""
    if isinstance(batches, dict):
        return {key: flat(value) for key, value in batches.items()}
    if isinstance(batches, (list, tuple)):
        return [flat(batch) for batch in batches]
    return batches.tolist() if hasattr(batches, "tolist") else batches


def everything(loader):
    return flat(list(loader))


# How batches are made must not show in them.
WAYS = [{}, {"prefetch_factor": 2}, {"num_workers": 1}, {"num_workers": 3, "prefetch_factor": 1}]
WAYS += [{"num_workers": 2, "persistent_workers": True}]


def tensors():
    return TensorDataset(
        thalweg.from_numpy(np.arange(SIZE)), thalweg.from_numpy(np.eye(SIZE, dtype=np.float32))
    )


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 5, SIZE, 100])
def test_batches_equal_pytorch_s(batch_size, drop_last):
    ours = DataLoader(Squares(), batch_size, drop_last=drop_last)
    theirs = torch.utils.data.DataLoader(Squares(), batch_size, drop_last=drop_last)
    assert everything(ours) == everything(theirs)
    assert len(ours) == len(theirs) == len(everything(ours))


def test_batch_types():
    batch = next(iter(DataLoader(Squares(), 4)))
    assert isinstance(batch["x"], thalweg.Tensor) and tuple(batch["x"].shape) == (4, 2, 2)
    x, eye = next(iter(DataLoader(tensors(), 4)))
    assert tuple(x.shape) == (4,) and tuple(eye.shape) == (4, SIZE)


def test_tensor_dataset_in_one_piece_equals_sample_by_sample():
    plain = [tensors()[i] for i in range(SIZE)]
    subset = random_split(tensors(), [SIZE])[0]
    assert everything(DataLoader(tensors(), 4)) == everything(DataLoader(plain, 4))
    by_sample = [subset[i] for i in range(SIZE)]
    assert everything(DataLoader(subset, 4)) == everything(DataLoader(by_sample, 4))


def test_without_batching():
    loader = DataLoader(Squares(3), batch_size=None)
    assert [sample["i"] for sample in loader] == [0, 1, 2] and len(loader) == 3
    assert isinstance(next(iter(loader))["x"], thalweg.Tensor)
    assert list(DataLoader(Stream(3), batch_size=None)) == [0, 1, 2]


def test_custom_pieces():
    keys = [[3, 1], [2]]
    loader = DataLoader(
        Squares(), batch_sampler=keys, collate_fn=lambda rows: [r["i"] for r in rows]
    )
    assert list(loader) == keys and len(loader) == 2
    assert everything(DataLoader(list("abc"), sampler=[2, 0], batch_size=2)) == [["c", "a"]]
    numbers = DataLoader(range(4), 2, collate_fn=np.array)
    assert all(isinstance(batch, np.ndarray) for batch in numbers)
    with pytest.raises(TypeError):
        len(DataLoader(Stream()))


def test_getitems_is_preferred():
    class Many(Squares):
        def __getitems__(self, keys):
            return [key + 100 for key in keys]

    assert everything(DataLoader(Many(4), 2)) == [[100, 101], [102, 103]]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"num_workers": -1}, "num_workers.*given -1"),
        ({"timeout": -1}, "timeout.*given -1"),
        ({"prefetch_factor": 0}, "prefetch_factor.*given 0"),
        ({"persistent_workers": True}, "persistent_workers"),
        ({"batch_size": 0}, "batch_size.*got 0"),
        ({"batch_size": None, "drop_last": True}, "batch_size=None"),
        ({"shuffle": True, "sampler": [1]}, "mutually exclusive with shuffle"),
        ({"batch_sampler": [[1]], "shuffle": True}, "batch_sampler option"),
        ({"batch_sampler": [[1]], "batch_size": 2}, "batch_sampler option"),
    ],
)
def test_bad_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        DataLoader(Squares(), **arguments)


def test_iterable_datasets_take_no_order():
    for name, value in {"shuffle": True, "sampler": [1], "batch_sampler": [[1]]}.items():
        with pytest.raises(ValueError, match=f"unspecified {name}"):
            DataLoader(Stream(), **{name: value})
    assert everything(DataLoader(Stream(5), 2, shuffle=False)) == [[0, 1], [2, 3], [4]]
    assert everything(DataLoader(Stream(5), 2, drop_last=True)) == [[0, 1], [2, 3]]


def test_fixed_attributes():
    loader = DataLoader(Squares())
    for name in ("batch_size", "dataset", "sampler"):
        with pytest.raises(ValueError, match=f"{name} attribute should not be set"):
            setattr(loader, name, None)


def test_errors_name_the_sample():
    class Broken(Squares):
        def __getitem__(self, index):
            if index == 7:
                raise ZeroDivisionError("here")
            return index

    for way in ({}, {"prefetch_factor": 2}):
        loader = DataLoader(Broken(12), 3, **way)
        iterator = iter(loader)
        assert flat([next(iterator), next(iterator)]) == [[0, 1, 2], [3, 4, 5]]
        with pytest.raises(ZeroDivisionError, match="here") as caught:
            next(iterator)
        assert caught.value.__notes__ == ["while fetching sample 7 of the dataset"]
        assert loader.state_dict()["position"] == 3
        assert everything(iterator) == [[9, 10, 11]]


def test_stop_iteration_in_a_dataset_does_not_end_the_epoch_quietly():
    class Stops(Squares):
        def __getitem__(self, index):
            return next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration while fetching sample 0"):
        list(DataLoader(Stops()))


def test_interrupted_batch_is_not_lost():
    class Interrupted(Squares):
        calls = 0

        def __getitem__(self, index):
            self.calls += 1
            if self.calls == 4:
                raise KeyboardInterrupt
            return index

    loader = DataLoader(Interrupted(6), 2)
    iterator = iter(loader)
    next(iterator)
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    assert loader.state_dict()["position"] == 1
    assert everything(iterator) == [[2, 3], [4, 5]]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_order_depends_on_seed_and_epoch_only(way):
    thalweg.manual_seed(11)
    reference = DataLoader(Squares(), 4, shuffle=True)
    expected = [everything(reference), everything(reference)]
    loader = DataLoader(Squares(), 4, shuffle=True, **way)
    assert [everything(loader), everything(loader)] == expected
    assert expected[0] != expected[1]
    seen = sorted(i for batch in expected[0] for i in batch["i"])
    assert seen == list(range(SIZE))


def test_thread_runs_ahead_and_stops():
    made = []

    class Watched(Squares):
        def __getitem__(self, index):
            made.append(index)
            return index

    iterator = iter(DataLoader(Watched(100), 1, prefetch_factor=3))
    next(iterator)
    deadline = time.monotonic() + 10
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(made) == 5  # one handed out, three ready, one waiting for room
    del iterator
    assert not any(thread.name == "thalweg-data" for thread in threading.enumerate())


def samplers(seed):
    made = thalweg.Generator()
    made.manual_seed(seed)
    weights = np.arange(1.0, SIZE + 1)
    yield {"shuffle": True, "batch_size": 4}
    yield {"shuffle": True, "batch_size": 4, "generator": made}
    yield {"sampler": SubsetRandomSampler(range(SIZE), made), "batch_size": 4}
    yield {"sampler": WeightedRandomSampler(weights, SIZE, generator=made), "batch_size": 4}
    yield {"sampler": DistributedSampler(range(SIZE), 2, 1, seed=seed), "batch_size": 2}
    yield {"batch_sampler": BatchSampler(SequentialSampler(range(SIZE)), 4, False)}


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("kind", range(6))
def test_resume_continues_with_the_same_batches(kind, way):
    def make(seed):
        thalweg.manual_seed(seed)
        arguments = next(itertools.islice(samplers(seed), kind, None))
        return DataLoader(Squares(noisy=bool(way.get("num_workers"))), **arguments, **way)

    loader = make(5)
    everything(loader)
    iterator = iter(loader)
    first = [next(iterator), next(iterator)]
    state = json.loads(json.dumps(loader.state_dict()))
    assert state["epoch"] == 1 and state["position"] == len(first)
    expected = everything(iterator), everything(loader)

    resumed = make(99)  # another seed: all that matters is in the state
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert (everything(resumed), everything(resumed)) == expected


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_resume_of_an_iterable_dataset(way):
    loader = DataLoader(Stream(), 2, **way)
    whole = everything(loader)
    for position in range(len(whole) + 1):
        loader = DataLoader(Stream(), 2, **way)
        iterator = iter(loader)
        assert flat([next(iterator) for _ in range(position)]) == whole[:position]
        resumed = DataLoader(Stream(), 2, **way)
        resumed.load_state_dict(loader.state_dict())
        assert everything(resumed) == whole[position:]
        del iterator


def test_state_between_epochs_and_at_their_end():
    thalweg.manual_seed(0)
    loader = DataLoader(Squares(4), 2, shuffle=True)
    assert loader.state_dict()["epoch"] == 0
    iterator = iter(loader)
    list(itertools.islice(iterator, 2))
    assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (0, 2)
    resumed = DataLoader(Squares(4), 2, shuffle=True)
    resumed.load_state_dict(loader.state_dict())
    assert list(resumed) == []  # the rest of the epoch, of which there is none
    assert list(iterator) == []
    assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (1, 0)
    assert everything(resumed) == everything(loader)


def test_resume_refuses_another_layout(tmp_path):
    loader = DataLoader(Squares(), 4)
    thalweg.save(loader.state_dict(), tmp_path / "state")
    state = thalweg.load(tmp_path / "state")
    assert state == loader.state_dict()
    with pytest.raises(ValueError, match=r"saved with batch_size=4.*has batch_size=5"):
        DataLoader(Squares(), 5).load_state_dict(state)
    with pytest.raises(ValueError, match="samples=23"):
        DataLoader(Squares(9), 4).load_state_dict(state)
    with pytest.raises(KeyError):
        loader.load_state_dict({})
    shuffled = DataLoader(Squares(), 4, shuffle=True).state_dict()
    with pytest.raises(ValueError, match="SequentialSampler has no load_state_dict"):
        loader.load_state_dict(shuffled)
