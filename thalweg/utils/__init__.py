"""`thalweg.utils`: PyTorch's place for helpers that other packages define."""

from thalweg.utils import data

__all__ = ["data"]
