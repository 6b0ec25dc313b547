"""TensorFlow-1 style define-and-run over the same graph: ``import thalweg.tensorflow as tf``.

A program first builds symbolic tensors, then runs chosen ones in a `Session` with values fed for
the placeholders. Shapes need not be known before they are fed: a run is specialised to the types
of its feeds and cached, and the compiled graph is the one the other front doors produce.
"""

from . import nn, train
from .functions import *  # noqa: F403
from .functions import __all__ as _functions
from .session import InteractiveSession, Session, get_default_session, graph_text
from .symbols import (
    FeedError,
    Symbol,
    Variable,
    assign,
    bool,
    complex64,
    complex128,
    constant,
    convert_to_tensor,
    device,
    float16,
    float32,
    float64,
    global_variables_initializer,
    gradients,
    group,
    int32,
    int64,
    placeholder,
    reset_default_graph,
    uint8,
)

Tensor = Symbol

__all__ = [*_functions, "FeedError", "InteractiveSession", "Session", "Symbol", "Tensor",
           "Variable", "assign", "bool", "complex64", "complex128", "constant",
           "convert_to_tensor", "device", "float16", "float32", "float64", "get_default_session",
           "global_variables_initializer", "gradients", "graph_text", "group", "int32", "int64",
           "nn", "placeholder", "reset_default_graph", "train", "uint8"]  # fmt: skip
