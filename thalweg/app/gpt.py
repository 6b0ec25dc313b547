"""A byte-level GPT (Radford et al. 2019) with rotary positions (Su et al. 2021), and its text.

Written with PyTorch's names only: change the import line and it runs there too. Shapes in
names: B batch, T time, C width, H heads, D width of a head, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import thalweg as torch
from thalweg import Tensor, nn
from thalweg.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Everything that fixes the model's parameters."""

    layers: int
    width: int
    heads: int
    length: int = 128
    vocabulary: int = 256
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} does not divide into {self.heads} even heads")


SIZES: dict[str, tuple[int, int, int]] = {
    "tiny": (2, 64, 2),
    "small": (4, 128, 4),
    "medium": (6, 256, 8),
}


def rotation(length: int, width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each `(length, width / 2)`, that turn pairs of a head's features by an
    angle growing with position, so that a product of two depends on their distance only."""
    speed = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    angle = torch.arange(length, dtype=torch.float32)[:, None] * speed[None, :]
    return angle.cos(), angle.sin()


class Attention(nn.Module):
    """Causal multi-head self-attention, `(B, T, C)` to `(B, T, C)`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.project = nn.Linear(shape.width, shape.width)
        cos, sin = rotation(shape.length, shape.width // shape.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        B, T, C = x_BTC.shape
        split = self.qkv(x_BTC).view(B, T, 3, self.heads, C // self.heads)
        q_BHTD, k_BHTD, v_BHTD = split.permute(2, 0, 3, 1, 4).unbind(0)
        q_BHTD, k_BHTD = self._turn(q_BHTD), self._turn(k_BHTD)
        y_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, is_causal=True)
        return self.project(y_BHTD.transpose(1, 2).reshape(B, T, C))

    def _turn(self, x_BHTD: Tensor) -> Tensor:
        T = x_BHTD.shape[2]
        cos, sin = self.cos[:T], self.sin[:T]
        a, b = x_BHTD.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Block(nn.Module):
    """One layer: attention, then two linear maps, each added to the residual stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width)
        self.attention = Attention(shape)
        self.norm2 = nn.LayerNorm(shape.width)
        self.expand = nn.Linear(shape.width, 4 * shape.width)
        self.project = nn.Linear(4 * shape.width, shape.width)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x_BTC: Tensor) -> Tensor:
        x_BTC = x_BTC + self.dropout(self.attention(self.norm1(x_BTC)))
        hidden = F.gelu(self.expand(self.norm2(x_BTC)))
        return x_BTC + self.dropout(self.project(hidden))


class GPT(nn.Module):
    """`(B, T)` bytes to `(B, T, V)` scores of the byte that follows; `T` at most `length`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token = nn.Embedding(shape.vocabulary, shape.width)
        self.dropout = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList([Block(shape) for _ in range(shape.layers)])
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        self.head.weight = self.token.weight
        self._initialise()

    def _initialise(self) -> None:
        """Scaled by fan-in; what is added to the residual stream starts smaller as layers grow."""
        depth = math.sqrt(2 * self.shape.layers)
        for name, parameter in self.named_parameters():
            if name == "token.weight":
                nn.init.normal_(parameter, 0.0, 0.05)
            elif parameter.dim() == 2:
                scale = 1 / math.sqrt(parameter.shape[1])
                added = name.endswith("project.weight")
                nn.init.normal_(parameter, 0.0, scale / depth if added else scale)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        T = tokens_BT.shape[1]
        if self.shape.length < T:
            raise ValueError(f"expected at most {self.shape.length} bytes a row, given {T}")
        x_BTC = self.dropout(self.token(tokens_BT))
        for block in self.blocks:
            x_BTC = block(x_BTC)
        return self.head(self.norm(x_BTC))

    def loss(self, window_BT: Tensor) -> Tensor:
        """Mean cross entropy in nats a byte, of windows one byte longer than the inputs."""
        scores_BTV = self(window_BT[:, :-1])
        V = self.shape.vocabulary
        return F.cross_entropy(scores_BTV.reshape(-1, V), window_BT[:, 1:].reshape(-1))


def generate(
    model: GPT,
    prompt: bytes,
    count: int,
    *,
    seed: int = 0,
    temperature: float = 0.8,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[int]:
    """Yield up to `count` bytes that continue `prompt`, until `stop()`.

    The draw has its own generator, so sampling does not disturb the numbers of a training run.
    Rows are padded to one fixed length (causal attention cannot see the padding), which keeps
    every call the same program.
    """
    if not prompt:
        raise ValueError("expected a prompt of at least one byte")
    if temperature <= 0:
        raise ValueError(f"expected a temperature above 0, given {temperature}")
    length = model.shape.length
    random = np.random.default_rng(seed)
    text = list(prompt)
    was_training = model.training
    model.eval()
    try:
        for _ in range(count):
            if stop():
                return
            seen = text[-length:]
            row = np.zeros((1, length), dtype=np.int64)
            row[0, : len(seen)] = seen
            with torch.no_grad():
                scores = model(torch.from_numpy(row)).numpy()[0, len(seen) - 1]
            scores = scores.astype(np.float64) / temperature
            chances = np.exp(scores - scores.max())
            byte = int(random.choice(len(chances), p=chances / chances.sum()))
            text.append(byte)
            yield byte
    finally:
        model.train(was_training)


def printable(text: bytes) -> str:
    """Bytes as text that is safe in a terminal: what cannot be shown becomes a middle dot."""
    decoded = text.decode("utf-8", errors="replace").replace("\ufffd", "·")
    return "".join(c if c.isprintable() or c == "\n" else "·" for c in decoded.expandtabs(4))
