"""`torch.func`: derivatives and vectorization as functions of functions, composable at will.

Each transformation traces the function given into a graph (see `thalweg.tensor.capture`), applies a
pass to it, and records the result like any other operation. So transformations nest, what they
return can be differentiated with ``backward()`` too, and calling one again infers nothing anew. The
functions must be free of side effects, and cannot read the values of what they compute.
"""

from .gradients import grad, grad_and_value, jvp, vjp
from .jacobians import hessian, jacfwd, jacrev
from .modules import functional_call, stack_module_state
from .vectorize import vmap

__all__ = ["functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp",
           "stack_module_state", "vjp", "vmap"]  # fmt: skip
