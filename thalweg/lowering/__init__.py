"""From nodes of the optimised graph to kernels: loop nests, template calls, or host steps.

`lower_node` is the one door. Its answer for a node is

- a `loops.Kernel`, whose parameters are the node's operands, its results, then workspaces (each
  buffer is flat: the elements of the value in row-major order). Every loop at the top of its body
  is a launch; launches run one after another. The outer loops are ``parallel``, the innermost runs
  in vectors; where a ``vector`` loop holds a serial one, its iterations are the lanes and the
  serial loop's registers are one vector each;
- an `AnchorCall`, to be made a kernel by the template that it names;
- None: the node runs on the host, by its reference.
"""

from .lower import lower_node

__all__ = ["lower_node"]
