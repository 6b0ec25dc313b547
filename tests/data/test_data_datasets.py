"""Datasets and samplers: contents, orders, and the errors of wrong arguments."""

import numpy as np
import pytest

import thalweg
from thalweg.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)


class Count(IterableDataset):
    def __init__(self, start, end):
        self.start, self.end = start, end

    def __iter__(self):
        return iter(range(self.start, self.end))

    def __len__(self):
        return self.end - self.start


def generator(seed):
    made = thalweg.Generator()
    made.manual_seed(seed)
    return made


def test_tensor_dataset_gives_rows_of_each_tensor():
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    dataset = TensorDataset(thalweg.from_numpy(x), thalweg.from_numpy(np.arange(4)))
    row, label = dataset[2]
    assert len(dataset) == 4
    np.testing.assert_array_equal(row.numpy(), x[2])
    assert label.item() == 2 and len(label.shape) == 0
    np.testing.assert_array_equal(dataset[-1][0].numpy(), x[3])
    assert len(list(dataset)) == 4
    with pytest.raises(IndexError):
        dataset[4]


def test_tensor_dataset_rejects_unequal_lengths():
    with pytest.raises(ValueError, match=r"Size mismatch.*\[3, 4\]"):
        TensorDataset(thalweg.zeros(3), thalweg.zeros(4))


def test_concat_finds_the_dataset_of_each_index():
    joined = ConcatDataset([[0, 1], [], [2, 3, 4]]) + [5]
    assert [joined[i] for i in range(len(joined))] == [0, 1, 2, 3, 4, 5]
    assert joined[-1] == 5 and joined[-6] == 0
    with pytest.raises(IndexError, match="6 is out of range for 6"):
        joined[6]
    with pytest.raises(IndexError):
        joined[-7]
    with pytest.raises(ValueError, match="at least one"):
        ConcatDataset([])
    with pytest.raises(ValueError, match="ChainDataset"):
        ConcatDataset([Count(0, 2)])


def test_chain_follows_one_iterable_with_the_next():
    chain = Count(0, 2) + Count(5, 7)
    assert isinstance(chain, ChainDataset)
    assert list(chain) == [0, 1, 5, 6] and len(chain) == 4
    with pytest.raises(TypeError, match="given list"):
        list(ChainDataset([[1]]))


def test_stack_gives_tuples_or_dicts():
    assert StackDataset([1, 2], "ab")[1] == (2, "b")
    named = StackDataset(number=[1, 2], letter="ab")
    assert named[0] == {"number": 1, "letter": "a"}
    assert named.__getitems__([1, 0])[0] == {"number": 2, "letter": "b"}
    with pytest.raises(ValueError, match=r"Size mismatch.*\[2, 3\]"):
        StackDataset([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="position"):
        StackDataset([1], other=[2])


def test_abstract_methods_say_what_is_missing():
    with pytest.raises(NotImplementedError, match="Dataset does not define __getitem__"):
        Dataset()[0]
    with pytest.raises(NotImplementedError, match="Sampler does not define __iter__"):
        iter(Sampler())


def test_random_split_is_disjoint_complete_and_seeded():
    data = list(range(100, 110))
    parts = random_split(data, [3, 7], generator=generator(1))
    assert [len(part) for part in parts] == [3, 7]
    assert all(isinstance(part, Subset) for part in parts)
    assert sorted(x for part in parts for x in part) == data
    again = random_split(data, [3, 7], generator=generator(1))
    other = random_split(data, [3, 7], generator=generator(2))
    assert list(again[1]) == list(parts[1]) != list(other[1])


def test_random_split_fractions_hand_the_rest_to_the_first():
    parts = random_split(range(11), [0.5, 0.3, 0.2])
    assert [len(part) for part in parts] == [6, 3, 2]
    with pytest.raises(ValueError, match=r"expected 11, given \[5, 5\]"):
        random_split(range(11), [5, 5])
    with pytest.raises(ValueError, match="index 0 is not between 0 and 1"):
        random_split(range(11), [1.5, -0.5])
    with pytest.warns(UserWarning, match="index 1 is 0"):
        random_split(range(2), [0.95, 0.05])


def test_random_sampler_is_a_function_of_seed_and_epoch():
    thalweg.manual_seed(7)
    sampler = RandomSampler(range(50))
    epochs = [list(sampler) for _ in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    np.random.rand(10)  # other random numbers in between change nothing
    again = RandomSampler(range(50))
    assert [list(again) for _ in range(3)] == epochs
    thalweg.manual_seed(8)
    assert list(RandomSampler(range(50))) != epochs[0]


def test_random_sampler_advances_a_given_generator():
    shared = generator(3)
    first, second = list(RandomSampler(range(30), generator=shared)), None
    second = list(RandomSampler(range(30), generator=shared))
    assert first != second
    assert list(RandomSampler(range(30), generator=generator(3))) == first


def test_sampler_state_returns_to_any_epoch():
    for make in (lambda: None, lambda: generator(5)):
        sampler = RandomSampler(range(40), generator=make())
        list(sampler)
        state = sampler.state_dict()
        expected = list(sampler), list(sampler)
        other = RandomSampler(range(40), generator=make())
        other.load_state_dict(state)
        assert (list(other), list(other)) == expected


def test_random_sampler_num_samples_and_replacement():
    assert len(list(RandomSampler(range(5), num_samples=3))) == 3
    long = list(RandomSampler(range(5), num_samples=12))
    assert sorted(long[:5]) == sorted(long[5:10]) == [0, 1, 2, 3, 4] and len(long) == 12
    drawn = list(RandomSampler(range(5), replacement=True, num_samples=9000))
    counts = np.bincount(drawn, minlength=5)
    assert len(drawn) == 9000 and abs(counts - 1800).max() < 250
    with pytest.raises(ValueError, match="positive integer"):
        RandomSampler(range(5), num_samples=0)
    with pytest.raises(TypeError, match="boolean"):
        RandomSampler(range(5), replacement=1)
    with pytest.raises(ValueError, match="empty"):
        list(RandomSampler([], num_samples=2))
    assert list(RandomSampler([])) == []


def test_subset_random_sampler_permutes_its_indices():
    indices = [3, 1, 4, 15, 9]
    sampler = SubsetRandomSampler(indices, generator=generator(0))
    assert sorted(sampler) == sorted(indices) and len(sampler) == 5


def test_weighted_sampler_follows_its_weights():
    weights = [0.0, 1.0, 3.0]
    drawn = np.bincount(list(WeightedRandomSampler(weights, 8000)), minlength=3)
    assert drawn[0] == 0 and abs(drawn[2] / 8000 - 0.75) < 0.03
    assert sorted(WeightedRandomSampler([1.0, 0.0, 5.0, 2.0], 3, replacement=False)) == [0, 2, 3]
    first = [
        next(iter(WeightedRandomSampler([1.0, 3.0], 1, False, generator(i)))) for i in range(400)
    ]
    assert abs(np.mean(first) - 0.75) < 0.08
    assert len(list(WeightedRandomSampler(thalweg.from_numpy(np.ones(3)), 2))) == 2
    with pytest.raises(RuntimeError, match="1 of 2 weights are positive"):
        WeightedRandomSampler([0.0, 1.0], 2, replacement=False)
    with pytest.raises(RuntimeError, match="not negative"):
        WeightedRandomSampler([-1.0, 1.0], 1)
    with pytest.raises(ValueError, match="1d"):
        WeightedRandomSampler([[1.0]], 1)
    with pytest.raises(ValueError, match="positive integer"):
        WeightedRandomSampler([1.0], 0)


def test_batch_sampler_groups_keys():
    assert list(BatchSampler(SequentialSampler(range(5)), 2, False)) == [[0, 1], [2, 3], [4]]
    short = BatchSampler(SequentialSampler(range(5)), 2, True)
    assert list(short) == [[0, 1], [2, 3]] and len(short) == 2
    for bad in (0, True, 1.5):
        with pytest.raises(ValueError, match="batch_size"):
            BatchSampler(SequentialSampler(range(5)), bad, False)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size", [1, 10, 12])
def test_distributed_sampler_covers_the_dataset_evenly(size, drop_last):
    samplers = [DistributedSampler(range(size), 4, rank, drop_last=drop_last) for rank in range(4)]
    shares = [list(sampler) for sampler in samplers]
    expected = size // 4 if drop_last else -(-size // 4)
    assert [len(share) for share in shares] == [expected] * 4 == [len(s) for s in samplers]
    union = {key for share in shares for key in share}
    assert len(union) == (expected * 4 if drop_last else size)
    samplers[0].set_epoch(1)
    if size == 12:
        assert list(samplers[0]) != shares[0]
    samplers[0].set_epoch(0)
    assert list(samplers[0]) == shares[0]


def test_distributed_sampler_without_shuffle_interleaves():
    assert list(DistributedSampler(range(5), 2, 1, shuffle=False)) == [1, 3, 0]
    with pytest.raises(ValueError, match=r"Invalid rank 2.*\[0, 1\]"):
        DistributedSampler(range(5), 2, 2)


def test_distributed_sampler_asks_the_environment(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(RuntimeError, match="WORLD_SIZE"):
        DistributedSampler(range(5))
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "2")
    assert list(DistributedSampler(range(6), shuffle=False)) == [2, 5]
