"""PyTorch's `.pt` and `.pth` files, read without executing anything in them, and written.

Such a file is a pickle of a nest of containers, whose tensors point into storages kept beside it.
Reading goes through an unpickler that knows a fixed list of constructors (`rebuild`) and refuses
every other name; writing emits what ``torch.load(weights_only=True)`` accepts.
"""

from .reader import is_torch_file, read
from .rebuild import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals
from .writer import write

__all__ = ["add_safe_globals", "clear_safe_globals", "get_safe_globals", "is_torch_file", "read",
           "safe_globals", "write"]  # fmt: skip
