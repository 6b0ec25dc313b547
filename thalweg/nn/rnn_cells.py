"""One step of a recurrent network: the equations, and the cell modules that apply them."""

from __future__ import annotations

import math
from typing import Any

import thalweg
from thalweg.nn import functional as F
from thalweg.nn import init
from thalweg.nn.module import Module
from thalweg.tensor import Parameter, Tensor
from thalweg.tensor.fresh import new_full

# A state is a tuple whose first entry is the hidden state (and output) of the step.
State = tuple[Tensor, ...]


def rnn_step(
    from_input: Tensor, state: State, w_hh: Tensor, b_hh: Tensor | None, nonlinearity: str
) -> State:
    """h' = f(W_ih x + b_ih + W_hh h + b_hh), the input's part given (Elman 1990)."""
    total = from_input + F.linear(state[0], w_hh, b_hh)
    return (thalweg.tanh(total) if nonlinearity == "tanh" else F.relu(total),)


def lstm_step(
    from_input: Tensor,
    state: State,
    w_hh: Tensor,
    b_hh: Tensor | None,
    w_hr: Tensor | None = None,
) -> State:
    """Gates in the order input, forget, cell, output (Hochreiter & Schmidhuber 1997).

    ``w_hr`` projects the hidden state (Sak et al. 2014).
    """
    hidden, cell = state
    gates = from_input + F.linear(hidden, w_hh, b_hh)
    enter, forget, candidate, leave = gates.chunk(4, dim=-1)
    cell = thalweg.sigmoid(forget) * cell + thalweg.sigmoid(enter) * thalweg.tanh(candidate)
    hidden = thalweg.sigmoid(leave) * thalweg.tanh(cell)
    return (hidden if w_hr is None else F.linear(hidden, w_hr)), cell


def gru_step(from_input: Tensor, state: State, w_hh: Tensor, b_hh: Tensor | None) -> State:
    """Gates in the order reset, update, new (Cho et al. 2014)."""
    (hidden,) = state
    input_reset, input_update, input_new = from_input.chunk(3, dim=-1)
    hidden_reset, hidden_update, hidden_new = F.linear(hidden, w_hh, b_hh).chunk(3, dim=-1)
    reset = thalweg.sigmoid(input_reset + hidden_reset)
    update = thalweg.sigmoid(input_update + hidden_update)
    new = thalweg.tanh(input_new + reset * hidden_new)
    return (new + update * (hidden - new),)


class RNNCellBase(Module):
    """Weights of one step: ``num_chunks`` gates of ``hidden_size`` each."""

    input_size: int
    hidden_size: int
    bias: bool
    weight_ih: Parameter
    weight_hh: Parameter

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(new_full((rows, input_size), 0, **made))
        self.weight_hh = Parameter(new_full((rows, hidden_size), 0, **made))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(new_full(rows, 0, **made)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw everything from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias is True else f"{text}, bias={self.bias}"

    def _prepare(self, input: Tensor, states: Any) -> tuple[Tensor, State, bool]:
        """The input and the given (or zero) states with a batch dimension."""
        name = type(self).__name__
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        for position, state in enumerate(states):
            if state is not None and state.dim() not in (1, 2):
                which = f"hx[{position}]" if len(states) > 1 else "hidden"
                raise ValueError(
                    f"{name}: Expected {which} to be 1D or 2D, got {state.dim()}D instead"
                )
        batched = input.dim() == 2
        if not batched:
            input = input.unsqueeze(0)
        if input.shape[1] != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {input.shape[1]} "
                f"expected {self.input_size}"
            )
        ready = []
        for state in states:
            if state is None:
                state = thalweg.zeros(
                    (input.shape[0], self.hidden_size), dtype=input.dtype, device=input.device
                )
            elif not batched:
                state = state.unsqueeze(0)
            if tuple(state.shape) != (input.shape[0], self.hidden_size):
                raise RuntimeError(
                    f"hidden has inconsistent shape: got {tuple(state.shape)} expected "
                    f"{(input.shape[0], self.hidden_size)}"
                )
            ready.append(state)
        return F.linear(input, self.weight_ih, self.bias_ih), tuple(ready), batched


class RNNCell(RNNCellBase):
    """One step of an Elman network: (N, input_size), (N, hidden_size) to (N, hidden_size)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        from_input, state, batched = self._prepare(input, (hx,))
        (hidden,) = rnn_step(from_input, state, self.weight_hh, self.bias_hh, self.nonlinearity)
        return hidden if batched else hidden.squeeze(0)

    def extra_repr(self) -> str:
        text = super().extra_repr()
        if self.nonlinearity != "tanh":
            text += f", nonlinearity={self.nonlinearity}"
        return text


class LSTMCell(RNNCellBase):
    """One LSTM step: (N, input_size) and (h, c) to the new (h, c), each (N, hidden_size)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        from_input, state, batched = self._prepare(input, (None, None) if hx is None else hx)
        hidden, cell = lstm_step(from_input, state, self.weight_hh, self.bias_hh)
        return (hidden, cell) if batched else (hidden.squeeze(0), cell.squeeze(0))


class GRUCell(RNNCellBase):
    """One GRU step: (N, input_size), (N, hidden_size) to (N, hidden_size)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        from_input, state, batched = self._prepare(input, (hx,))
        (hidden,) = gru_step(from_input, state, self.weight_hh, self.bias_hh)
        return hidden if batched else hidden.squeeze(0)
