"""An LSTM language model on the Python standard library: `python examples/lstm_lm.py`.

Reads the text as parallel streams and carries each stream's state from one stretch to the next
(truncated backpropagation through time, Williams and Peng 1990). In about a minute the held-out
loss falls from 5.54 to about 1.9 nats a byte.
"""

import argparse
import math

import numpy as np

import thalweg as torch
from thalweg import nn
from thalweg.app.corpus import load
from thalweg.nn import functional as F


class Model(nn.Module):
    def __init__(self, width=128, layers=1):
        super().__init__()
        self.token = nn.Embedding(256, width)
        self.lstm = nn.LSTM(width, 2 * width, layers, batch_first=True)
        self.head = nn.Linear(2 * width, 256)

    def forward(self, tokens, state=None):
        hidden, state = self.lstm(self.token(tokens), state)
        return self.head(hidden), state


def streams(text, count):
    """The text cut into `count` rows read side by side."""
    length = len(text) // count
    return text[: count * length].reshape(count, length).astype(np.int64)


def stretches(rows, length):
    """Inputs and targets of `length` bytes, from the start of the rows to their end, for ever."""
    while True:
        for start in range(0, rows.shape[1] - length, length):
            window = torch.from_numpy(rows[:, start : start + length + 1].copy())
            yield start == 0, window[:, :-1], window[:, 1:]


def cross_entropy(scores, targets):
    return F.cross_entropy(scores.reshape(-1, 256), targets.reshape(-1))


def measure(model, rows, length, count=8):
    """Mean loss over the first `count` stretches, state carried along."""
    state, total, source = None, 0.0, stretches(rows, length)
    with torch.no_grad():
        for _ in range(count):
            _, inputs, targets = next(source)
            scores, state = model(inputs, state)
            total += cross_entropy(scores, targets).item()
    return total / count


def write(model, prompt, count):
    random, text, state = np.random.default_rng(0), list(prompt), None
    with torch.no_grad():
        for byte in prompt:
            scores, state = model(torch.tensor([[byte]]), state)
        for _ in range(count):
            chances = F.softmax(scores[0, 0] / 0.7, dim=-1).numpy().astype(np.float64)
            text.append(int(random.choice(256, p=chances / chances.sum())))
            scores, state = model(torch.tensor([[text[-1]]]), state)
    return bytes(text).decode("utf-8", errors="replace")


def main(steps=600, batch=16, length=48):
    torch.manual_seed(0)
    corpus = load()
    train, held_out = streams(corpus.train, batch), streams(corpus.validation, batch)
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=4e-4)
    first, state = measure(model, held_out, length), None
    source = stretches(train, length)
    for step in range(1, steps + 1):
        begins, inputs, targets = next(source)
        # The state's value goes on to the next stretch, its gradient does not.
        state = None if begins else tuple(part.detach() for part in state)
        scores, state = model(inputs, state)
        loss = cross_entropy(scores, targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        slower.step()
        if step % 50 == 0 or step == steps:
            reached = measure(model, held_out, length)
            print(f"step {step:4}  loss {loss.item():.3f}  held out {reached:.3f}", flush=True)
    last = measure(model, held_out, length)
    print(f"held-out loss {first:.3f} -> {last:.3f} nats a byte", end="")
    print(f" ({last / math.log(2):.2f} bits a byte)\n")
    print(write(model, b"def ", 160))
    return first, last


if __name__ == "__main__":
    # The matrices are small: more threads would cost more than they bring.
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=48)
    main(**vars(parser.parse_args()))
