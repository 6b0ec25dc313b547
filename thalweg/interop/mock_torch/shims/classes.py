"""`torch.classes`: classes of compiled libraries, of which none can be loaded."""

from .ops import load_library

loaded_libraries: set[str] = set()

__all__ = ["load_library", "loaded_libraries"]
