"""Every op of the framework, each in exactly one place.

Importing this package imports every module in it, and so registers every op: a new op needs no
list to be extended.
"""

import os

from .contract import PRIMITIVES, Declined, Primitive, Sample, primitive
from .function import COMPOSITES, FUNCTIONS, Call, Composite, Function, composite, function
from .link import ops

_NOT_OPS = {"table"}  # documentation of the ops, built from the registry on demand

for _module in sorted(name.removesuffix(".py") for name in os.listdir(__path__[0])):
    if _module.isidentifier() and not _module.startswith("__") and _module not in _NOT_OPS:
        __import__(f"{__name__}.{_module}")

__all__ = ["COMPOSITES", "FUNCTIONS", "PRIMITIVES", "Call", "Composite", "Declined", "Function",
           "Primitive", "Sample", "composite", "function", "ops", "primitive"]  # fmt: skip
