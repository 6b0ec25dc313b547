"""An audio codec, attention on a graph and a scanned state space, in PyTorch's rarer spellings:
test_models runs them under both engines."""

import torch
import torch.nn.functional as F
from torch import nn


class Snake(nn.Module):
    """x + sin²(ax)/a, with a for each channel."""

    def __init__(self, channels):
        super().__init__()
        self.register_parameter("alpha", nn.Parameter(torch.ones(channels).unsqueeze(-1)))

    def forward(self, x):
        return torch.addcdiv(x, (self.alpha * x).sin_().square_(), self.alpha + 1e-9)


class Codebooks(nn.Module):
    """Quantises residuals in turn, each with its own book; gradients go straight through."""

    def __init__(self, books, words, width):
        super().__init__()
        self.books = nn.ParameterList(nn.Parameter(torch.randn(words, width)) for _ in range(books))
        self.register_buffer("used", torch.zeros(books, words, dtype=torch.long))

    def forward(self, x):
        rest, chosen, commitment = x, torch.zeros_like(x), x.new_zeros(())
        for number, book in enumerate(self.books):
            codes = torch.cdist(rest, book[None]).argmin(dim=-1)
            self.used[number].scatter_add_(0, codes.flatten(), torch.ones_like(codes).flatten())
            word = F.embedding(codes, book)
            commitment += F.mse_loss(rest.detach(), word) + 0.25 * F.mse_loss(rest, word.detach())
            chosen = chosen + rest + (word - rest).detach()
            rest = rest - word.detach()
        return chosen, commitment


class AudioCodec(nn.Module):
    """Strided and dilated causal convolutions, residual quantisation, and a spectral loss."""

    def __init__(self, width=6):
        super().__init__()
        parametrised = torch.nn.utils.parametrizations.weight_norm
        self.down = parametrised(nn.Conv1d(1, width, 4, stride=2))
        self.wide = nn.Conv1d(width, width, 3, dilation=3, padding_mode="replicate", padding="same")
        self.snake = Snake(width)
        self.codes = Codebooks(2, 7, width)
        self.up = nn.ConvTranspose1d(width, 1, 4, stride=2)
        self.register_buffer("window", torch.hann_window(16), persistent=False)

    def forward(self, wave):
        x = self.down(F.pad(wave, (2, 0), "reflect"))
        x = x + self.wide(self.snake(x))
        x, commitment = self.codes(x.mT)
        made = self.up(x.swapaxes(-1, -2))[..., : wave.size(-1)].tanh()
        spectra = [
            torch.stft(y.flatten(0, 1), 16, 8, window=self.window, return_complex=True)
            for y in (made, wave)
        ]
        loudness = [torch.view_as_real(s).pow(2).sum(-1).clamp_min(1e-5).log10() for s in spectra]
        return F.l1_loss(*loudness) + F.smooth_l1_loss(made, wave, beta=0.3) + commitment


class GraphAttention(nn.Module):
    """Attention over the edges of a graph, normalised at every node that they reach."""

    def __init__(self, features=5, width=4, heads=2, kinds=3):
        super().__init__()
        self.heads, self.width = heads, width
        self.project = nn.Linear(features, heads * width, bias=False)
        self.kinds = nn.EmbeddingBag(kinds, heads, mode="sum")
        self.source, self.target = (nn.Parameter(torch.empty(1, heads, width)) for _ in range(2))
        for vector in (self.source, self.target):
            nn.init.xavier_uniform_(vector, gain=nn.init.calculate_gain("leaky_relu", 0.2))
        self.score = nn.Bilinear(heads * width, heads * width, 1)

    def forward(self, nodes, edges, kinds):
        begin, end = edges.unbind(0)
        x = self.project(nodes).unflatten(-1, (self.heads, self.width))
        weight = (x * self.source).sum(-1).index_select(0, begin)
        weight = weight + torch.take_along_dim((x * self.target).sum(-1), end[:, None], 0)
        weight = F.leaky_relu(weight + self.kinds(kinds), 0.2)
        count = nodes.shape[0]
        where = end.view(-1, 1).expand_as(weight)
        peak = weight.new_full((count, self.heads), -torch.inf)
        peak = peak.scatter_reduce(0, where, weight.detach(), "amax", include_self=False)
        weight = (weight - peak[end]).exp()
        total = torch.zeros(count, self.heads).index_put_((end,), weight, accumulate=True)
        weight = weight / total.gather(0, where).clamp(min=1e-12)
        message = torch.einsum("eh,ehw->ehw", weight, x[begin])
        mixed = F.elu(torch.zeros_like(x).index_add(0, end, message), inplace=True).flatten(1)
        pair = self.score(mixed[begin], mixed[end]).squeeze(-1)
        degree = torch.bincount(end, minlength=count).float().rsqrt().nan_to_num(posinf=0.0)
        return F.logsigmoid(pair).mean().neg() + (mixed.norm(dim=1) * degree).logsumexp(0)


class StateSpace(nn.Module):
    """A selective state space: once scanned step by step, once in chunks by cumulative sums."""

    def __init__(self, width=4, states=3, chunk=4):
        super().__init__()
        self.chunk = chunk
        self.rates = nn.Parameter(torch.arange(1.0, states + 1).repeat(width, 1).log())
        self.inner = nn.Conv1d(width, width, 3, groups=width, padding=2)
        self.select = nn.Linear(width, 2 * states + 1)
        self.spread = nn.Linear(1, width)
        self.norm = nn.RMSNorm(width, eps=1e-5)

    def forward(self, x):
        length = x.size(1)
        y = self.inner(x.movedim(1, -1)).narrow(-1, 0, length).movedim(-1, 1)
        y = F.hardswish(y)
        step, into, out = self.select(y).tensor_split((1, 1 + self.rates.shape[1]), dim=-1)
        step = F.softplus(self.spread(step))
        decay = step[..., None] * -self.rates.exp()
        fed = torch.einsum("btw,bts,btw->btws", step, into, y)
        state, scanned = torch.zeros_like(fed[:, 0]), []
        for keep, new in zip(decay.exp().unbind(1), fed.unbind(1)):
            state = torch.addcmul(new, keep, state)
            scanned.append(state)
        serial = (torch.stack(scanned, 1) @ out.unsqueeze(-1)).squeeze(-1)
        chunked = self._in_chunks(decay, fed)
        blocked = torch.matmul(chunked, out[..., None]).squeeze(-1)
        return self.norm(serial + y).logcumsumexp(1).mean() + (serial * blocked).mean()

    def _in_chunks(self, decay, fed):
        state, found = fed.new_zeros(fed[:, 0].shape), []
        below = torch.ones(self.chunk, self.chunk, dtype=torch.bool).tril()
        for d, f in zip(decay.split(self.chunk, 1), fed.split(self.chunk, 1)):
            n = d.size(1)
            total = d.cumsum(1)
            between = total[:, :, None] - total[:, None]
            between = between.masked_fill(~below[None, :n, :n, None, None], -torch.inf).exp()
            states = (between * f.unsqueeze(1)).sum(2) + total.exp() * state.unsqueeze(1)
            state = states.select(1, -1)
            found += [states]
        return torch.cat(found, dim=1)
