"""Indexing, assignment, views and in-place operators of `thalweg.numpy` against NumPy."""

import copy
import pickle

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_pair import compare, compare_error, plain

import thalweg
import thalweg.numpy as np

READS = (
    "a[0]", "a[-1, 2]", "a[1:]", "a[:, ::2]", "a[::-1]", "a[:, ::-1]", "a[::-2, 3:0:-1]", "a[...]",
    "a[None]", "a[..., None]", "a[1, ...]", "v[..., 0]", "v[0, :, 1]", "a[[0, 2]]",
    "a[[0, 2], [1, 3]]",
    "a[:, [0, 0, 3]]", "a[t]", "a[t, 1]", "a[a > 0]", "v[0, :, [1, 2]]", "v[:, 0, [1, 2]]",
    "v[[0, 1], :, [1, 2]]", "v[0, [1, 2], ::-1]", "a[np.array([[0, 1], [2, 0]])]",
    "a[i % 3, j[:3]]",
    "a[j[0]]", "a[np.argmax(f) - 1]", "z[()]", "z[...]", "a[t][:, 1]", "a[True]", "a[False]",
    "a[5:]", "a[2:1]", "v[1][0][2]", "a[(0, 1)]", "a[[]]", "f[np.array([1], np.uint8)]",
    "a[[True, False, True]]", "a[np.int64(1)]", "v[:, :, None, 1:3]", "v[t[:2], 1:, ::-1]",
)  # fmt: skip


@pytest.mark.parametrize("code", READS)
def test_reading(code):
    compare(code)


WRITES = (
    "a[0] = 7", "a[:, 1] = [1, 2, 3]", "a[1:, ::2] = 0", "a[::-1] = np.arange(12).reshape(3, 4)",
    "a[:, ::-1] = f", "a[[0, 2]] = f", "a[t] = 1.5", "a[a > 0] = -1", "a[a < 0] *= 2",
    "a[[0, 1], [2, 3]] = [8, 9]", "a[0, 0] = i[0, 0]", "i[0] = 2.9", "a[...] = b",
    "a[:] = a.T.T + 1",
    "a[0] += 1", "a[:, 1] *= a[:, 2]", "a += b", "a -= 1", "a /= 3", "i *= 2", "i //= 2", "a **= 2",
    "f += a[0]", "a @= np.eye(4)", "t |= False", "a[1, 2] -= 5", "v[0, ..., ::2] = -1",
    "a.T[0] = 5", "a.reshape(-1)[3] = 9", "a.ravel()[::2] = 0", "w = a[1:]; w[0, 0] = 77",
    "w = a[1:][:, 2]; a[:] = 0", "w = a[0].copy(); a[0] = 0", "a.fill(3)", "a.sort()",
    "f.sort(axis=0)", "a.flat[3] = 1", "np.put(a, [0, -1], [5, 6])", "a.put([1, 2], 0)",
    "np.put_along_axis(a, j.reshape(1, 4) % 3, 9.0, axis=0)", "np.add(a, 1, out=a)",
    "np.multiply(a, b, out=a, where=a > 0)", "np.sum(a, axis=0, out=f.astype(np.float64))",
    "c.real = 5", "c.imag = [1, 2, 3]", "a.real = 0", "a.shape = (4, 3)",
    "a[:, 0], a[:, 1] = a[:, 1].copy(), 0",
    "total = np.sum(a); best = total; total += 1", "w = a[0, 0]; a[0, 0] = 100",
    "w = a; w += 1", "w = a.view(); w[0] = 0", "a[0, ...] = 3", "z[()] = 4", "z += 1", "z[...] = 9",
    "a[np.newaxis, 1] = 6", "v[0, :, [1, 2]] = 0", "a[1:2] = np.ones((1, 1, 4))",
)  # fmt: skip


@pytest.mark.parametrize("code", WRITES)
@pytest.mark.parametrize("seen", ["a", "f", "i", "c", "z", "v", "t", "locals().get('w')",
                                  "locals().get('best')"])  # fmt: skip
def test_writing(code, seen):
    compare(code, seen)


@pytest.mark.parametrize("code", [
    "a[0] = [1, 2]", "a[5] = 1", "a[[9]] = 1", "i += 0.5", "a += np.zeros((2, 3, 4))", "i /= 2",
    "np.sum(a)[()] = 3", "a[0][0][0] = 1", "s[0] = 300", "t -= t", "a[0, 0, 0] = 1",
    "a.shape = (5, 5)", "np.add(a, 1, out=i)", "a.imag = 3", "a[1j] = 0",
])  # fmt: skip
def test_bad_writes(code):
    compare_error(code)


slices = st.builds(
    slice, *[st.one_of(st.none(), st.integers(-5, 5))] * 2, st.sampled_from([None, 1, 2, -1, -2])
)
items = st.one_of(
    st.integers(-2, 1), slices, st.none(), st.lists(st.integers(-2, 1), min_size=2, max_size=2),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(items, min_size=1, max_size=4), st.booleans())
def test_random_indices(index, assign):
    if sum(i is not None for i in index) > 3:
        index = index[:3]
    index = tuple(index)
    real = numpy.arange(24.0).reshape(2, 3, 4)
    made = np.array(real)
    expected = real[index]
    result = made[index]
    numpy.testing.assert_array_equal(plain(result), expected)
    assert result._scalar == isinstance(expected, numpy.generic)
    if assign:
        # A position that occurs twice may keep either value, so all values are one.
        real[index] = 99.0
        made[index] = 99.0
        numpy.testing.assert_array_equal(plain(made), real)


def test_backward_slices_take_values_in_order():
    real, made = numpy.zeros((3, 4)), np.zeros((3, 4))
    values = numpy.arange(8.0).reshape(2, 4)
    real[::-2, ::-1], made[::-2, ::-1] = values, np.array(values)
    numpy.testing.assert_array_equal(plain(made), real)


def test_text_is_numpys():
    for code in ("np.arange(3.0)", "np.sum(np.arange(3.0))", "np.ones((2, 2), np.float32)",
                 "np.array(2)", "np.float32(1) * np.ones(2)[0]", "np.zeros((0, 2))"):  # fmt: skip
        ours, theirs = eval(code, {"np": np}), eval(code, {"np": numpy})
        assert (repr(ours), str(ours)) == (repr(theirs), str(theirs))
    assert f"{np.sum(np.ones(3)):.2f}" == "3.00"


def test_nothing_runs_until_a_value_is_read():
    ran = []
    from thalweg.tensor.inspect import watch

    with watch(ran.append):
        x = np.ones((2, 3))
        y = (x * 2 + x).sum(axis=1)[0]
        assert y.shape == () and y.dtype == numpy.float64 and not ran
        assert float(y) == 9.0
        assert len(ran) == 1


def test_numpys_own_functions_and_arrays_meet_ours():
    x = np.arange(3.0)
    assert isinstance(numpy.sin(x), np.ndarray)
    assert isinstance(numpy.ones(3) * x, np.ndarray) and isinstance(x * numpy.ones(3), np.ndarray)
    numpy.testing.assert_array_equal(numpy.concatenate([x, x]), [0, 1, 2, 0, 1, 2])
    assert numpy.add.reduce(x) == 3.0
    out = numpy.zeros(3)
    numpy.add(x, 1, out=out)
    assert out.tolist() == [1, 2, 3]
    shared = thalweg.tensor([1.0, 2.0])
    view = np.asarray(shared)
    shared[0] = 5.0
    assert view.tolist() == [5.0, 2.0]


def test_copies_and_pickles():
    x = np.arange(4.0)
    for other in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x)), x.copy()):
        other[0] = 9
        assert x.tolist() == [0, 1, 2, 3] and other.tolist() == [9, 1, 2, 3]
    assert hash(np.sum(x)) == hash(6.0) and {np.sum(x): 1}[6.0] == 1


def test_errors_name_the_users_line():
    with pytest.raises(ValueError, match=r"test_numpy_indexing\.py:\d+: np\.ones\(3\) \+"):
        np.ones(3) + np.ones(4)
    with pytest.raises(TypeError, match=r"<U1 are not available.*expected bool"):
        np.array(["a"])
