"""Training steps whose host time is measured: one program for thalweg and PyTorch each.

The structure is that of the real models; the widths are tiny, so that arithmetic costs next to
nothing and what is left is the price of the framework.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Step = Callable[[], Any]


def _floats(lib: Any, *shape: int) -> Any:
    return lib.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def _integers(lib: Any, below: int, *shape: int) -> Any:
    return lib.from_numpy(np.random.default_rng(1).integers(0, below, shape))


def _trainer(lib: Any, model: Any, loss: Callable[[], Any], optimizer: Any) -> Step:
    def step() -> Any:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value

    return step


def mlp(lib: Any) -> Step:
    """Three layers, batch 64, SGD with momentum."""
    nn = lib.nn
    model = nn.Sequential(
        nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 10)
    )
    x, y = _floats(lib, 64, 16), _integers(lib, 10, 64)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return _trainer(lib, model, lambda: nn.functional.cross_entropy(model(x), y), optimizer)


def gpt(lib: Any, layers: int = 6, heads: int = 2, width: int = 16, length: int = 8) -> Step:
    """A decoder-only transformer of six layers, AdamW."""
    nn, F = lib.nn, lib.nn.functional

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv = nn.Linear(width, 3 * width)
            self.proj = nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            b, t, c = x.size()
            q, k, v = self.qkv(self.norm1(x)).split(c, dim=2)
            q = q.view(b, t, heads, c // heads).transpose(1, 2)
            k = k.view(b, t, heads, c // heads).transpose(1, 2)
            v = v.view(b, t, heads, c // heads).transpose(1, 2)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(y.transpose(1, 2).contiguous().view(b, t, c))
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    class Model(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(32, width), nn.Embedding(length, width)
            self.blocks = nn.ModuleList([Block() for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 32, bias=False)

        def forward(self, ids: Any) -> Any:
            x = self.tokens(ids) + self.places(lib.arange(ids.shape[1]))
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    model = Model()
    ids, targets = _integers(lib, 32, 2, length), _integers(lib, 32, 2, length)
    optimizer = lib.optim.AdamW(model.parameters(), lr=1e-3)

    def loss() -> Any:
        return F.cross_entropy(model(ids).view(-1, 32), targets.view(-1))

    return _trainer(lib, model, loss, optimizer)


def lstm(lib: Any, width: int = 16, length: int = 35) -> Step:
    """A language model of two LSTM layers, 35 steps, gradient clipping, SGD."""
    nn, F = lib.nn, lib.nn.functional

    class Model(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.lstm = nn.Embedding(32, width), nn.LSTM(width, width, 2)
            self.head = nn.Linear(width, 32)

        def forward(self, ids: Any) -> Any:
            return self.head(self.lstm(self.embed(ids))[0])

    model = Model()
    ids, targets = _integers(lib, 32, length, 4), _integers(lib, 32, length, 4)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1)

    def step() -> Any:
        optimizer.zero_grad()
        value = F.cross_entropy(model(ids).view(-1, 32), targets.view(-1))
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return value

    return step


def resnet50(lib: Any, base: int = 4) -> Step:
    """ResNet-50 with a sixteenth of the channels on images of 32x32, SGD with momentum."""
    nn, F = lib.nn, lib.nn.functional

    class Bottleneck(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inner: int, planes: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inner, planes, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
            self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(4 * planes)
            self.relu = nn.ReLU(inplace=True)
            self.downsample = None
            if stride != 1 or inner != 4 * planes:
                self.downsample = nn.Sequential(
                    nn.Conv2d(inner, 4 * planes, 1, stride, bias=False),
                    nn.BatchNorm2d(4 * planes),
                )

        def forward(self, x: Any) -> Any:
            out = self.relu(self.bn1(self.conv1(x)))
            out = self.relu(self.bn2(self.conv2(out)))
            out = self.bn3(self.conv3(out))
            if self.downsample is not None:
                x = self.downsample(x)
            out += x
            return self.relu(out)

    stem = [
        nn.Conv2d(3, base, 7, 2, 3, bias=False), nn.BatchNorm2d(base), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip
    blocks, inner = [], base
    for stage, count in enumerate((3, 4, 6, 3)):
        planes = base << stage
        for i in range(count):
            blocks.append(Bottleneck(inner, planes, 2 if i == 0 and stage else 1))
            inner = 4 * planes
    model = nn.Sequential(
        *stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(inner, 10)
    )
    x, y = _floats(lib, 2, 3, 32, 32), _integers(lib, 10, 2)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    return _trainer(lib, model, lambda: F.cross_entropy(model(x), y), optimizer)


MODELS: dict[str, Callable[[Any], Step]] = {
    "MLP b64": mlp, "GPT, 6 layers": gpt, "LSTM, 2 layers": lstm, "ResNet-50": resnet50,
}  # fmt: skip
