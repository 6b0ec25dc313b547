"""The main job: train a byte-level GPT on the standard library's source text.

A run is a pure function of its `Config`: all that changes from step to step (weights, optimizer,
learning rate, place in the data, random state, best loss) is in `Trainer.state()`, so a run
stopped anywhere and resumed makes the same numbers, bit for bit, as one that was never stopped.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np

import thalweg as torch
from thalweg import Tensor, nn
from thalweg.app.corpus import Corpus, Windows, validation_windows
from thalweg.app.gpt import GPT, SIZES, Shape
from thalweg.app.options import Config
from thalweg.utils.data import DataLoader

VALIDATION_WINDOWS = 64
WARM_UP = 0.05


def schedule(step: int, steps: int) -> float:
    """Share of the highest learning rate: linear warm-up, then cosine down to a tenth
    (Loshchilov and Hutter 2017)."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    done = min(1.0, (step - warm) / (steps - warm)) if steps > warm else 1.0
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


class Trainer:
    """Model, optimizer, schedule and data of one run, and the step that moves them all."""

    def __init__(self, config: Config, corpus: Corpus) -> None:
        self.config = config
        self.step = 0
        self.first_val: float | None = None
        self.last_val: float | None = None
        self.best_val: float | None = None
        torch.manual_seed(config.seed)
        layers, width, heads = SIZES[config.size]
        shape = Shape(layers, width, heads, length=config.seq, dropout=config.dropout)
        self.model = GPT(shape)
        self.optimizer = torch.optim.AdamW(self._groups(), lr=config.lr, betas=(0.9, 0.95))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: schedule(step, config.steps)
        )
        order = torch.Generator()
        order.manual_seed(config.seed)
        windows = Windows(corpus.train, config.seq)
        self.loader = DataLoader(
            windows, batch_size=config.batch, shuffle=True, drop_last=True, generator=order
        )
        if len(windows) < config.batch:
            raise ValueError(f"a batch of {config.batch} windows needs more than {len(windows)}")
        self.held_out = validation_windows(corpus, config.seq, VALIDATION_WINDOWS)
        self._batches = self._endless()

    @property
    def tokens_a_step(self) -> int:
        return self.config.batch * self.config.seq

    @property
    def learning_rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def train_step(self) -> Tensor:
        """One optimizer step. Returns the loss unread, so that the next step can be recorded
        while this one runs."""
        window_BT = next(self._batches)
        loss = self.model.loss(window_BT)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.scheduler.step()
        self.step += 1
        return loss.detach()

    def validate(self) -> bool:
        """Measure the held-out loss (nats a byte); True if it is the lowest so far."""
        total = 0.0
        self.model.eval()
        with torch.no_grad():
            for start in range(0, len(self.held_out), self.config.batch):
                rows = self.held_out[start : start + self.config.batch]
                loss = self.model.loss(torch.from_numpy(np.ascontiguousarray(rows)))
                total += float(loss.item()) * len(rows)
        self.model.train()
        self.last_val = total / len(self.held_out)
        if self.first_val is None:
            self.first_val = self.last_val
        best = self.best_val is None or self.last_val < self.best_val
        if best:
            self.best_val = self.last_val
        return best

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "first_val": self.first_val,
            "last_val": self.last_val,
            "best_val": self.best_val,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "loader": self.loader.state_dict(),
            "rng": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.first_val = state["first_val"]
        self.last_val = state["last_val"]
        self.best_val = state["best_val"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        # With another number of steps the schedule takes its new shape from here on.
        rate = self.config.lr * schedule(self.step, self.config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.loader.load_state_dict(state["loader"])
        self._batches = self._endless()
        torch.set_rng_state(state["rng"])

    def _groups(self) -> list[dict[str, Any]]:
        """Weight decay pulls matrices to zero; biases and norms are left alone."""
        parameters = list(self.model.parameters())
        matrices = [p for p in parameters if p.dim() >= 2]
        others = [p for p in parameters if p.dim() < 2]
        return [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]

    def _endless(self) -> Iterator[Tensor]:
        while True:
            yield from self.loader


class StopRequest:
    """Turns the first Ctrl-C (or SIGTERM) into a wish to stop at the end of the current step.

    A second one interrupts at once; checkpoints are replaced atomically, so the one on disk
    stays whole.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
