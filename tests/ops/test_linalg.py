"""Linear algebra where calls cannot compare numbers directly: results that are unique only up to a
choice, gradients of functions that read one triangle, and complaints about single matrices."""

import numpy as np
import pytest
import torch

import thalweg
from thalweg.ir.node import make_input
from thalweg.ops import FUNCTIONS, PRIMITIVES
from thalweg.ops.evaluate import evaluate
from thalweg.passes.autodiff import gradients
from thalweg.testing.differences import check_gradients
from thalweg.testing.samples import type_of


def drawn(*shape, seed=0, complex=False):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    return x + 1j * rng.normal(size=shape) if complex else x


def transposed(x):
    return np.conj(np.swapaxes(x, -1, -2))


def positive(*shape, **options):
    x = drawn(*shape, **options)
    return x @ transposed(x) + np.eye(shape[-1])


def impl(name):
    return FUNCTIONS[name].impl


def run(function, *arrays):
    """The results of a function of values, as arrays."""
    inputs = [make_input(type_of(a)) for a in arrays]
    results = function(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    return evaluate(results, dict(zip(inputs, arrays)))


def gradient(function, array):
    """The gradient of the sum of a real function of one value."""
    x = make_input(type_of(array))
    out = function(x)
    seed = make_input(out.type)
    (found,) = gradients([out], [seed], [x])
    return evaluate([found], {x: array, seed: np.ones(out.shape, out.dtype.np)})[0]


def torch_gradient(function, array):
    x = torch.from_numpy(array.copy()).requires_grad_()
    function(x).sum().backward()
    return x.grad.numpy()


def proven(function, array):
    """The function's gradient holds to second order."""
    x = make_input(type_of(array))
    return check_gradients([function(x)], [x], [array])


SHAPES = [(3, 3), (2, 4, 4), (1, 1), (5, 2), (2, 5), (2, 3, 5), (0, 3), (2, 0, 0)]
SQUARE = [s for s in SHAPES if s[-1] == s[-2]]


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("full", [False, True])
def test_svd_factors(shape, full, complex):
    a = drawn(*shape, complex=complex)
    u, s, vh = run(lambda x: impl("linalg.svd")(x, full), a)
    expected = torch.linalg.svd(torch.from_numpy(a), full_matrices=full)
    assert [u.shape, s.shape, vh.shape] == [tuple(e.shape) for e in expected]
    np.testing.assert_allclose(s, expected.S.numpy(), atol=1e-12)
    k = s.shape[-1]
    np.testing.assert_allclose((u[..., :k] * s[..., None, :]) @ vh[..., :k, :], a, atol=1e-12)
    np.testing.assert_allclose(transposed(u) @ u, np.broadcast_to(np.eye(u.shape[-1]), (
        *shape[:-2], u.shape[-1], u.shape[-1])), atol=1e-12)  # fmt: skip


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("shape", SQUARE)
@pytest.mark.parametrize("triangle", ["L", "U"])
def test_eigh_reads_one_triangle(shape, triangle, complex):
    a = drawn(*shape, complex=complex)
    half = np.tril(a, -1) if triangle == "L" else np.triu(a, 1)
    real = np.real(np.diagonal(a, axis1=-2, axis2=-1))
    whole = half + transposed(half) + real[..., None] * np.eye(shape[-1])
    w, v = run(lambda x: impl("linalg.eigh")(x, triangle), a)
    np.testing.assert_allclose(whole @ v, v * w[..., None, :], atol=1e-11)
    expected = torch.linalg.eigvalsh(torch.from_numpy(a), UPLO=triangle).numpy()
    np.testing.assert_allclose(w, expected, atol=1e-11)
    np.testing.assert_allclose(transposed(v) @ v, np.broadcast_to(np.eye(shape[-1]), shape),
                               atol=1e-11)  # fmt: skip


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("shape", SQUARE)
def test_eig_factors(shape, complex):
    a = drawn(*shape, complex=complex)
    w, v = run(impl("linalg.eig"), a)
    np.testing.assert_allclose(a @ v, v * w[..., None, :], atol=1e-11)
    np.testing.assert_allclose(np.linalg.norm(v, axis=-2), np.ones(w.shape), atol=1e-12)
    assert w.dtype == v.dtype == np.complex128


def size(x):
    """The squared modulus."""
    if not x.dtype.is_complex:
        return x * x
    real, imag = impl("real")(x), impl("imag")(x)
    return real * real + imag * imag


def column_sums(x):
    """Sums of the columns in ascending order: libraries order eigenvalues differently."""
    return impl("sort")(impl("sum")(x, -2), -1)[0]


def compose(outer, inner):
    return lambda x: outer(inner(x))


# Functions that do not depend on the choice of signs and phases, here and in PyTorch.
INVARIANT = {
    "svd vectors": (
        lambda x: size(impl("linalg.svd")(x, False)[0]),
        lambda x: torch.linalg.svd(x, full_matrices=False)[0].abs() ** 2,
    ),
    "svd rows": (
        lambda x: size(impl("linalg.svd")(x, False)[2]),
        lambda x: torch.linalg.svd(x, full_matrices=False)[2].abs() ** 2,
    ),
    "svd product": (
        lambda x: impl("matmul")(impl("linalg.svd")(x, False)[0], impl("linalg.svd")(x, False)[2]),
        lambda x: (lambda r: r[0] @ r[2])(torch.linalg.svd(x, full_matrices=False)),
    ),
    "full svd": (
        lambda x: size(impl("narrow")(impl("linalg.svd")(x)[0], -1, 0, 2)),
        lambda x: torch.linalg.svd(x)[0][..., :2].abs() ** 2,
    ),
    "nuclear norm": (
        lambda x: impl("linalg.matrix_norm")(x, "nuc"),
        lambda x: torch.linalg.matrix_norm(x, "nuc"),
    ),
}
SQUARE_INVARIANT = {
    "eigh vectors": (
        lambda x: size(impl("linalg.eigh")(x)[1]), lambda x: torch.linalg.eigh(x)[1].abs() ** 2,
    ),
    "eigh of the upper triangle": (
        lambda x: size(impl("linalg.eigh")(x, "U")[1]),
        lambda x: torch.linalg.eigh(x, "U")[1].abs() ** 2,
    ),
    "eigvalsh": (
        lambda x: impl("linalg.eigvalsh")(x) * impl("linalg.eigvalsh")(x),
        lambda x: torch.linalg.eigvalsh(x) ** 2,
    ),
    "eig vectors": (
        lambda x: column_sums(impl("square")(size(impl("linalg.eig")(x)[1]))),
        lambda x: (torch.linalg.eig(x)[1].abs() ** 4).sum(-2).sort(-1)[0],
    ),
    "spectral radius": (
        lambda x: impl("amax")(size(impl("linalg.eigvals")(x)), -1),
        lambda x: (torch.linalg.eigvals(x).abs() ** 2).amax(-1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4), (2, 3, 2)])
@pytest.mark.parametrize("name", INVARIANT)
def test_gradients_of_invariant_functions(name, shape, complex):
    ours, theirs = INVARIANT[name]
    a = drawn(*shape, complex=complex)
    if name == "svd product" and complex:
        ours = compose(lambda x: impl("square")(size(x)), ours)
        theirs = compose(lambda x: x.abs() ** 4, theirs)
    np.testing.assert_allclose(gradient(ours, a), torch_gradient(theirs, a), rtol=1e-8, atol=1e-9)
    assert proven(ours, a) == []


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4)])
@pytest.mark.parametrize("name", SQUARE_INVARIANT)
def test_gradients_of_invariant_functions_of_square_matrices(name, shape, complex):
    ours, theirs = SQUARE_INVARIANT[name]
    a = drawn(*shape, complex=complex, seed=3)
    np.testing.assert_allclose(gradient(ours, a), torch_gradient(theirs, a), rtol=1e-7, atol=1e-8)
    if "eigh" not in name and "eigvalsh" not in name:  # those read a triangle: proven below
        assert proven(ours, a) == []


def hermitian(x):
    return (x + impl("conj")(impl("transpose")(x, -1, -2))) / 2.0


ON_HERMITIAN = {
    "eigh": lambda x: size(impl("linalg.eigh")(hermitian(x))[1]),
    "eigh upper": lambda x: size(impl("linalg.eigh")(hermitian(x), "U")[1]),
    "cholesky": lambda x: impl("linalg.cholesky")(hermitian(x)),
    "cholesky upper": lambda x: impl("linalg.cholesky")(hermitian(x), upper=True),
}


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("name", ON_HERMITIAN)
def test_gradients_through_one_triangle_to_second_order(name, complex):
    """On a Hermitian argument, reading a triangle and reading the mean are the same function."""
    assert proven(ON_HERMITIAN[name], positive(3, 3, complex=complex)) == []


TRIANGLE = {
    "cholesky": (
        lambda x: size(impl("linalg.cholesky")(x)), lambda x: torch.linalg.cholesky(x).abs() ** 2,
    ),
    "cholesky upper": (
        lambda x: size(impl("linalg.cholesky")(x, upper=True)),
        lambda x: torch.linalg.cholesky(x, upper=True).abs() ** 2,
    ),
    "cholesky_inverse": (
        lambda x: size(impl("cholesky_inverse")(impl("linalg.cholesky")(x))),
        lambda x: torch.cholesky_inverse(torch.linalg.cholesky(x)).abs() ** 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("shape", [(3, 3), (2, 2, 2)])
@pytest.mark.parametrize("name", TRIANGLE)
def test_cholesky_gradients_are_pytorchs(name, shape, complex):
    ours, theirs = TRIANGLE[name]
    a = positive(*shape, complex=complex)
    np.testing.assert_allclose(gradient(ours, a), torch_gradient(theirs, a), rtol=1e-8, atol=1e-10)


def test_cholesky_solve_inverts():
    a, b = positive(3, 3), drawn(3, 2, seed=5)
    (x,) = run(lambda m, r: impl("cholesky_solve")(r, impl("linalg.cholesky")(m)), a, b)
    np.testing.assert_allclose(a @ x, b, atol=1e-12)


def test_determinant_has_cofactors_where_it_is_zero():
    a = np.array([[1.0, 2.0], [2.0, 4.0]])
    expected = np.array([[4.0, -2.0], [-2.0, 1.0]])
    np.testing.assert_allclose(gradient(impl("linalg.det"), a), expected, atol=1e-12)
    np.testing.assert_allclose(gradient(impl("linalg.det"), np.zeros((1, 1))), np.ones((1, 1)))


def test_lu_rebuilds_with_its_pivots():
    a = drawn(2, 4, 3)
    packed, pivots = run(impl("linalg.lu_factor"), a)
    theirs = torch.linalg.lu_factor(torch.from_numpy(a))
    np.testing.assert_allclose(packed, theirs.LU.numpy(), atol=1e-12)
    np.testing.assert_array_equal(pivots, theirs.pivots.numpy())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda la, x: la.cholesky(-x), r"linalg.cholesky: The factorization .* order 1 "),
        (lambda la, x: la.cholesky(thalweg.stack([x, -x])), r"\(Batch element 1\): The factoriz"),
        (lambda la, x: la.cholesky_ex(-x, check_errors=True).L, "linalg.cholesky_ex: The factori"),
        (lambda la, x: la.inv(x * 0), "linalg.inv: The diagonal element 1 is zero"),
        (lambda la, x: la.solve(x * 0, x), "linalg.solve: The solver failed because the input"),
        (lambda la, x: la.solve(thalweg.stack([x, x * 0]), x), r"\(Batch element 1\): The solver"),
        (lambda la, x: la.eigh(x * float("nan"))[0] + la.svd(x * float("nan"))[1], "converge"),
    ],
)
def test_complaints_when_run(call, message):
    with pytest.raises(thalweg.linalg.LinAlgError, match=message) as caught:
        call(thalweg.linalg, thalweg.eye(2)).sum().item()
    assert isinstance(caught.value, RuntimeError)


def test_info_instead_of_complaints():
    eye = thalweg.eye(2)
    found = thalweg.linalg.cholesky_ex(thalweg.stack([eye, -eye]))
    assert found.info.tolist() == [0, 1] and found.L[0].tolist() == [[1, 0], [0, 1]]
    found = thalweg.linalg.inv_ex(thalweg.stack([eye * 2, thalweg.ones(2, 2)]))
    assert found.info.tolist() == [0, 2] and found.inverse[0].tolist() == [[0.5, 0], [0, 0.5]]


def test_full_qr_of_a_tall_matrix_has_no_gradient():
    q, _ = thalweg.linalg.qr(thalweg.randn(4, 2, requires_grad=True), "complete")
    with pytest.raises(RuntimeError, match=r"mode='complete' and nrows > ncols"):
        q.sum().backward()


def test_public_names():
    assert PRIMITIVES["svd"].name == "svd"
    x = thalweg.eye(3, dtype=thalweg.float64) * 2
    assert x.det().item() == 8 and x.inverse()[0, 0].item() == 0.5
    assert thalweg.logdet(x).item() == pytest.approx(np.log(8))
    assert thalweg.linalg.lstsq(x, x).solution.tolist() == thalweg.eye(3).tolist()
    assert "svd" in dir(thalweg.linalg) and "rfft" in dir(thalweg.fft)


def test_stft_and_its_inverse():
    x = thalweg.tensor(drawn(2, 100))
    window = thalweg.hann_window(16, dtype=thalweg.float64)
    z = thalweg.stft(x, 16, window=window, return_complex=True)
    back = thalweg.istft(z, 16, window=window, length=100)
    np.testing.assert_allclose(back.numpy(), x.numpy(), atol=1e-12)


def test_sampling_on_the_grid_of_the_identity():
    x = thalweg.tensor(drawn(1, 2, 3, 4))
    maps = thalweg.eye(2, 3, dtype=thalweg.float64).unsqueeze(0)
    grid = thalweg.nn.functional.affine_grid(maps, (1, 2, 3, 4), align_corners=False)
    y = thalweg.nn.functional.grid_sample(x, grid, align_corners=False)
    np.testing.assert_allclose(y.numpy(), x.numpy(), atol=1e-12)
