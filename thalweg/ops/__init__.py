"""Every op of the framework, each in exactly one place.

Importing this package imports every module in it, and so registers every op: a new op needs no
list to be extended.
"""

import pkgutil

from .contract import PRIMITIVES, Declined, Primitive, Sample, primitive
from .function import COMPOSITES, FUNCTIONS, Call, Composite, Function, composite, function
from .link import ops

_NOT_OPS = {"table"}  # documentation of the ops, built from the registry on demand

for _module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    if _module not in _NOT_OPS:
        __import__(f"{__name__}.{_module}")

__all__ = ["COMPOSITES", "FUNCTIONS", "PRIMITIVES", "Call", "Composite", "Declined", "Function",
           "Primitive", "Sample", "composite", "function", "ops", "primitive"]  # fmt: skip
