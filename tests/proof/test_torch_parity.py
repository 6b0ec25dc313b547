"""Every public function against PyTorch on the CPU: values, dtypes, gradients, errors, names."""

import numpy as np
import pytest
import torch
from torch_parity import (
    calls_of,
    compare,
    in_float32,
    missing_names,
    no_twin,
    raised,
    run_ours,
    shown,
    torch_function,
)

from thalweg.core.dtypes import float32
from thalweg.ops import FUNCTIONS, Call, Declined, Function, ops

CALLED = sorted(n for n, f in FUNCTIONS.items() if not isinstance(f.calls, Declined))
COMPARED = [n for n in CALLED if not no_twin(FUNCTIONS[n])]
ALONE = [n for n in CALLED if no_twin(FUNCTIONS[n])]


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.filterwarnings("ignore")
def test_calls(name):
    function = FUNCTIONS[name]
    problems = []
    for call in calls_of(function):
        variants = [call]
        if call.error is None and (single := in_float32(call)):
            variants.append(single)
        for variant in variants:
            try:
                found = compare(function, variant)
            except Exception as error:  # one broken call must not hide the others
                found = [f"{type(error).__name__}: {error}"]
            problems += [f"{name}{shown(variant)}: {text}" for text in found]
            if found:
                break
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


def test_functions_without_a_twin_run_and_fail_as_stated():
    for name in ALONE:
        function = FUNCTIONS[name]
        assert len(no_twin(function).split()) >= 3, f"{name}: '{no_twin(function)}'"
        assert torch_function(name) is None, f"{name}: PyTorch has it, compare with it"
        for call in calls_of(function):
            if call.error is None:
                run_ours(function, call)
                continue
            kind, fragment = call.error
            error = raised(function, call)
            assert isinstance(error, kind) and fragment in str(error), f"{name}{shown(call)}"


@pytest.mark.parametrize("name", COMPARED)
def test_names_are_pytorchs(name):
    function = FUNCTIONS[name]
    tensor = torch.Tensor
    wrong = missing_names([name, *function.aliases])
    in_place = f"{function.method or name}_"
    if function.inplace and not hasattr(tensor, in_place):
        wrong.append(f"Tensor.{in_place}")
    only_in_place = function.inplace and hasattr(tensor, in_place)  # as fill_ and uniform_ are
    if function.method and not hasattr(tensor, function.method) and not only_in_place:
        wrong.append(f"Tensor.{function.method}")
    wrong += [o for o in function.operators if not hasattr(tensor, o)]
    assert not wrong, f"{name}: PyTorch has no {wrong}"


def _complaints(impl, *calls, name="exp", **traits):
    return [text for call in calls for text in compare(Function(name, impl, **traits), call)]


@pytest.mark.parametrize(
    ("impl", "complaint"),
    [
        (lambda input: ops.exp(input) * 1.001, "PyTorch has"),
        (lambda input: ops.cast(ops.exp(input), dtype=float32), "dtype float32, PyTorch has"),
        (lambda input: ops.reshape(ops.exp(input), shape=(1, 3)), "shape [1, 3], PyTorch has [3]"),
        (lambda input: (ops.exp(input), input), "2 results, PyTorch has 1"),
        (lambda input: ops.stop_gradient(ops.exp(input)), "requires_grad=False"),
        (lambda input: ops.exp(input) + input - ops.stop_gradient(input), "gradient of tensor 0"),
    ],
)
def test_comparison_notices(impl, complaint):
    (found,) = _complaints(impl, Call((np.array([0.5, -1.0, 2.0]),)))
    assert complaint in found


def test_comparison_of_errors_notices():
    """A missing error, a wrong type, a wrong message, and an error where PyTorch has none."""

    def refuse(input):
        raise ValueError("refused")

    ok, bad = np.ones(3), np.ones((2, 3))
    wanted = (RuntimeError, "square")

    def complaints(impl, array, error):
        return _complaints(impl, Call((array,), error=error), name="linalg.inv")

    assert complaints(lambda x: x, bad, wanted) == ["expected RuntimeError, got None"]
    assert "expected RuntimeError, got ValueError" in complaints(refuse, bad, wanted)[0]
    assert "message lacks 'square'" in complaints(refuse, bad, (ValueError, "square"))[0]
    assert "PyTorch raises" in complaints(refuse, bad, (ValueError, "refused"))[0]
    found = _complaints(refuse, Call((ok,), error=(ValueError, "refused")))
    assert found == ["PyTorch accepts this call"]


def test_unknown_names_are_noticed():
    assert missing_names(["exp", "nn.functional.gelu", "no_such_function", "linalg.nothing"]) == [
        "no_such_function", "linalg.nothing",
    ]  # fmt: skip
