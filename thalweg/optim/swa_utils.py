"""Averages of weights: stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407) and
exponential moving averages."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

from ..nn.module import Module
from ..nn.normalization import _BatchNorm
from ..tensor import Tensor
from ..tensor.creation import tensor
from ..tensor.modes import no_grad
from .lr_scheduler import LRScheduler
from .optimizer import Optimizer

Average = Callable[[Tensor, Tensor, Any], Tensor]
Averages = Callable[[list[Tensor], list[Tensor], Any], None]


def get_swa_avg_fn() -> Average:
    """The mean of all weights so far."""

    def average(averaged: Tensor, current: Tensor, count: Any) -> Tensor:
        return averaged + (current - averaged) / (count + 1)

    return average


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """The mean with weights that fall by ``decay`` a step. ValueError outside [0, 1]."""
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1].")

    def average(averaged: Tensor, current: Tensor, count: Any) -> Tensor:
        return decay * averaged + (1 - decay) * current

    return average


def _several(average: Average) -> Averages:
    def averages(averaged: list[Tensor], current: list[Tensor], count: Any) -> None:
        with no_grad():
            for old, new in zip(averaged, current):
                old.copy_(average(old, new, count) if old.dtype.is_floating_point else new)

    return averages


def get_swa_multi_avg_fn() -> Averages:
    """`get_swa_avg_fn` on lists of tensors, in place."""
    return _several(get_swa_avg_fn())


def get_ema_multi_avg_fn(decay: float = 0.999) -> Averages:
    """`get_ema_avg_fn` on lists of tensors, in place."""
    return _several(get_ema_avg_fn(decay))


class AveragedModel(Module):
    """A copy of a model, whose parameters become averages of those given to `update_parameters`;
    with ``use_buffers`` its buffers too (else they are copied)."""

    def __init__(
        self, model: Module, device: Any = None, avg_fn: Average | None = None,
        multi_avg_fn: Averages | None = None, use_buffers: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", tensor(0))
        one = get_swa_avg_fn() if avg_fn is None else avg_fn
        self.__dict__["average"] = _several(one) if multi_avg_fn is None else multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the weights of ``model`` into the average."""
        pairs = (self.module, model)
        if self.use_buffers:
            mine, theirs = (list(itertools.chain(m.parameters(), m.buffers())) for m in pairs)
        else:
            mine, theirs = (list(m.parameters()) for m in pairs)
        mine, theirs = [p.detach() for p in mine], [p.detach() for p in theirs]
        if int(self.n_averaged) == 0:
            for old, new in zip(mine, theirs):
                old.copy_(new)
        else:
            self.__dict__["average"](mine, theirs, self.n_averaged)
        if not self.use_buffers:
            for old, new in zip(self.module.buffers(), model.buffers()):
                old.detach().copy_(new.detach())
        self.n_averaged += 1


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of the model's batch norms anew, over the loader's batches
    (whose first items are the inputs where they are tuples or lists)."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        return
    momenta = [m.momentum for m in norms]
    training = model.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    with no_grad():
        for batch in loader:
            inputs = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(inputs if device is None else inputs.to(device))
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    model.train(training)


class SWALR(LRScheduler):
    """Moves the rates to ``swa_lr`` within ``anneal_epochs`` (by a cosine or a line) and stays."""

    def __init__(
        self, optimizer: Optimizer, swa_lr: Any, anneal_epochs: int = 10,
        anneal_strategy: str = "cos", last_epoch: int = -1,
    ) -> None:  # fmt: skip
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        groups = optimizer.param_groups
        rates = list(swa_lr) if isinstance(swa_lr, (list, tuple)) else [swa_lr] * len(groups)
        if len(rates) != len(groups):
            raise ValueError(f"swa_lr has {len(rates)} rates for {len(groups)} parameter groups")
        for rate, group in zip(rates, groups):
            group["swa_lr"] = rate
        self._strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, epoch: int) -> float:
        """How far the rates have come, from 0 to 1."""
        t = max(0.0, min(1.0, epoch / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * t)) / 2 if self._strategy == "cos" else t

    def get_lr(self) -> list[Any]:
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            goal, lr = group["swa_lr"], group["lr"]
            start = goal if before == 1 else (lr - before * goal) / (1 - before)
            rates.append(goal * now + start * (1 - now))
        return rates


__all__ = ["SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn",
           "get_swa_multi_avg_fn", "update_bn"]  # fmt: skip
