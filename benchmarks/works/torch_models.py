"""The models, in PyTorch's words: ``lib`` is torch or thalweg."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from . import Bert, Gpt, Lstm


def gpt(lib: Any, size: Gpt) -> Any:
    """Pre-norm transformer decoder with learned positions and tied embeddings (GPT-2)."""
    nn, F = lib.nn, lib.nn.functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(size.width), nn.LayerNorm(size.width)
            self.qkv = nn.Linear(size.width, 3 * size.width)
            self.out = nn.Linear(size.width, size.width)
            self.up = nn.Linear(size.width, 4 * size.width)
            self.down = nn.Linear(4 * size.width, size.width)

        def forward(self, x: Any) -> Any:
            batch, length, width = x.shape
            q, k, v = self.qkv(self.norm1(x)).split(width, dim=2)
            heads = (batch, length, size.heads, width // size.heads)
            q, k, v = (t.view(*heads).transpose(1, 2) for t in (q, k, v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Embedding(size.vocabulary, size.width)
            self.position = nn.Embedding(size.length, size.width)
            self.blocks = nn.ModuleList([Block() for _ in range(size.layers)])
            self.norm = nn.LayerNorm(size.width)
            self.head = nn.Linear(size.width, size.vocabulary, bias=False)
            self.head.weight = self.token.weight
            for table in (self.token, self.position):
                nn.init.normal_(table.weight, std=0.02)

        def forward(self, tokens: Any) -> Any:
            places = lib.arange(tokens.shape[1])
            x = self.token(tokens) + self.position(places)
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    return Model()


def lstm(lib: Any, size: Lstm) -> Any:
    """The word-level language model of Zaremba et al. 2014, without dropout."""
    nn = lib.nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Embedding(size.vocabulary, size.width)
            self.lstm = nn.LSTM(size.width, size.width, size.layers)
            self.head = nn.Linear(size.width, size.vocabulary)

        def forward(self, tokens: Any) -> Any:
            return self.head(self.lstm(self.token(tokens))[0])

    return Model()


def mlp(lib: Any, widths: tuple[int, ...]) -> Any:
    nn = lib.nn
    layers: list[Any] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def alexnet(lib: Any) -> Any:
    """The one-tower AlexNet of "One weird trick" (Krizhevsky 2014), without dropout."""
    nn = lib.nn
    features = nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    classify = (
        nn.Linear(256 * 36, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, 1000),
    )  # fmt: skip
    return nn.Sequential(features, nn.Flatten(), *classify)


def resnet50(lib: Any) -> Any:
    """ResNet-50 with the stride in the 3x3 convolution (He et al. 2015, as commonly trained)."""
    nn = lib.nn

    class Bottleneck(nn.Module):
        def __init__(self, before: int, width: int, stride: int) -> None:
            super().__init__()
            after = 4 * width
            self.conv1 = nn.Conv2d(before, width, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3 = nn.Conv2d(width, after, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(after)
            self.relu = nn.ReLU()
            self.shortcut = nn.Identity()
            if stride != 1 or before != after:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
                )

        def forward(self, x: Any) -> Any:
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.relu(self.bn2(self.conv2(y)))
            return self.relu(self.bn3(self.conv3(y)) + self.shortcut(x))

    layers: list[Any] = [
        nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
    ]  # fmt: skip
    channels = 64
    for stage, count in enumerate((3, 4, 6, 3)):
        for i in range(count):
            width = 64 << stage
            layers.append(Bottleneck(channels, width, 2 if i == 0 and stage else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def bert(lib: Any, size: Bert) -> Any:
    """Post-norm transformer encoder on embedded tokens (Devlin et al. 2018)."""
    nn, F = lib.nn, lib.nn.functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.out = (
                nn.Linear(size.width, size.width) for _ in range(4)
            )  # fmt: skip
            self.up = nn.Linear(size.width, 4 * size.width)
            self.down = nn.Linear(4 * size.width, size.width)
            self.norm1, self.norm2 = nn.LayerNorm(size.width), nn.LayerNorm(size.width)

        def forward(self, x: Any) -> Any:
            batch, length, width = x.shape
            heads = (batch, length, size.heads, width // size.heads)
            q, k, v = (m(x).view(*heads).transpose(1, 2) for m in (self.q, self.k, self.v))
            y = F.scaled_dot_product_attention(q, k, v)
            x = self.norm1(x + self.out(y.transpose(1, 2).reshape(batch, length, width)))
            return self.norm2(x + self.down(F.gelu(self.up(x))))

    return nn.Sequential(*[Block() for _ in range(size.layers)])
