"""The tensor layer: recording, views and in-place operations, autograd."""

from . import (
    attach,
    foreach,
    functional_inplace,
    functional_native,
    functional_reading,
    hits,
    memory,
    printing,
)
from .parameter import Parameter
from .tensor import Tensor

__all__ = ["Parameter", "Tensor", "attach", "functional_inplace", "functional_native",
           "functional_reading", "hits", "printing"]  # fmt: skip
