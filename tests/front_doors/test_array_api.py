"""The array API standard 2023.12: every name is there and behaves."""

import numpy
import pytest

import thalweg.numpy as np
from thalweg.numpy import array_api

STANDARD = (
    "e", "inf", "nan", "newaxis", "pi", "bool", "int8", "int16", "int32", "int64", "uint8",
    "uint16", "uint32", "uint64", "float32", "float64", "complex64", "complex128", "arange",
    "asarray", "empty", "empty_like", "eye", "from_dlpack", "full", "full_like", "linspace",
    "meshgrid", "ones", "ones_like", "tril", "triu", "zeros", "zeros_like", "astype", "can_cast",
    "finfo", "iinfo", "isdtype", "result_type", "abs", "acos", "acosh", "add", "asin", "asinh",
    "atan", "atan2", "atanh", "bitwise_and", "bitwise_left_shift", "bitwise_invert", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "ceil", "clip", "conj", "copysign", "cos", "cosh",
    "divide", "equal", "exp", "expm1", "floor", "floor_divide", "greater", "greater_equal",
    "hypot", "imag", "isfinite", "isinf", "isnan", "less", "less_equal", "log", "log1p", "log2",
    "log10", "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum",
    "minimum", "multiply", "negative", "not_equal", "positive", "pow", "real", "remainder",
    "round", "sign", "signbit", "sin", "sinh", "square", "sqrt", "subtract", "tan", "tanh",
    "trunc", "take", "__array_namespace_info__", "__array_api_version__", "matmul",
    "matrix_transpose", "tensordot", "vecdot", "broadcast_arrays", "broadcast_to", "concat",
    "expand_dims", "flip", "moveaxis", "permute_dims", "repeat", "reshape", "roll", "squeeze",
    "stack", "tile", "unstack", "argmax", "argmin", "nonzero", "searchsorted", "where",
    "unique_all", "unique_counts", "unique_inverse", "unique_values", "argsort", "sort",
    "cumulative_sum", "max", "mean", "min", "prod", "std", "sum", "var", "all", "any",
)  # fmt: skip
LINALG = (
    "cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm",
    "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve",
    "svd", "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
)  # fmt: skip
ATTRIBUTES = (
    "dtype", "device", "mT", "ndim", "shape", "size", "T", "__array_namespace__", "__dlpack__",
    "__dlpack_device__", "to_device",
)  # fmt: skip
DUNDERS = (
    "abs", "add", "and", "bool", "complex", "eq", "float", "floordiv", "ge", "getitem", "gt",
    "index", "int", "invert", "le", "lshift", "lt", "matmul", "mod", "mul", "ne", "neg", "or",
    "pos", "pow", "rshift", "setitem", "sub", "truediv", "xor", "iadd", "isub", "imul", "itruediv",
    "ifloordiv", "ipow", "imod", "imatmul", "iand", "ior", "ixor", "ilshift", "irshift", "radd",
    "rsub", "rmul", "rtruediv", "rfloordiv", "rpow", "rmod", "rmatmul", "rand", "ror", "rxor",
    "rlshift", "rrshift",
)  # fmt: skip


@pytest.mark.parametrize("name", STANDARD)
def test_namespace_is_complete(name):
    assert hasattr(array_api, name)


def test_the_extension_that_is_missing_is_declared():
    assert "``fft`` is not" in array_api.__doc__
    with pytest.raises(AttributeError):
        array_api.fft  # noqa: B018


def test_all_is_what_the_standard_names():
    assert set(array_api.__all__) == set(STANDARD) | {"linalg"}


@pytest.mark.parametrize("name", LINALG)
def test_linalg_extension(name):
    assert callable(getattr(array_api.linalg, name))


def test_array_object():
    x = np.ones((2, 2))
    for name in ATTRIBUTES:
        assert hasattr(x, name)
    for name in DUNDERS:
        assert callable(getattr(x, f"__{name}__"))
    assert x.__array_namespace__() is array_api
    assert x.__array_namespace__(api_version="2023.12") is array_api
    with pytest.raises(ValueError, match="API version: expected at most"):
        x.__array_namespace__(api_version="2099.01")
    assert x.to_device("cpu") is x and x.device == "cpu"
    numpy.testing.assert_array_equal(numpy.from_dlpack(x), numpy.ones((2, 2)))


SAMPLES = (
    "xp.asarray([1, 2, 3], dtype=xp.float32)", "xp.astype(xp.asarray([1.5]), xp.int64)",
    "xp.concat([xp.ones(2), xp.zeros(1)])",
    "xp.permute_dims(xp.reshape(xp.arange(6), (2, 3)), (1, 0))",
    "xp.matrix_transpose(xp.ones((2, 3)))", "xp.vecdot(xp.arange(3.0), xp.arange(3.0))",
    "xp.cumulative_sum(xp.arange(4), include_initial=True)", "xp.pow(xp.arange(3.0), 2.0)",
    "xp.atan2(xp.asarray([1.0]), xp.asarray([2.0]))", "xp.bitwise_invert(xp.arange(3))",
    "xp.std(xp.arange(4.0), correction=1)", "xp.sort(xp.asarray([3, 1, 2]))",
    "xp.unique_values(xp.asarray([2, 1, 2]))",
    "xp.take(xp.arange(5), xp.asarray([0, 2]), axis=0)", "xp.unstack(xp.ones((2, 2)))[0]",
    "xp.tile(xp.arange(2), (2, 2))", "xp.clip(xp.arange(5.0), 1.0, 3.0)", "xp.eye(2, 3, k=1)",
    "xp.linspace(0, 1, 3)", "xp.sum(xp.ones((2, 2), dtype=xp.float32), axis=0)",
    "xp.round(xp.asarray([0.5, 1.5]))", "xp.hypot(xp.asarray([3.0]), xp.asarray([4.0]))",
    "xp.broadcast_to(xp.arange(2), (3, 2))", "xp.logical_not(xp.asarray([True, False]))",
    "xp.var(xp.arange(4.0))", "xp.expand_dims(xp.ones(2), axis=0)",
    "xp.squeeze(xp.ones((1, 2)), axis=0)",
    "xp.meshgrid(xp.arange(2), xp.arange(3))[1]",
    "xp.where(xp.asarray([True]), xp.ones(1), xp.zeros(1))",
    "xp.searchsorted(xp.arange(4), xp.asarray([2]))",
    "xp.tensordot(xp.ones((2, 3)), xp.ones((3, 2)), axes=1)",
    "xp.roll(xp.arange(4), 1)", "xp.flip(xp.arange(3))", "xp.moveaxis(xp.ones((2, 3)), 0, 1)",
    "xp.full((2,), 3)", "xp.copysign(xp.ones(2), xp.asarray([-1.0, 1.0]))",
    "xp.signbit(xp.asarray([-0.0]))",
)  # fmt: skip


@pytest.mark.parametrize("code", SAMPLES)
def test_samples_against_numpy(code):
    wanted = eval(code, {"xp": numpy})
    made = eval(code, {"xp": array_api})
    assert isinstance(made, np.ndarray)
    assert made.dtype == wanted.dtype and made.shape == wanted.shape
    numpy.testing.assert_allclose(numpy.asarray(made), wanted, rtol=1e-12)


def test_unique_functions_have_named_fields():
    found = array_api.unique_all(np.asarray([2, 1, 2]))
    assert found.values.tolist() == [1, 2] and found.inverse_indices.tolist() == [1, 0, 1]
    assert found.indices.tolist() == [1, 0] and found.counts.tolist() == [1, 2]


def test_dtypes_and_information():
    assert array_api.isdtype(array_api.float32, "real floating")
    assert array_api.isdtype(array_api.int8, ("bool", "signed integer"))
    assert not array_api.isdtype(array_api.bool, "numeric")
    assert array_api.result_type(np.ones(1, np.float32), array_api.float64) == numpy.float64
    assert array_api.can_cast(array_api.int8, array_api.int16)
    assert array_api.finfo(array_api.float32).bits == 32
    assert array_api.iinfo(array_api.uint8).max == 255
    info = array_api.__array_namespace_info__()
    assert info.default_device() == "cpu" and info.devices() == ["cpu"]
    assert info.default_dtypes()["real floating"] == array_api.float64
    assert set(info.dtypes(kind="unsigned integer")) == {"uint8", "uint16", "uint32", "uint64"}
    assert info.capabilities()["boolean indexing"] is True
    with pytest.raises(TypeError, match="complex"):
        array_api.astype(np.asarray([1j]), array_api.float32)


def test_a_generic_program():
    """Code that asks its arguments for their namespace runs on both."""

    def softmax(x):
        xp = x.__array_namespace__()
        shifted = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        return shifted / xp.sum(shifted, axis=-1, keepdims=True)

    data = numpy.random.default_rng(0).normal(size=(3, 5))
    numpy.testing.assert_allclose(numpy.asarray(softmax(np.asarray(data))), softmax(data))
