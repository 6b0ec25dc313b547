"""Adding an op touches one file: a newly defined one is found everywhere by itself."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

PREPARE = """
import sys
sys.path[:0] = [{root!r}, {root!r} + "/examples", {root!r} + "/tests/proof"]
import numpy as np
import thalweg as torch
from thalweg.nn import functional as F
assert not hasattr(torch.Tensor, "logcosh") and not hasattr(torch, "logcosh")
assert not hasattr(F, "logcosh")
import custom_op
x = torch.tensor([[-1.5, 0.5], [0.0, 40.0]], dtype=torch.float64, requires_grad=True)
values = x.detach().numpy()
expected = np.logaddexp(values, -values) - np.log(2)
"""


def run(code):
    text = PREPARE.format(root=str(ROOT)) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tensor_and_functional_names():
    run("""
    for result in (x.logcosh(), torch.logcosh(x), F.logcosh(x)):
        np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-12)
    torch.logcosh(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.tanh(values), rtol=1e-12)
    out = torch.empty(2, 2, dtype=torch.float64)
    assert torch.logcosh(x.detach(), out=out) is out
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-12)
    assert torch.logcosh(torch.tensor([1, 2])).dtype is torch.float32
    try:
        torch.tensor([1j]).logcosh()
    except RuntimeError as error:
        assert "logcosh" in str(error) and "expected float" in str(error)
    else:
        raise AssertionError("complex numbers were accepted")
    """)


def test_recording_and_graph_text():
    run("""
    y = (x * 2).logcosh()
    assert "logcosh(" in torch.graph_text(y)
    before = torch.graph_text(torch.logcosh(x.detach()))
    assert before.count("logcosh") == 1
    """)


def test_stubs_and_table():
    run("""
    from thalweg.ops import table
    from thalweg.tensor import stubs
    made = stubs.generate()
    assert "    def logcosh(self, *, out: Any = ...) -> " in made["thalweg/tensor/tensor.pyi"]
    for name in ("thalweg/__init__.pyi", "thalweg/nn/functional.pyi"):
        assert "\\ndef logcosh(input: Any, *, out: Any = ...) -> " in made[name]
    assert [r.kind for r in table.rows() if r.name == "logcosh"] == ["primitive"]
    rows = {r.name: r for r in table.rows() if r.kind == "function"}
    assert "Tensor.logcosh" in rows["nn.functional.logcosh"].notes
    assert "ONNX has no such operator" in table.as_text()
    assert "`logcosh`" in table.as_markdown()
    """)


def test_the_proofs_take_it_up_and_it_passes():
    run("""
    import test_op_batching, test_op_gradients, test_op_results, test_op_sbp
    assert "logcosh" in test_op_results.NAMES
    assert "logcosh" in test_op_sbp.NAMES
    assert "logcosh" in test_op_gradients.DIFFERENTIABLE
    with np.errstate(all="ignore"):
        test_op_results.test_every_field_is_given_or_declined_with_a_reason("logcosh")
        test_op_results.test_reference_results_have_the_inferred_types("logcosh")
        test_op_results.test_bad_calls_fail_with_the_stated_error("logcosh")
        test_op_results.test_public_functions_are_documented_and_called("nn.functional.logcosh")
        test_op_gradients.test_primitive("logcosh")
        test_op_sbp.test_rules_hold_and_are_complete("logcosh")
    tried, signatures = custom_op.prove()
    assert tried >= 3 and signatures > 100
    """)


def test_a_wrong_gradient_or_sharding_rule_is_found():
    run("""
    from thalweg.ops import PRIMITIVES
    from thalweg.testing.sbp_proof import prove_sbp
    op = PRIMITIVES["logcosh"]
    kind = type(op)
    right = kind.vjp
    kind.vjp = lambda self, node, g: (g * node.out,)
    try:
        custom_op.prove()
    except AssertionError as error:
        assert "gradient" in str(error)
    else:
        raise RuntimeError("a wrong gradient passed")
    kind.vjp = right
    kind.partial = ("P(max) -> P(max)",)
    assert "WRONG" in str(prove_sbp(op)).upper()
    """)


def test_the_lowering_computes_what_the_reference_does():
    out = run("""
    from thalweg.core.dtypes import float64, int64
    from thalweg.ir.loop_interp import run
    from thalweg.ir.loops import Buffer, Const, For, Kernel, Load, Store, Var
    from thalweg.ops import PRIMITIVES
    op = PRIMITIVES["logcosh"]
    x, y, i = Buffer("x", float64, (4,)), Buffer("y", float64, (4,), "out"), Var("i")
    store = Store("y", (i,), op.lower(Load("x", (i,), float64)))
    loop = For("i", Const(0, int64), Const(4, int64), 1, (store,))
    arrays = {"x": values.reshape(-1).copy(), "y": np.zeros(4)}
    run(Kernel("logcosh", (x, y), (loop,)), arrays)
    np.testing.assert_allclose(arrays["y"], expected.reshape(-1), rtol=1e-12)
    print("lowered")
    """)
    assert out == "lowered\n"


def test_an_op_that_lacks_a_field_is_refused():
    from thalweg.ops import PRIMITIVES, Primitive, primitive

    with pytest.raises(TypeError, match=r"fields \['infer'.*neither given nor declined"):

        @primitive
        class Half(Primitive):
            name = "half_of"
            index = "... -> ..."

    assert "half_of" not in PRIMITIVES


def test_the_example_shows_it(capsys):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "custom_op.py")], capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": ""}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1] == "the same   True" and lines[4].startswith("proven")
    shown = np.array(lines[0].partition("[")[2].rstrip("]").split(), dtype=float)
    np.testing.assert_allclose(shown, np.log(np.cosh(np.linspace(-2, 2, 5))), atol=1e-6)
