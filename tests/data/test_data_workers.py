"""Worker processes: real batches, errors, deaths, interruptions, and nothing left behind."""

import gc
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time

import ml_dtypes
import numpy as np
import pytest

import thalweg
from thalweg.data.transport import Pending, discard, pack, unpack
from thalweg.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info

SHARED = "/dev/shm"
NAME = f"tw{os.getpid():08x}_0"
WIDE = 20_000  # elements; well beyond what goes through a pipe


def segments():
    """Names of the shared memory that loaders have made and not removed."""
    return {name for name in os.listdir(SHARED) if re.fullmatch(r"tw[0-9a-f]{8}_\d+", name)}


def remaining(names):
    """Those of the segments that do not go away; other processes may be loading data as well."""
    deadline = time.monotonic() + 20
    while (names := names & segments()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return names


@pytest.fixture(autouse=True)
def nothing_left_behind():
    before = segments()
    yield
    gc.collect()  # caught exceptions hold the frames that hold the loaders
    assert not multiprocessing.active_children()
    assert not remaining(segments() - before)


class Rows(Dataset):
    """Item i is a wide row of i; subclasses misbehave at item 5."""

    def __init__(self, size=16, width=WIDE):
        self.size, self.width = size, width

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index == 5:
            self.misbehave()
        return np.full(self.width, index, np.float32)

    def misbehave(self):
        pass


def firsts(batches):
    return [batch.numpy()[:, 0].tolist() for batch in batches]


EXPECTED = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11], [12, 13], [14, 15]]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_start_methods(method):
    loader = DataLoader(Rows(), 2, num_workers=2, multiprocessing_context=method)
    assert firsts(loader) == EXPECTED
    context = multiprocessing.get_context(method)
    assert firsts(DataLoader(Rows(), 2, num_workers=1, multiprocessing_context=context)) == EXPECTED


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_tensor_dataset(method):
    values = np.random.default_rng(0).random((16, WIDE)).astype(np.float32)
    dataset = TensorDataset(thalweg.from_numpy(values))
    loader = DataLoader(dataset, 4, num_workers=2, multiprocessing_context=method)
    np.testing.assert_array_equal(np.concatenate([batch.numpy() for (batch,) in loader]), values)


def test_order_is_kept_whatever_the_speed():
    class Uneven(Rows):
        def misbehave(self):
            time.sleep(0.2)

    assert firsts(DataLoader(Uneven(), 2, num_workers=4)) == EXPECTED


def test_samples_are_really_made_by_other_processes():
    class Process(Rows):
        def __getitem__(self, index):
            info = get_worker_info()
            return os.getpid(), info.id, info.num_workers, info.seed

    pids, ids, counts, seeds = (
        np.concatenate(parts) for parts in zip(*[
            [entry.numpy() for entry in batch]
            for batch in DataLoader(Process(), 2, num_workers=3)
        ])
    )  # fmt: skip
    assert set(ids) == {0, 1, 2} and set(counts) == {3}
    assert len(set(pids)) == 3 and os.getpid() not in pids
    assert len(set(seeds)) == 3 and max(seeds) - min(seeds) == 2
    assert get_worker_info() is None


def test_random_numbers_do_not_depend_on_the_workers():
    class Noisy(Rows):
        def __getitem__(self, index):
            return np.random.rand(), random.random()

    def draw(workers):
        loader = DataLoader(Noisy(), 2, num_workers=workers)
        return [[part.tolist() for part in batch] for batch in loader]

    thalweg.manual_seed(4)
    first = draw(1)
    assert draw(3) == first
    assert len({number for batch in first for part in batch for number in part}) == 32
    thalweg.manual_seed(5)
    assert draw(1) != first


def test_worker_init_fn_is_in_charge_of_its_process():
    def prepare(worker):
        np.random.seed(worker)

    class Noisy(Rows):
        def __getitem__(self, index):
            return np.random.rand()

    loader = DataLoader(Noisy(4), 1, num_workers=2, worker_init_fn=prepare)
    expected = [np.random.RandomState(0).rand(2), np.random.RandomState(1).rand(2)]
    assert [b.item() for b in loader] == np.transpose(expected).ravel().tolist()

    def fail(worker):
        raise OSError("no such disk")

    with pytest.raises(OSError, match="no such disk"):
        list(DataLoader(Rows(), num_workers=1, worker_init_fn=fail))


def test_batches_outlive_their_loader():
    batches = list(DataLoader(Rows(400), 2, num_workers=2))
    assert firsts(batches) == [[i, i + 1] for i in range(0, 400, 2)]
    assert len(os.listdir("/proc/self/fd")) < 200  # a mapping each, but not without bound
    assert all((batch.numpy() == batch.numpy()[:, :1]).all() for batch in batches)


def test_custom_batches_travel_with_their_arrays_shared():
    class Bag:
        def __init__(self, rows):
            self.tensor = thalweg.from_numpy(np.stack(rows))
            self.array = np.stack(rows)
            self.label = "bag"

    globals()["Bag"] = Bag  # found by name, as any pickled class
    Bag.__qualname__ = "Bag"
    for bag in DataLoader(Rows(4), 2, num_workers=1, collate_fn=Bag):
        assert isinstance(bag.tensor, thalweg.Tensor) and isinstance(bag.array, np.ndarray)
        np.testing.assert_array_equal(bag.tensor.numpy(), bag.array)
        bag.array += 1  # its own memory, and writable


def test_an_error_keeps_its_type_and_tells_where():
    class Broken(Rows):
        def misbehave(self):
            raise FileNotFoundError("image 5")

    iterator = iter(DataLoader(Broken(), 2, num_workers=2))
    assert firsts([next(iterator), next(iterator)]) == EXPECTED[:2]
    with pytest.raises(FileNotFoundError) as caught:
        next(iterator)
    text = str(caught.value)
    assert "Caught FileNotFoundError in DataLoader worker process 0" in text
    assert "in misbehave" in text and "image 5" in text
    assert "while fetching sample 5 of the dataset" in text
    assert firsts(iterator) == EXPECTED[3:]


def test_errors_that_cannot_travel():
    class Awkward(Exception):
        def __init__(self, one, two):
            super().__init__(one, two)

    class Broken(Rows):
        def misbehave(self):
            raise Awkward(1, 2)

    with pytest.raises(RuntimeError, match=r"Original Traceback[^$]*Awkward: \(1, 2\)"):
        list(DataLoader(Broken(), 2, num_workers=1))

    class Stops(Rows):
        def misbehave(self):
            raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration while fetching sample 5"):
        list(DataLoader(Stops(), 2, num_workers=1))
    with pytest.raises(Exception, match=r"[Pp]ickle"):
        list(DataLoader(Rows(2), 2, num_workers=1, collate_fn=lambda rows: lambda: rows))


def test_key_errors_are_readable():
    class Broken(Rows):
        def misbehave(self):
            raise KeyError("missing")

    with pytest.raises(KeyError) as caught:
        list(DataLoader(Broken(), 2, num_workers=1))
    assert "\n" in str(caught.value) and "\\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("way", "text"),
    [("SIGKILL", "killed by SIGKILL; the system may"), ("exit", "exit code 3")],
)
def test_a_dead_worker_is_an_error_not_a_wait(way, text):
    class Dies(Rows):
        def misbehave(self):
            if way == "exit":
                os._exit(3)
            os.kill(os.getpid(), signal.SIGKILL)

    loader = DataLoader(Dies(), 2, num_workers=2)
    iterator = iter(loader)
    next(iterator)
    with pytest.raises(RuntimeError, match=rf"worker \d \(pid \d+\) exited unexpectedly: {text}"):
        list(iterator)
    assert loader.state_dict()["position"] == 2
    with pytest.raises(RuntimeError, match="workers are gone"):
        next(iterator)


def test_persistent_workers_are_replaced_after_a_death(tmp_path):
    class DiesOnce(Rows):
        def misbehave(self):
            if not (tmp_path / "died").exists():
                (tmp_path / "died").touch()
                os._exit(1)

    loader = DataLoader(DiesOnce(), 2, num_workers=2, persistent_workers=True)
    with pytest.raises(RuntimeError, match="exit code 1"):
        list(loader)
    assert firsts(loader) == EXPECTED
    del loader


@pytest.mark.parametrize("workers", [0, 1])
def test_timeout(workers, tmp_path):
    class Slow(Rows):
        def misbehave(self):
            while not (tmp_path / "go").exists():
                time.sleep(0.01)

    loader = DataLoader(Slow(), 2, num_workers=workers, prefetch_factor=1, timeout=1.5)
    iterator = iter(loader)
    assert firsts([next(iterator), next(iterator)]) == EXPECTED[:2]
    with pytest.raises(RuntimeError, match=r"timed out after 1\.5 seconds"):
        next(iterator)
    assert loader.state_dict()["position"] == 2
    (tmp_path / "go").touch()
    assert firsts([next(iterator)]) == EXPECTED[2:3]  # late, not lost


def test_leaving_an_epoch_early_stops_its_workers():
    for batch in DataLoader(Rows(1000), 2, num_workers=2, prefetch_factor=4):
        assert batch.numpy().shape == (2, WIDE)
        break
    del batch
    assert not multiprocessing.active_children()


def test_persistent_workers_stay_and_forget_the_old_epoch():
    class Process(Rows):
        def __getitem__(self, index):
            return np.full(WIDE, os.getpid()) if index < 2 else super().__getitem__(index)

    loader = DataLoader(Process(), 2, num_workers=2, persistent_workers=True)
    old = iter(loader)
    pid = next(old).numpy()[0, 0]
    new = iter(loader)
    with pytest.raises(RuntimeError, match="began another iteration"):
        next(old)
    assert next(new).numpy()[0, 0] == pid
    assert firsts(new) == EXPECTED[1:]
    assert list(new) == []
    del loader, old, new


def test_iterable_dataset_in_shares():
    class Shares(IterableDataset):
        def __iter__(self):
            info = get_worker_info()
            return iter([info.id * 100 + i for i in range(3 + 4 * info.id)])

    batches = [batch.tolist() for batch in DataLoader(Shares(), 2, num_workers=2)]
    assert batches == [[0, 1], [100, 101], [2], [102, 103], [104, 105], [106]]


def test_many_keys_and_many_bytes_through_the_pipes():
    # Neither side may wait for the other to read while the other waits for it.
    loader = DataLoader(
        range(400_000),
        100_000,
        num_workers=1,
        prefetch_factor=4,
        collate_fn=lambda keys: [b"x" * 300_000, len(keys)],
    )
    assert [(len(text), count) for text, count in loader] == [(300_000, 100_000)] * 4


@pytest.mark.parametrize("width", [3, WIDE])
def test_transport_of_every_kind(width):
    arrays = {
        np.dtype(dtype).name: np.arange(width * 2).reshape(width, 2).astype(dtype)
        for dtype in (np.float32, np.float16, ml_dtypes.bfloat16, np.bool_, np.complex128, np.int8)
    }
    objects = np.array([None, "x"], dtype=object)
    batch = {
        "tensors": {name: Pending(array) for name, array in arrays.items()},
        "arrays": arrays,
        "odd": [np.zeros((0, 3)), np.array(5), objects, np.asfortranarray(np.eye(3)), "text", None],
    }
    parcel = pack(batch, NAME)
    assert (parcel.segment is None) == (width == 3)
    back = unpack(parcel)
    assert segments() & {NAME} == set()
    for name, array in arrays.items():
        for value in (back["tensors"][name].numpy(), back["arrays"][name]):
            assert value.dtype == array.dtype
            np.testing.assert_array_equal(value, array)
    assert isinstance(back["tensors"]["int8"], thalweg.Tensor)
    assert back["odd"][0].shape == (0, 3) and back["odd"][1] == 5 and back["odd"][2][1] == "x"
    np.testing.assert_array_equal(back["odd"][3], np.eye(3))


def test_discarding_removes_what_was_packed():
    pack(np.zeros(WIDE), NAME)
    assert NAME in segments()
    discard(NAME)
    discard(NAME)  # nothing there: nothing to do
    assert NAME not in segments()


SCRIPT = """
    import os, sys, time
    import numpy as np
    from thalweg.utils.data import DataLoader

    class Rows:
        def __len__(self):
            return 100_000

        def __getitem__(self, index):
            return np.zeros(20_000)

    for batch in DataLoader(Rows(), 2, num_workers=2, prefetch_factor=4, persistent_workers={keep}):
        with open("/proc/self/task/%d/children" % os.getpid()) as file:
            print(file.read(), flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    "how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name
)
def test_nothing_survives_the_end_of_the_parent(how, keep):
    script = textwrap.dedent(SCRIPT.format(keep=keep))
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) >= 2
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)  # as a terminal does: to all of them
    else:
        parent.send_signal(how)
    _, messages = parent.communicate(timeout=30)
    assert parent.returncode != 0
    if how == signal.SIGINT:
        assert messages.count("KeyboardInterrupt") == 1 and "thalweg-data" not in messages
    deadline = time.monotonic() + 20
    while any(map(_lives, children)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(_lives, children))


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
