"""`FloatTensor` and its kin: constructors of one dtype, and what `isinstance` asks for it."""

from __future__ import annotations

from typing import Any

from ..core.dtypes import BY_NAME, DType
from .creation import legacy_constructor
from .tensor import Tensor

NAMES = {
    "FloatTensor": "float32", "DoubleTensor": "float64", "HalfTensor": "float16",
    "BFloat16Tensor": "bfloat16", "LongTensor": "int64", "IntTensor": "int32",
    "ShortTensor": "int16", "CharTensor": "int8", "ByteTensor": "uint8", "BoolTensor": "bool",
}  # fmt: skip


class _Typed(type):
    """Class of the typed constructors: an instance is any tensor of the dtype."""

    dtype: DType

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = legacy_constructor(Tensor, *args, dtype_of_class=cls.dtype, **kwargs)
        return made

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype


def _class(name: str, dtype: DType) -> Any:
    about = f"``{name}(2, 3)``: uninitialised; ``{name}([1, 2])``: data; of dtype {dtype.name}."
    return _Typed(name, (), {"dtype": dtype, "__doc__": about, "__module__": "thalweg"})


TYPES: dict[str, Any] = {name: _class(name, BY_NAME[dtype]) for name, dtype in NAMES.items()}


def set_default_tensor_type(t: Any) -> None:
    """Let Python floats become the dtype of a typed constructor, or of its name."""
    from ..core.dtypes import set_default_dtype

    name = t if isinstance(t, str) else t.__name__
    set_default_dtype(TYPES[name.rpartition(".")[2]].dtype)


def type_name(tensor: Tensor) -> str:
    """``torch.FloatTensor`` and its kin, as `Tensor.type` says it."""
    found = {dtype: name for name, dtype in NAMES.items()}
    return f"torch.{found.get(tensor.dtype.name, tensor.dtype.name)}"


__all__ = ["TYPES", "set_default_tensor_type", "type_name"]
