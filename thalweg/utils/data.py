"""`thalweg.utils.data`: PyTorch's place for the names of `thalweg.data`."""

from thalweg.data import *  # noqa: F403
from thalweg.data import __all__ as __all__
