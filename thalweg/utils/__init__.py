"""`thalweg.utils`: PyTorch's place for helpers that other packages define."""

from thalweg.utils import checkpoint, data, pytree

__all__ = ["checkpoint", "data", "pytree"]
