"""Recurrent layers over whole sequences: stacked, bidirectional, on padded or packed batches.

A layer and direction is one sequence op (a loop inside the graph). Packed batches and projected
LSTMs are stepped through in Python instead, because their state changes size on the way.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import thalweg
from thalweg.nn import functional as F
from thalweg.nn import init
from thalweg.nn.module import Module
from thalweg.nn.rnn_cells import State, gru_step, lstm_step, rnn_step
from thalweg.nn.utils.rnn import PackedSequence
from thalweg.tensor import Parameter, Tensor
from thalweg.tensor import functional as sequences
from thalweg.tensor.fresh import new_full

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class RNNBase(Module):
    """Weights, checks and the walk over layers and directions; ``mode`` names the equations."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._check_options(dropout)
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        rows = _GATES[mode] * hidden_size
        output_size = proj_size if proj_size > 0 else hidden_size
        directions = 2 if bidirectional else 1
        self._weight_names: list[list[str]] = []
        for layer in range(num_layers):
            width = input_size if layer == 0 else output_size * directions
            for suffix in ("", "_reverse")[:directions]:
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, width),
                    "weight_hh": (rows, output_size),
                }
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if proj_size > 0:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                names = [f"{kind}_l{layer}{suffix}" for kind in shapes]
                for name, shape in zip(names, shapes.values()):
                    self.register_parameter(name, Parameter(new_full(shape, 0, **made)))
                self._weight_names.append(names)
        self.reset_parameters()

    def _check_options(self, dropout: Any) -> None:
        if self.mode not in _GATES:
            raise ValueError("Unrecognized RNN mode: " + str(self.mode))
        if (
            not isinstance(dropout, (int, float))
            or isinstance(dropout, bool)
            or not 0 <= dropout <= 1
        ):
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an "
                "element being zeroed"
            )
        if dropout > 0 and self.num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero "
                f"dropout expects num_layers greater than 1, but got dropout={dropout} and "
                f"num_layers={self.num_layers}",
                stacklevel=4,
            )
        if not isinstance(self.hidden_size, int):
            raise TypeError(
                f"hidden_size should be of type int, got: {type(self.hidden_size).__name__}"
            )
        if self.hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if self.num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if self.proj_size < 0:
            raise ValueError(
                "proj_size should be a positive integer or zero to disable projections"
            )
        if self.proj_size >= self.hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")

    def reset_parameters(self) -> None:
        """Draw everything from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Accepted for compatibility: how weights lie in memory is the compiler's choice."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._weight_names]

    def _state_sizes(self) -> tuple[int, ...]:
        """The widths of the states: one for hidden, and one for the cell of an LSTM."""
        return (self.proj_size or self.hidden_size,)

    def _sequence_op(
        self, x_TBI: Tensor, state: State, weights: list[Any], reverse: bool
    ) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _step(self, from_input: Tensor, state: State, weights: list[Any]) -> State:
        raise NotImplementedError

    def _weights(self, index: int) -> list[Any]:
        """w_ih, w_hh, b_ih, b_hh and, with projections, w_hr; absent biases are ``None``."""
        found = [self.__dict__[name] for name in self._weight_names[index]]
        return found if self.bias else [*found[:2], None, None, *found[2:]]

    def _walk(
        self, data: Tensor, states: State, batch_sizes: list[int] | None
    ) -> tuple[Tensor, State]:
        """Run all layers; ``batch_sizes`` is given for packed data (total, width)."""
        finals: list[State] = []
        directions = 2 if self.bidirectional else 1
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                index = layer * directions + direction
                weights = self._weights(index)
                state = tuple(part[index] for part in states)
                if batch_sizes is None:
                    output, *final = self._sequence_op(data, state, weights, direction == 1)
                else:
                    output, *final = self._stepped(
                        data, batch_sizes, state, weights, direction == 1
                    )
                outputs.append(output)
                finals.append(tuple(final))
            data = outputs[0] if directions == 1 else thalweg.cat(outputs, -1)
            if self.dropout > 0 and layer < self.num_layers - 1:
                data = F.dropout(data, self.dropout, self.training)
        return data, tuple(thalweg.stack(parts) for parts in zip(*finals))

    def _stepped(
        self,
        data: Tensor,
        batch_sizes: list[int],
        initial: State,
        weights: list[Any],
        reverse: bool,
    ) -> tuple[Tensor, ...]:
        """One layer over packed data, whose batch shrinks as sequences end.

        Invariant: before each step the state has exactly that step's rows; rows that end early
        wait in ``ended`` (forward), rows that start late join from ``initial`` (reverse).
        """
        # The input's part of the gates does not depend on the state: one product for all steps.
        steps = F.linear(data, weights[0], weights[2]).split(batch_sizes)
        outputs: list[Any] = [None] * len(steps)
        ended: list[State] = []
        order = range(len(steps) - 1, -1, -1) if reverse else range(len(steps))
        rows = batch_sizes[order[0]]
        state = tuple(part[:rows] for part in initial)
        for number in order:
            size = batch_sizes[number]
            if size < rows:
                ended.append(tuple(part[size:] for part in state))
                state = tuple(part[:size] for part in state)
            elif size > rows:
                state = tuple(
                    thalweg.cat([part, start[rows:size]]) for part, start in zip(state, initial)
                )
            rows = size
            state = self._step(steps[number], state, weights)
            outputs[number] = state[0]
        if ended:
            state = tuple(thalweg.cat(parts) for parts in zip(state, *reversed(ended)))
        return (thalweg.cat(outputs), *state)

    # -- the call ------------------------------------------------------------------------------

    def _initial_states(self, hx: State | None, batch: int, like: Tensor) -> State:
        """Zeros where no state is given; the shapes are checked where one is."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        shapes = [(count, batch, width) for width in self._state_sizes()]
        if hx is None:
            return tuple(
                thalweg.zeros(shape, dtype=like.dtype, device=like.device) for shape in shapes
            )
        for position, (state, shape) in enumerate(zip(hx, shapes)):
            if tuple(state.shape) != shape:
                which = f"hidden[{position}]" if len(shapes) > 1 else "hidden"
                raise RuntimeError(f"Expected {which} size {shape}, got {list(state.shape)}")
        return hx

    def _check_input(self, input: Tensor, dims: tuple[int, ...]) -> None:
        if input.dim() not in dims:
            wanted = " or ".join(f"{d}D" for d in dims)
            raise ValueError(
                f"{self.mode.partition('_')[0]}: Expected input to be {wanted}, "
                f"got {input.dim()}D instead"
            )
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. "
                f"Expected {self.input_size}, got {input.shape[-1]}"
            )

    def _run(self, input: Any, hx: State | None) -> tuple[Any, State]:
        if isinstance(input, PackedSequence):
            return self._run_packed(input, hx)
        self._check_input(input, (2, 3))
        batched = input.dim() == 3
        for state in hx or ():
            if state.dim() != input.dim():
                kind = "batched 3-D" if batched else "unbatched 2-D"
                raise RuntimeError(
                    f"For {kind} input, hx should also be {input.dim()}-D but got "
                    f"{state.dim()}-D tensor"
                )
        time_dim = 1 if batched and self.batch_first else 0
        x_TBI = input.transpose(0, 1) if time_dim == 1 else input
        if not batched:
            x_TBI = x_TBI.unsqueeze(1)
            hx = None if hx is None else tuple(state.unsqueeze(1) for state in hx)
        length, batch = x_TBI.shape[0], x_TBI.shape[1]
        if length == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        states = self._initial_states(hx, batch, x_TBI)
        if self.proj_size > 0:
            flat = x_TBI.reshape(length * batch, self.input_size)
            output, finals = self._walk(flat, states, [batch] * length)
            output = output.reshape(length, batch, -1)
        else:
            output, finals = self._walk(x_TBI, states, None)
        if not batched:
            return output.squeeze(1), tuple(state.squeeze(1) for state in finals)
        return (output.transpose(0, 1) if time_dim == 1 else output), finals

    def _run_packed(self, packed: PackedSequence, hx: State | None) -> tuple[PackedSequence, State]:
        self._check_input(packed.data, (2,))
        batch_sizes = [int(size) for size in packed.batch_sizes.tolist()]
        if hx is not None and packed.sorted_indices is not None:
            hx = tuple(state.index_select(1, packed.sorted_indices) for state in hx)
        states = self._initial_states(hx, batch_sizes[0], packed.data)
        output, finals = self._walk(packed.data, states, batch_sizes)
        if packed.unsorted_indices is not None:
            finals = tuple(state.index_select(1, packed.unsorted_indices) for state in finals)
        return packed._replace(data=output), finals

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if self.batch_first is not False:
            text += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            text += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            text += f", bidirectional={self.bidirectional}"
        return text


class RNN(RNNBase):
    """Elman network (Elman 1990) with ``nonlinearity`` "tanh" or "relu".

    Input (T, N, input_size), or (N, T, input_size) with ``batch_first``, or (T, input_size), or a
    PackedSequence; state (layers · directions, N, hidden_size). Returns the outputs of the last
    layer and the final state.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        super().__init__(
            f"RNN_{nonlinearity.upper()}",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )
        self.nonlinearity = nonlinearity

    def _sequence_op(
        self, x_TBI: Tensor, state: State, weights: list[Any], reverse: bool
    ) -> tuple[Tensor, ...]:
        return sequences.rnn_layer(
            x_TBI, *state, *weights, reverse=reverse, nonlinearity=self.nonlinearity
        )

    def _step(self, from_input: Tensor, state: State, weights: list[Any]) -> State:
        return rnn_step(from_input, state, weights[1], weights[3], self.nonlinearity)

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        output, (hidden,) = self._run(input, None if hx is None else (hx,))
        return output, hidden


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), optionally projected (Sak 2014).

    Input as for RNN; the state is a pair (h, c). Returns the outputs of the last layer and the
    final pair.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "LSTM",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )

    def _state_sizes(self) -> tuple[int, ...]:
        return (self.proj_size or self.hidden_size, self.hidden_size)

    def _sequence_op(
        self, x_TBI: Tensor, state: State, weights: list[Any], reverse: bool
    ) -> tuple[Tensor, ...]:
        return sequences.lstm_layer(x_TBI, *state, *weights, reverse=reverse)

    def _step(self, from_input: Tensor, state: State, weights: list[Any]) -> State:
        return lstm_step(from_input, state, weights[1], *weights[3:])

    def forward(
        self, input: Any, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        output, (hidden, cell) = self._run(input, hx)
        return output, (hidden, cell)


class GRU(RNNBase):
    """Gated recurrent unit (Cho et al. 2014); input, state and results as for RNN."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "GRU",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )

    def _sequence_op(
        self, x_TBI: Tensor, state: State, weights: list[Any], reverse: bool
    ) -> tuple[Tensor, ...]:
        return sequences.gru_layer(x_TBI, *state, *weights, reverse=reverse)

    def _step(self, from_input: Tensor, state: State, weights: list[Any]) -> State:
        return gru_step(from_input, state, weights[1], weights[3])

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        output, (hidden,) = self._run(input, None if hx is None else (hx,))
        return output, hidden
