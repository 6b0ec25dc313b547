"""The same expression under NumPy and under `thalweg.numpy`, compared."""

import numpy
import pytest

import thalweg.numpy

# Names that expressions may use; arrays are made anew for every evaluation.
SETUP = """
a = np.arange(12.0).reshape(3, 4) - 4.5
b = np.array([[1.5, -2.0, 0.25, 3.0]])
f = np.array([0.1, 0.5, 0.9, 0.3], dtype=np.float32)
i = np.array([[3, -1, 4], [1, -5, 9]])
j = np.array([1, 0, 2, 1])
s = np.array([3, 250, 7], dtype=np.uint8)
t = np.array([True, False, True])
c = np.array([1 + 2j, -3.5j, 2.0])
h = np.array([0.5, -1.25], dtype=np.float16)
n = np.array([1.0, np.nan, -np.inf, 0.0])
v = np.arange(24).reshape(2, 3, 4)
e = np.zeros((0, 3))
z = np.array(2.5)
q = np.array([[4.0, 1.0], [1.0, 3.0]])
"""


def evaluate(np, code, result=None):
    """Run statements; the value of ``result``, or of ``code`` itself if that is None."""
    scope = {"np": np}
    exec(SETUP, scope)
    if result is None:
        return eval(code, scope)
    exec(code, scope)
    return eval(result, scope)


def plain(value):
    if isinstance(value, thalweg.numpy.ndarray):
        return numpy.asarray(value)
    if isinstance(value, (tuple, list)):
        return tuple(map(plain, value))
    return value


def compare(code, result=None, rtol=1e-13):
    """Equal values, shapes, dtypes, and both scalars or both arrays."""
    with numpy.errstate(all="ignore"):
        wanted = evaluate(numpy, code, result)
    made = evaluate(thalweg.numpy, code, result)
    _same(code, made, wanted, rtol)


def _same(code, made, wanted, rtol):
    if isinstance(wanted, (tuple, list)):
        assert isinstance(made, (tuple, list)) and len(made) == len(wanted), code
        for one, other in zip(made, wanted):
            _same(code, one, other, rtol)
    elif isinstance(wanted, (numpy.ndarray, numpy.generic)) and isinstance(
        made, thalweg.numpy.ndarray
    ):
        assert made._scalar == isinstance(wanted, numpy.generic), f"{code}: scalar or array"
        assert made.dtype == wanted.dtype, f"{code}: {made.dtype}, NumPy {wanted.dtype}"
        assert made.shape == wanted.shape, f"{code}: {made.shape}, NumPy {wanted.shape}"
        if wanted.dtype.kind in "fc":
            eps = 4e-3 if wanted.dtype.itemsize == 2 else 4e-6
            rtol = rtol if wanted.dtype.itemsize in (8, 16) and wanted.dtype != "c8" else eps
        numpy.testing.assert_allclose(
            plain(made), wanted, rtol=rtol, atol=rtol, err_msg=code, equal_nan=True
        )
    else:
        assert type(made) is type(wanted) or isinstance(wanted, numpy.generic), code
        assert made == wanted, code


def compare_error(code):
    """The same exception type (or a subclass of it)."""
    with pytest.raises(Exception) as wanted:
        evaluate(numpy, "result = " + code if "=" not in code else code, "None")
    kind = wanted.type
    while kind.__module__.startswith("numpy._core"):
        kind = kind.__bases__[0]
    with pytest.raises(kind):
        evaluate(thalweg.numpy, "result = " + code if "=" not in code else code, "None")
