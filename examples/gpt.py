"""A small GPT on the Python standard library, in one page: `python examples/gpt.py`.

The same job with checkpoints, resuming and curves is `./scripts/train`. Here is only what makes
a language model: the text, the model, the loop, and text drawn from it. In about a minute the
held-out loss falls from 5.81 to 1.95 nats a byte.
"""

import argparse
import math

import numpy as np

import thalweg as torch
from thalweg import nn
from thalweg.app.corpus import load, validation_windows
from thalweg.nn import functional as F

LENGTH = 64


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x):
        B, T, C = x.shape
        parts = self.qkv(self.norm1(x)).view(B, T, 3, self.heads, C // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.mix(y.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, width=96, heads=4, layers=3):
        super().__init__()
        self.token = nn.Embedding(256, width)
        self.place = nn.Parameter(waves(LENGTH, width))
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 256)

    def forward(self, tokens):
        x = self.token(tokens) + self.place[: tokens.shape[1]]
        return self.head(self.norm(self.blocks(x)))

    def loss(self, window):
        scores = self(window[:, :-1])
        return F.cross_entropy(scores.reshape(-1, 256), window[:, 1:].reshape(-1))


def waves(length, width):
    """Positions start as sines of many wavelengths (Vaswani et al. 2017), then are learned."""
    angle = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(0, width, 2) / width)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def write(model, prompt, count):
    random, text = np.random.default_rng(0), list(prompt)
    for _ in range(count):
        seen = text[-LENGTH:]
        row = np.zeros((1, LENGTH), dtype=np.int64)
        row[0, : len(seen)] = seen
        with torch.no_grad():
            chances = F.softmax(model(torch.from_numpy(row)) / 0.7, dim=-1)
        chances = chances.numpy()[0, len(seen) - 1].astype(np.float64)
        text.append(int(random.choice(256, p=chances / chances.sum())))
    return bytes(text).decode("utf-8", errors="replace")


def main(steps=800, batch=16):
    torch.manual_seed(0)
    corpus = load()
    held_out = torch.from_numpy(validation_windows(corpus, LENGTH, 64))
    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=2e-4)
    random = np.random.default_rng(0)
    span = np.arange(LENGTH + 1)

    def validate():
        with torch.no_grad():
            return model.loss(held_out).item()

    first = validate()
    for step in range(1, steps + 1):
        starts = random.integers(len(corpus.train) - LENGTH, size=(batch, 1))
        window = torch.from_numpy(corpus.train[starts + span].astype(np.int64))
        loss = model.loss(window)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        slower.step()
        if step % 50 == 0 or step == steps:
            print(f"step {step:4}  loss {loss.item():.3f}  held out {validate():.3f}", flush=True)
    last = validate()
    print(f"held-out loss {first:.3f} -> {last:.3f} nats a byte", end="")
    print(f" ({last / math.log(2):.2f} bits a byte)\n")
    print(write(model, b"def ", 160))
    return first, last


if __name__ == "__main__":
    # The matrices are small: more threads would cost more than they bring.
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=16)
    main(**vars(parser.parse_args()))
