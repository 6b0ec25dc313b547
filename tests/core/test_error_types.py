"""Errors: PyTorch's types, the user's line, and appending it once."""

import contextlib
import pickle
import sys

import pytest

from thalweg.core import errors
from thalweg.core.errors import located, user_location

BASES = {
    errors.ShapeError: RuntimeError,
    errors.DTypeError: RuntimeError,
    errors.DeviceError: RuntimeError,
    errors.AutogradError: RuntimeError,
    errors.AliasError: RuntimeError,
    errors.GraphError: RuntimeError,
    errors.OutOfMemoryError: RuntimeError,
    errors.DimError: IndexError,
    errors.IndexOutOfRange: IndexError,
    errors.ArgumentError: TypeError,
    errors.ValueRangeError: ValueError,
}


def this_line():
    return sys._getframe(1).f_lineno


def inside_package(source, **names):
    """Run `source` as if it stood in a file of the package."""
    exec(compile(source, errors._PACKAGE + "made_up.py", "exec"), names)
    return names


def test_every_error_is_ours_and_pytorchs():
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, errors.ThalwegError)
        and value is not errors.ThalwegError
    }
    assert defined == set(BASES)
    for kind, base in BASES.items():
        assert issubclass(kind, base)
        assert str(pickle.loads(pickle.dumps(kind("message")))) == "message"


def test_user_location_is_the_caller_outside_the_package():
    assert user_location() == (__file__, this_line())
    names = inside_package(
        "def outer(): return inner()\ndef inner(): return where()", where=user_location
    )
    assert names["outer"]() == (__file__, this_line())


def test_user_location_skips_context_managers_and_generated_code():
    names = inside_package("def mode():\n    yield where()", where=user_location)
    with contextlib.contextmanager(names["mode"])() as found:
        assert found == (__file__, this_line() - 1)
    generated = {"where": user_location}
    exec(compile("def call(): return where()", "<thalweg dispatch>", "exec"), generated)
    assert generated["call"]() == (__file__, this_line())


def test_located_appends_the_source_line_once():
    error = errors.ShapeError("matmul: shapes differ")
    assert located(error) is error
    line = this_line() - 1
    expected = f"matmul: shapes differ\n  at {__file__}:{line}: assert located(error) is error"
    assert str(error) == expected
    assert errors.error_location(error) == (__file__, line)
    located(error, ("elsewhere.py", 1))
    assert str(error) == expected
    assert type(error) is errors.ShapeError


def test_located_with_a_given_location():
    error = located(IndexError("out of range"), ("no_such_file.py", 12))
    assert str(error) == "out of range\n  at no_such_file.py:12"
    assert errors.error_location(ValueError()) is None


@pytest.mark.parametrize(
    "error", [KeyError("name"), OSError(2, "missing"), ValueError(), ValueError(3)]
)
def test_located_keeps_messages_it_cannot_extend(error):
    before = str(error)
    located(error, ("file.py", 3))
    assert str(error) == before
    assert error.__notes__ == ["  at file.py:3"]
