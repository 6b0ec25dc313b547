"""Models as people write them, importing torch: test_models runs them under both engines."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Attention(nn.Module):
    def __init__(self, width, heads, length):
        super().__init__()
        self.heads = heads
        self.joint = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        mask = torch.tril(torch.ones(length, length)).view(1, 1, length, length)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        batch, length, width = x.size()
        q, k, v = self.joint(x).split(width, dim=2)
        q, k, v = (
            t.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for t in (q, k, v)
        )
        scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        scores = scores.masked_fill(self.mask[:, :, :length, :length] == 0, float("-inf"))
        mixed = F.softmax(scores, dim=-1) @ v
        return self.out(mixed.transpose(1, 2).contiguous().view(batch, length, width))


class LanguageModel(nn.Module):
    """Decoder-only transformer with tied embeddings."""

    def __init__(self, words=17, width=16, heads=4, layers=2, length=8):
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.places = nn.Parameter(torch.zeros(1, length, width))
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "a": nn.LayerNorm(width),
                    "attention": Attention(width, heads, length),
                    "b": nn.LayerNorm(width),
                    "mlp": nn.Sequential(
                        nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
                    ),
                }
            )
            for _ in range(layers)
        )  # fmt: skip
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight
        self.apply(self._init)

    def _init(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(mean=0.0, std=0.3)

    def forward(self, tokens, targets):
        x = self.words(tokens) + self.places[:, : tokens.size(1)]
        for block in self.blocks:
            x = x + block["attention"](block["a"](x))
            x = x + block["mlp"](block["b"](x))
        logits = self.head(x)
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


class Classifier(nn.Module):
    """Residual convolutional network with squeeze and excitation."""

    def __init__(self, classes=5):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU()
        )
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm = nn.GroupNorm(2, 8)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 8, 1),
            nn.Sigmoid(),
        )  # fmt: skip
        self.head = nn.Linear(8, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image, target):
        x = self.stem(image)
        x = x + self.gate(x) * F.relu(self.norm(self.depthwise(x)))
        x = F.interpolate(F.max_pool2d(x, 2), scale_factor=2, mode="bilinear", align_corners=False)
        x = torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1)
        return F.cross_entropy(self.head(x), target, label_smoothing=0.1)


class Recurrent(nn.Module):
    """Bidirectional LSTM over sequences of several lengths, after a weight-normalised filter."""

    def __init__(self, features=6, hidden=5):
        super().__init__()
        self.filter = weight_norm(nn.Conv1d(features, features, 3, padding=1))
        self.rnn = nn.LSTM(features, hidden, 2, batch_first=True, bidirectional=True)
        self.score = nn.Linear(2 * hidden, 1)

    def forward(self, x, lengths):
        x = torch.tanh(self.filter(x.transpose(1, 2))).transpose(1, 2)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        states, (hidden, _) = self.rnn(packed)
        states, _ = pad_packed_sequence(states, batch_first=True)
        weights = torch.softmax(self.score(states).squeeze(-1), dim=-1)
        pooled = torch.einsum("bt,btf->bf", weights, states)
        return (pooled**2).mean() + hidden[-1].abs().sum()


class Autoencoder(nn.Module):
    """Variational autoencoder with a quantising straight-through step."""

    def __init__(self, size=8, latent=3):
        super().__init__()
        self.encode = nn.Linear(size, 2 * latent)
        self.decode = nn.Sequential(
            nn.Linear(latent, size), nn.LeakyReLU(0.2), nn.Linear(size, size)
        )

    def forward(self, x, noise):
        mean, spread = self.encode(x).chunk(2, dim=-1)
        z = mean + noise * torch.exp(0.5 * spread)
        z = z + (z.round() - z).detach()
        fit = F.mse_loss(self.decode(z), x, reduction="none").sum(-1).mean()
        return fit - 0.5 * torch.mean(1 + spread - mean.pow(2) - spread.exp())
