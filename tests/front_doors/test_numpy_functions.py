"""Functions and methods of `thalweg.numpy` against NumPy: values, dtypes, shapes, scalars."""

import pytest
from numpy_pair import compare, compare_error

UNARY = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "cbrt", "sin", "cos", "tan",
    "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "floor",
    "ceil", "trunc", "rint", "fix", "sign", "absolute", "fabs", "negative", "positive", "square",
    "reciprocal", "isnan", "isinf", "isfinite", "signbit", "logical_not", "degrees", "radians",
    "deg2rad", "rad2deg", "conjugate", "nan_to_num", "real", "imag", "sinc",
)  # fmt: skip
OPERANDS = ("a", "f", "h", "n", "z", "e", "2.0", "[0.25, 0.5]")


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("operand", OPERANDS)
def test_unary(name, operand):
    if name == "cbrt":
        compare(f"np.{name}({operand})", rtol=1e-12)
    else:
        compare(f"np.{name}({operand})")


@pytest.mark.parametrize("name", ["exp", "sqrt", "sin", "floor", "sign", "absolute", "negative",
                                  "square", "isnan", "degrees"])  # fmt: skip
def test_unary_of_integers(name):
    compare(f"np.{name}(i)")
    compare(f"np.{name}(j.astype(np.int8))")


BINARY = ("add", "subtract", "multiply", "divide", "floor_divide", "remainder", "power", "fmod",
          "maximum", "minimum", "fmax", "fmin", "arctan2", "hypot", "copysign", "logaddexp",
          "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and",
          "logical_or", "logical_xor", "heaviside", "float_power")  # fmt: skip
PAIRS = ("a, b", "a, 2", "2.5, f", "f[:2], h", "f, 1.5", "f, b", "i, 2", "j, 2.5", "z, z", "e, e",
         "f, np.float64(2.0)", "h, j[:2]", "j, np.array([2, 1, 3, 5], dtype=np.int16)")  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("pair", PAIRS)
def test_binary(name, pair):
    compare(f"np.{name}({pair})", rtol=1e-12)


@pytest.mark.parametrize("code", [
    "i & 3", "i | 8", "i ^ j[:3]", "~i", "i << 2", "i >> 1", "t & True", "~t", "t ^ t",
    "s + 5", "s // 2", "-a", "+a", "abs(i)", "a @ a.T", "b @ a.T", "divmod(i, 4)", "10 % f",
    "2 ** j", "a ** 2", "c * 2", "c + a[0, :3]", "1 / c", "a == a.T.T", "[1, 2, 3, 4] + a",
    "np.modf(a)", "np.gcd(i, 6)", "np.lcm(j + 1, 4)", "np.ldexp(f, j)", "np.invert(t)",
    "np.bitwise_and(j, 1)", "np.divmod(a, 2.0)", "t + t", "t * 2", "t / 2", "np.angle(c)",
    "s.astype(np.uint16) * 3", "s.astype(np.uint32) - j[:3]", "np.conj(c)", "c.real", "c.imag",
    "np.abs(c)", "np.isreal(c)",
])  # fmt: skip
def test_operators(code):
    compare(code, rtol=1e-12)


REDUCTIONS = ("sum", "prod", "max", "min", "mean", "std", "var", "any", "all", "argmax", "argmin",
              "ptp", "cumsum", "cumprod", "count_nonzero", "median")  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("arguments", ["a", "a, axis=0", "a, axis=-1", "i", "i, axis=1", "f", "t",
                                       "h", "v, axis=1"])  # fmt: skip
def test_reductions(name, arguments):
    if name == "ptp" and arguments == "t":
        compare_error("np.ptp(t)")
    else:
        compare(f"np.{name}({arguments})", rtol=1e-12)


@pytest.mark.parametrize("code", [
    "a.sum(axis=(0, 1))", "a.sum(0, keepdims=True)", "v.sum((0, 2))", "np.sum(a, dtype=np.float32)",
    "np.sum(e)", "np.sum(e, axis=0)", "np.prod(e)", "np.sum(a, where=a > 0)", "np.sum([1, 2, 3])",
    "np.sum(s)", "np.prod(s, axis=0)", "np.cumsum(s)", "np.mean(s)", "np.sum(a, initial=10.0)",
    "np.max(a, initial=100.0, axis=1)", "np.max(e, initial=-1.0)",
    "np.mean(c)", "np.std(c)", "np.var(a, ddof=1)", "np.std(a, axis=0, ddof=1, keepdims=True)",
    "np.mean(a, axis=(0, 1), keepdims=True)", "a.mean(1)", "a.std()", "a.min(axis=1)",
    "a.argmax()", "a.argmin(axis=1)", "np.argmax(a, axis=0, keepdims=True)", "a.cumsum()",
    "a.cumsum(axis=1)", "i.cumprod(1)", "np.average(a, weights=a * 0 + 2)",
    "np.average(a, axis=0, weights=[1.0, 2.0, 3.0])", "np.nansum(n)", "np.nanmean(n[:2])",
    "np.nanmax(n)", "np.nanmin(n)", "np.nanprod(n[:2])", "np.any(t)", "np.all(a > -9, axis=1)",
    "np.cumulative_sum(f, include_initial=True)", "np.percentile(a, 30)", "np.quantile(a, 0.5)",
    "np.add.reduce(a)", "np.maximum.reduce(a, axis=1)", "np.multiply.accumulate(a)",
    "np.add.outer(f, j)", "np.multiply.outer(a, f)", "np.maximum.accumulate(i, axis=1)",
    "np.linalg.norm(a)", "np.linalg.norm(a, axis=1)", "np.linalg.norm(f, 1)",
    "np.linalg.norm(f, np.inf)", "np.linalg.norm(f, 3)", "np.linalg.norm(q, 'fro')",
    "np.linalg.norm(q, 1)", "np.linalg.norm(q, np.inf)", "np.linalg.norm(q, 2)",
    "np.linalg.norm(i)", "np.linalg.norm(v, axis=(0, 2))", "np.linalg.norm(v, 1, axis=(0, 2))",
    "np.linalg.det(q)", "np.linalg.inv(q)", "np.linalg.solve(q, [1.0, 2.0])",
    "np.linalg.cholesky(q)", "np.linalg.eigvalsh(q)", "np.linalg.matrix_power(q, 3)",
    "np.linalg.multi_dot([a, a.T, a])",
])  # fmt: skip
def test_reduction_arguments(code):
    compare(code, rtol=1e-12)


@pytest.mark.parametrize("code", [
    "np.zeros((2, 3))", "np.zeros(3, dtype=np.int32)", "np.ones((2, 1))", "np.full((2, 2), 7)",
    "np.full(2, 1.5)", "np.full((2, 3), [1, 2, 3])", "np.eye(3)", "np.eye(2, 3, 1)",
    "np.identity(2)", "np.arange(5)", "np.arange(1, 2, 0.3)", "np.arange(3.0)",
    "np.arange(5, 0, -2)", "np.linspace(0, 1, 5)", "np.linspace(0, 1, 4, endpoint=False)",
    "np.logspace(0, 2, 3)", "np.geomspace(1, 8, 4)", "np.zeros_like(i)", "np.ones_like(f)",
    "np.full_like(a, 3)", "np.full_like(i, 3.7)", "np.array([1, 2, 3])", "np.array([1, 2.5])",
    "np.array([[True], [False]])", "np.array(5)", "np.array([1, 2], dtype=np.float32)",
    "np.array([a, a])", "np.array([1j])", "np.array([1, 2], ndmin=3)", "np.asarray(a)",
    "np.meshgrid(f, j)", "np.meshgrid(f, j, indexing='ij', sparse=True)", "np.diag(f)",
    "np.diag(a, 1)", "np.diagflat([[1, 2], [3, 4]])", "np.tri(3)", "np.tril(a)", "np.triu(a, 1)",
    "np.empty((2, 0))", "np.copy(a)", "np.fromfunction(lambda x, y: x + y, (2, 3))",
    "np.vander([1, 2, 3])", "np.indices((2, 2))", "np.array([])", "np.array([[], []])",
])  # fmt: skip
def test_creation(code):
    compare(code)


@pytest.mark.parametrize("code", [
    "a.reshape(4, 3)", "a.reshape((2, -1))", "a.T", "a.T.reshape(-1)", "v.transpose(1, 0, 2)",
    "v.transpose()", "np.transpose(v, (2, 0, 1))", "v.swapaxes(0, 2)", "np.moveaxis(v, 0, -1)",
    "np.moveaxis(v, [0, 1], [-1, -2])", "np.rollaxis(v, 2)", "np.expand_dims(f, 0)",
    "np.expand_dims(f, (0, 2))", "np.squeeze(b)", "b.squeeze(0)", "a.ravel()", "a.flatten()",
    "a.reshape(3, 4, order='F')", "np.ravel(a, order='F')", "np.concatenate([a, b])",
    "np.concatenate([a, i[:, :2]], axis=None)", "np.concatenate((f, j))", "np.stack([f, f], 1)",
    "np.vstack([f, j])", "np.hstack([f, j])", "np.hstack([a, a])", "np.dstack([f, f])",
    "np.column_stack([f, j])", "np.append(f, 3.0)", "np.append(a, b, axis=0)",
    "np.split(a, 2, axis=1)", "np.array_split(f, 3)", "np.split(a, [1, 3], axis=1)",
    "np.hsplit(a, 2)", "np.vsplit(a, 3)", "np.tile(f, 2)", "np.tile(f, (2, 2))", "np.tile(a, 2)",
    "np.repeat(f, 2)", "np.repeat(a, 2, axis=0)", "np.repeat(a, [1, 0, 2], axis=0)",
    "np.flip(a)", "np.flip(a, 0)", "np.fliplr(a)", "np.flipud(a)", "np.rot90(a)",
    "np.rot90(a, 3)", "np.roll(a, 2)", "np.roll(a, 1, axis=0)", "np.roll(a, (1, 2), axis=(0, 1))",
    "np.broadcast_to(f, (2, 4))", "np.broadcast_arrays(a, b)", "np.atleast_1d(3.0)",
    "np.atleast_2d(f)", "np.atleast_3d(a)", "np.pad(a, 1)", "np.pad(f, (1, 2), mode='edge')",
    "np.pad(a, ((0, 1), (2, 0)), constant_values=9)", "np.pad(f, 2, mode='reflect')",
    "np.pad(f, 3, mode='wrap')", "np.pad(f, 2, mode='symmetric')", "np.unstack(v)",
    "a.astype(np.int64)", "a.astype('float32')", "i.astype(bool)", "s.astype(np.int8)",
    "np.shape(a)", "np.size(a)", "np.ndim(a)", "np.size(a, 1)", "a.size", "a.nbytes", "a.itemsize",
    "len(a)", "a.tolist()", "f.dtype == np.float32", "np.matrix_transpose(v)", "v.mT",
])  # fmt: skip
def test_manipulation(code):
    compare(code)


@pytest.mark.parametrize("code", [
    "np.sort(a, axis=0)", "np.sort(f)", "np.sort(n)", "np.argsort(f)", "np.argsort(-a, axis=1)",
    "f.argsort()", "np.sort(i, axis=None)", "np.searchsorted(np.sort(f), [0.2, 0.5])",
    "np.searchsorted(np.sort(f), 0.5, side='right')", "np.where(a > 0, a, 0)",
    "np.where(a > 0, a, f)", "np.where(t)", "np.where(t, 1, 2)", "np.where(t, f[:3], 1.0)",
    "np.nonzero(i > 0)", "np.flatnonzero(a > 0)", "np.argwhere(a > 2)", "np.unique(j)",
    "np.unique(j, return_counts=True)", "np.clip(a, -1, 1)", "np.clip(i, 0, None)",
    "a.clip(0.0, 2.0)", "np.clip(f, 0.2, 0.6)", "np.take(a, [0, 2], axis=1)", "np.take(a, 5)",
    "a.take([1, -1])", "np.take(f, 9, mode='clip')", "np.take(f, [5, 6], mode='wrap')",
    "np.take_along_axis(a, np.argsort(a, axis=1), axis=1)", "np.diff(f)", "np.diff(a, n=2, axis=0)",
    "np.diff(f, prepend=0)", "np.diff(t)", "np.round(a / 3, 2)", "np.round(f)", "a.round()",
    "np.around(i, -1)", "np.isclose(f, f + 1e-9)", "np.allclose(a, a)", "np.array_equal(a, a.T)",
    "np.array_equal(n, n, equal_nan=True)", "np.bincount(j)", "np.histogram(f, 3)",
    "np.interp(0.5, [0, 1], [2, 4])", "np.digitize(f, [0.2, 0.6])", "np.convolve(f, [1, 1])",
    "np.isin(j, [1, 2])", "np.compress(t, f[:3])", "np.select([f > 0.4, f > 0.2], [f, -f])",
    "np.gradient(f)", "np.cov(a)", "np.delete(f, 1)", "np.insert(f, 1, 9)", "np.lexsort((f, j))",
])  # fmt: skip
def test_searching(code):
    compare(code)


@pytest.mark.parametrize("code", [
    "np.dot(f, f)", "np.dot(a, f)", "np.dot(a, a.T)", "a.dot(b.T)", "np.dot(v, a.T)",
    "np.dot(2, f)",
    "np.matmul(v, a.T)", "a @ f", "f @ a.T", "f @ f", "np.vdot(c, c)", "np.inner(a, f)",
    "np.outer(f, j)", "np.tensordot(v, a, axes=([1, 2], [0, 1]))", "np.tensordot(a, a.T, 1)",
    "np.einsum('ij,kj->ik', a, b)", "np.einsum('ij->j', a)", "np.einsum('ii', q)",
    "np.einsum('...j,j', a, f)", "np.einsum(a, [0, 1], f, [1])", "np.kron(f, [1, 2])",
    "np.trace(a)", "a.trace(1)", "np.diagonal(a)", "v.diagonal(0, 1, 2)",
    "np.cross([1, 0, 0], [0, 1, 0])", "np.cross(a[:, :3], i[0])", "i @ i.T", "t @ t",
    "np.vecdot(a, f)", "np.linalg.outer(f, f)", "np.matmul(e, np.ones((3, 2)))",
])  # fmt: skip
def test_products(code):
    compare(code, rtol=1e-12)


@pytest.mark.parametrize("code", [
    "a + f[:3]", "np.add(a, [1, 2, 3])", "a.reshape(5, 5)", "a.sum(axis=2)", "np.max(e)",
    "np.concatenate([a, f])", "np.concatenate([])", "np.stack([a, f])", "a @ a", "np.dot(a, a)",
    "a[3]", "a[0, 9]", "a[0, 0, 0]", "f[[0, 7]]", "a['x']", "a[1.5]", "np.sqrt()",
    "np.squeeze(a, 0)", "np.transpose(a, (0, 0))", "np.swapaxes(a, 0, 5)", "i ** -1",
    "np.zeros((-1, 2))", "np.split(f, 3)", "bool(a)", "float(a)", "int(f)", "len(z)", "iter(z)",
    "a[::0]", "np.linalg.inv(a)", "np.argmax(e)", "hash(a)", "np.broadcast_to(a, (4, 3))",
    "np.einsum('ij,jk', a, a)", "np.einsum('ij', f)", "t - t", "s + 300", "np.array([[1], [1, 2]])",
    "np.moveaxis(a, 0, 7)", "np.repeat(a, [1, 2], axis=0)", "np.where(t, f, 1)", "c < 'x'",
    "c.astype(np.int64, casting='safe')", "np.linalg.norm(v, axis=(0, 1, 2))", "[1] @ a",
])  # fmt: skip
def test_errors_are_numpys(code):
    compare_error(code)
