"""Optimizers and learning-rate schedules under PyTorch's names."""

from . import lr_scheduler, swa_utils
from .adam import Adam, AdamW
from .lbfgs import LBFGS
from .more import ASGD, Adadelta, Adamax, NAdam, RAdam, Rprop
from .optimizer import Optimizer
from .other import Adagrad, Lion, RMSprop
from .sgd import SGD

__all__ = [
    "ASGD", "LBFGS", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "NAdam",
    "Optimizer", "RAdam", "RMSprop", "Rprop", "lr_scheduler", "swa_utils",
]  # fmt: skip
