"""A new op in one file: `python examples/custom_op.py`.

Everything the framework knows of an op stands in its class: types, the NumPy definition, the
gradient, how it is sharded, batched, compiled and exported, and samples that prove all of it.
After the decorators have run it is a `Tensor` method, a function of the package and of
`nn.functional`, differentiable to any order, and a row of the op table.
"""

import math

import numpy as np

import thalweg as torch
from thalweg.ir import loops
from thalweg.nn import functional as F
from thalweg.ops import PRIMITIVES, Declined, function, ops, primitive
from thalweg.ops.arithmetic import coerce_float
from thalweg.ops.families import Unary, floats
from thalweg.testing.differences import check_gradients
from thalweg.testing.samples import apply, samples_of, widen
from thalweg.testing.sbp_proof import prove_sbp


@primitive
class LogCosh(Unary):
    """log(cosh(x)), a smooth absolute value, without overflow for large x."""

    # `Unary` gives `index`, `infer`, `sbp` (split any dimension) and `batch`, which are the same
    # for all functions of one element. This one is neither linear nor monotone, so nothing is
    # added to its sharding rules.
    name = "logcosh"
    accepts = ("float",)
    samples = floats(-3, 3)
    onnx = Declined("ONNX has no such operator; it would be exported as its formula")

    def reference(self, x):
        size = np.abs(x)
        return (size + np.log1p(np.exp(-2 * size)) - x.dtype.type(math.log(2))).astype(x.dtype)

    def vjp(self, node, g):
        return (g * ops.tanh(node.inputs[0]),)

    def lower(self, x):
        size = loops.Unary("abs", x)
        return size + loops.Unary("log1p", loops.Unary("exp", size * -2.0)) - math.log(2)


@function(
    "nn.functional.logcosh", method=True, aliases=("logcosh",),
    calls=Declined("PyTorch has no function of this name to compare with"),
)  # fmt: skip
def logcosh(input):
    """log(cosh(x)) of each element; integers are taken as the default floating dtype."""
    return PRIMITIVES["logcosh"](coerce_float(input))


def prove():
    """What tests/proof does for every op: gradients by differences, sharding on mock ranks."""
    op = PRIMITIVES["logcosh"]
    tried = 0
    for sample in samples_of(op):
        if sample.error is None and sample.grad:
            arrays = [widen(a) for a in sample.arrays]
            inputs, node = apply(op, arrays, sample.attrs)
            complaints = check_gradients(node.outputs, inputs, arrays, order=2)
            assert not complaints, complaints
            tried += 1
    report = prove_sbp(op)
    assert not str(report), report
    return tried, report.checked


def main():
    x = torch.linspace(-2, 2, 5, requires_grad=True)
    y = x.logcosh()
    print("values    ", y.detach().numpy())
    print("the same  ", bool(torch.equal(y, F.logcosh(x)) and torch.equal(y, torch.logcosh(x))))
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    print("gradient  ", slope.detach().numpy(), "= tanh(x)")
    slope.sum().backward()
    print("second    ", x.grad.numpy(), "= 1 - tanh(x)^2")
    print("proven     {} gradients twice over, {} sharding signatures".format(*prove()))
    return x.detach().numpy(), y.detach().numpy(), slope.detach().numpy(), x.grad.numpy()


if __name__ == "__main__":
    main()
