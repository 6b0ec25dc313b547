"""From the op registry to what users see: `Tensor` methods, operators and public functions.

`RECORDED` maps public names ("add", "nn.functional.relu", "linalg.norm") to recorded functions;
importing this module also attaches methods, in-place methods and operators to `Tensor`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.dtypes import BY_NAME
from ..core.errors import located
from ..ops.function import FUNCTIONS, Function, listeners
from .alias import realise
from .autocast import casting
from .forms import binary, general, swapped, unary
from .indexing import make_getitem, make_setitem
from .inplace import inplace
from .inplace_views import inplace_view
from .methods import Methods, cast_method
from .tensor import Tensor

RECORDED: dict[str, Callable[..., Any]] = {}
_UNHASHED = {"__eq__", "__ne__"}


def attach(function: Function) -> Callable[..., Any]:
    """Make one registered function public: also how a newly defined op becomes usable."""
    recorded = general(function)
    positional = _positional(function)
    plain = not (function.host or function.random or function.view)
    operator = recorded
    if plain and function.operators and positional >= 2:
        operator, form = binary(function, recorded)
    elif plain and positional == 1 and function.method:
        operator = form = unary(function, recorded)
    else:
        form = recorded
    if operator is form:
        operator = form = casting(function.name, form)
    else:
        operator, form = casting(function.name, operator), casting(function.name, form)
    for name in (function.name, *function.aliases):
        RECORDED[name] = form
    if function.method and hasattr(function, "method"):
        _attach_methods(function, form, operator, recorded)
    return form


def _attach_methods(
    function: Function,
    form: Callable[..., Any],
    operator: Callable[..., Any],
    recorded: Callable[..., Any],
) -> None:
    names = [function.method]
    names += [a for a in function.aliases if "." not in a and not a.startswith("_")]
    for name in names:
        if name not in Tensor.__dict__ or name not in _OWN:
            setattr(Tensor, name, form)
    if function.inplace:
        changed = inplace_view(function, recorded) if function.view else inplace(function)
        for name in names:
            setattr(Tensor, name + "_", changed)
            if "." not in function.name:
                RECORDED.setdefault(name + "_", changed)
        if function.name.startswith("nn.functional."):
            RECORDED[function.name + "_"] = changed
    for name in function.operators:
        setattr(Tensor, name, _operator(function, name, operator, recorded))


def _operator(
    function: Function, name: str, operator: Callable[..., Any], recorded: Callable[..., Any]
) -> Callable[..., Any]:
    if name == "__invert__":
        return _invert(operator)
    if name.startswith("__i") and name not in ("__invert__", "__index__", "__int__"):
        return inplace(function)
    if name.startswith("__r") and name not in ("__round__", "__rshift__", "__repr__"):
        return swapped(function, recorded)
    return operator


def _invert(form: Callable[..., Any]) -> Callable[..., Any]:
    def invert(self: Any) -> Any:
        if self.dtype.category not in ("bool", "int"):
            raise located(
                TypeError(
                    "bitwise_not: ~ (operator.invert) is only implemented on integer and "
                    f"Boolean-type tensors, got {self.dtype}"
                )
            )
        return form(self)

    return invert


def _positional(function: Function) -> int:
    """How many parameters of the function can be given by position and have no default."""
    impl = function.composite.body if function.composite is not None else function.impl
    code = impl.__code__
    if code.co_flags & 0x04:  # *args
        return -1
    return int(code.co_argcount) - len(impl.__defaults__ or ())


_OWN = frozenset(n for n in vars(Methods) if not n.startswith("__"))


def _install() -> None:
    for name, value in vars(Methods).items():
        if name not in ("__module__", "__dict__", "__weakref__", "__doc__", "__qualname__",
                        "__firstlineno__", "__static_attributes__"):  # fmt: skip
            setattr(Tensor, name, value)
    for function in list(FUNCTIONS.values()):
        attach(function)
    listeners.append(attach)
    Tensor.__getitem__ = make_getitem()
    Tensor.__setitem__ = make_setitem()
    for name, dtype in (
        ("float", "float32"), ("double", "float64"), ("half", "float16"), ("long", "int64"),
        ("bfloat16", "bfloat16"), ("int", "int32"), ("short", "int16"), ("char", "int8"),
        ("byte", "uint8"), ("bool", "bool"), ("cfloat", "complex64"), ("cdouble", "complex128"),
    ):  # fmt: skip
        setattr(Tensor, name, cast_method(BY_NAME[dtype]))
    _properties()


def _properties() -> None:
    transpose = RECORDED.get("t")
    permute = RECORDED["permute"]
    detach, real, imag = RECORDED["detach"], RECORDED["real"], RECORDED["imag"]

    def reversed_dims(self: Any) -> Any:
        """The tensor with its dimensions reversed."""
        return permute(self, tuple(range(self.ndim - 1, -1, -1)))

    def matrix_transposed(self: Any) -> Any:
        """The tensor with its last two dimensions swapped. RuntimeError below two dimensions."""
        if self.ndim < 2:
            raise RuntimeError(
                f"tensor.mT is only supported on matrices or batches of matrices. Got {self.ndim}-D"
            )
        n = self.ndim
        return permute(self, (*range(n - 2), n - 1, n - 2))

    def adjoint(self: Any) -> Any:
        """The conjugate of `mT`. RuntimeError below two dimensions."""
        turned = matrix_transposed(self)
        return RECORDED["conj"](turned) if self.is_complex() else turned

    def get_data(self: Any) -> Any:
        made = detach(self)
        made._extra.untracked = True
        return made

    def set_data(self: Any, value: Any) -> None:
        from .methods import replace

        if value.is_meta is not self.is_meta:
            raise located(
                RuntimeError(
                    "Attempted to call `variable.set_data(tensor)`, but `variable` and `tensor` "
                    "have incompatible tensor type."
                )
            )
        replace(self, value.detach())

    def set_real(self: Any, value: Any) -> None:
        self.real.copy_(value)

    def set_imag(self: Any, value: Any) -> None:
        self.imag.copy_(value)

    def grad_fn(self: Any) -> Any:
        meta = self._current_meta()
        if meta.is_leaf or not meta.requires_grad:
            return None
        return GradFn(meta.name)

    def base(self: Any) -> Any:
        if not self._is_view():
            return None
        base = self._extra.base
        face = base._extra.hidden if base._extra is not None else None
        return face() if callable(face) else base

    def version(self: Any) -> int:
        extra = self._extra
        if extra is None:
            return 0
        if extra.untracked:
            return int(extra.silent)
        if extra.base is not None:
            extra = extra.base._ensure_extra()
        return int(extra.version - extra.silent)

    settings: dict[str, Any] = {
        "T": property(reversed_dims), "mT": property(matrix_transposed),
        "H": property(adjoint), "mH": property(adjoint), "data": property(get_data, set_data),
        "grad_fn": property(grad_fn), "_base": property(base), "_version": property(version),
        "real": property(lambda self: real(self) if self.is_complex() else self, set_real),
        "imag": property(imag, set_imag),
        "itemsize": property(lambda self: self.dtype.itemsize),
        "nbytes": property(lambda self: self.numel() * self.dtype.itemsize),
        "is_cuda": property(lambda self: False), "is_cpu": property(lambda self: not self.is_meta),
        "is_sparse": property(lambda self: False), "is_quantized": property(lambda self: False),
        "is_mps": property(lambda self: False),
        "is_nested": property(lambda self: False), "is_xpu": property(lambda self: False),
        "is_mkldnn": property(lambda self: False),
        "retains_grad": property(
            lambda self: not self.is_leaf and self._extra is not None and self._extra.retain
        ),
        "output_nr": property(lambda self: 0), "names": property(lambda self: (None,) * self.ndim),
        "layout": property(lambda self: strided),
    }  # fmt: skip
    for name, value in settings.items():
        setattr(Tensor, name, value)
    Tensor.__array_priority__ = 1000
    del transpose


class Layout:
    """A memory layout; the only one here is strided."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"


strided = Layout("strided")


class GradFn:
    """Stands for the recorded operation that computed a tensor; printed as PyTorch prints it."""

    def __init__(self, operation: str) -> None:
        self.operation = operation

    def name(self) -> str:
        """Name in PyTorch's manner: ``AddBackward0``."""
        if self.operation.endswith("Backward"):
            return self.operation
        words = self.operation.rpartition(".")[2].strip("_").split("_")
        return "".join(w.capitalize() for w in words) + "Backward0"

    def __repr__(self) -> str:
        return f"<{self.name()}>"


_install()

__all__ = ["RECORDED", "GradFn", "attach", "realise", "strided"]
