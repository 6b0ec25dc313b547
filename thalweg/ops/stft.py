"""The short-time Fourier transform and its inverse: overlapping frames, a window, `fft`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..core.dtypes import int64
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..ir.node import Value
from .arithmetic import constant
from .fft import to_complex
from .function import Call, composite
from .link import ops
from .named import public
from .pointwise import expect_tensor
from .shape_functions import slice_dim


def _window(
    op: str, window: Value | None, length: int | None, n_fft: int, like: Value
) -> tuple[Value, int]:
    """The window of ``n_fft`` elements (centred, zeros around it), and its own length."""
    size = n_fft if length is None else length
    if not 0 < size <= n_fft:
        raise ShapeError(f"{op}: expected 0 < win_length <= n_fft, but got win_length={size}")
    if window is None:
        window = constant(1, like.dtype.to_real(), (size,))
    elif window.shape != (size,):
        raise ShapeError(
            f"{op}: expected a 1D window tensor of size equal to win_length={size}, but got window "
            f"with size {list(window.shape)}"
        )
    if size == n_fft:
        return window, size
    left = (n_fft - size) // 2
    padded = ops.pad(window, low=(left,), high=(n_fft - size - left,), interior=(0,), value=0)
    return padded, size


def _example(*shape: int, complex: bool = False) -> np.ndarray:
    rng = np.random.default_rng(91)
    x = rng.normal(size=shape)
    return x + 1j * rng.normal(size=shape) if complex else x


def _stft_calls() -> Iterator[Call]:
    x, window = _example(2, 21), np.hanning(8) + 0.1
    done = {"return_complex": True}
    yield Call((x, 8), {**done, "window": window})
    yield Call((x[0], 8), done)
    yield Call((x, 8, 3, 6), {**done, "window": window[:6], "normalized": True})
    yield Call((x, 7, 2), {**done, "center": False})
    yield Call((x, 8, 4), {**done, "onesided": False, "pad_mode": "constant"})
    yield Call((x, 8, 4), {"return_complex": False})
    yield Call((_example(2, 16, complex=True), 8, 4), done)
    yield Call((x, 8), error=(RuntimeError, "requires the return_complex parameter"))
    yield Call((x, 50), {**done, "center": False}, error=(RuntimeError, "expected 0 < n_fft"))
    yield Call((x, 8, 0), done, error=(RuntimeError, "expected hop_length > 0"))
    yield Call((x, 8, 2, 9), done, error=(RuntimeError, "0 < win_length <= n_fft"))
    yield Call((x, 8), {**done, "window": np.ones(5)}, error=(RuntimeError, "1D window tensor"))
    yield Call((_example(2, 2, 8), 4), done, error=(RuntimeError, "expected a 1D or 2D tensor"))


@composite("stft", method=True, out=False, calls=_stft_calls)
def stft(
    input: Value, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Value | None = None, center: bool = True, pad_mode: str = "reflect",
    normalized: bool = False, onesided: bool | None = None, return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Value:  # fmt: skip
    """The Fourier transforms of overlapping frames: (batch, length) or (length) to (batch,
    frequencies, frames).

    Frames of ``n_fft`` elements start every ``hop_length`` (default n_fft // 4), are multiplied by
    ``window`` (of ``win_length`` elements, default all ones) and, if ``normalized``, divided by
    √n_fft. ``center`` pads by n_fft // 2 first, as `nn.functional.pad` does with ``pad_mode``.
    ``onesided`` (default for real data) gives n_fft // 2 + 1 frequencies. ``return_complex`` False
    gives (..., 2) real numbers; it must be given for real data. RuntimeError for sizes that do
    not fit (Allen and Rabiner 1977).
    """
    op = "stft"
    x = expect_tensor(op, input)
    complex = x.dtype.is_complex or (window is not None and window.dtype.is_complex)
    if return_complex is None and not complex:
        raise ArgumentRuntimeError(
            "stft requires the return_complex parameter be given for real inputs"
        )
    if align_to_window is not None and center:
        raise ArgumentRuntimeError(
            "stft align_to_window should only be set when center = false, got center=True"
        )
    if x.dtype.category not in ("float", "complex"):
        raise DTypeError(f"{op}: expected a tensor of floating point or complex values")
    if x.ndim not in (1, 2):
        raise ShapeError(f"{op}: expected a 1D or 2D tensor, got shape {list(x.shape)}")
    single = x.ndim == 1
    if single:
        x = ops.reshape(x, shape=(1, *x.shape))
    hop = n_fft // 4 if hop_length is None else hop_length
    if center:
        half = n_fft // 2
        lifted = ops.reshape(x, shape=(1, *x.shape))
        pad = getattr(public, "nn.functional.pad")
        x = public.squeeze(pad(lifted, (half, half), pad_mode), 0)
    if not 0 < n_fft <= x.shape[-1]:
        raise ShapeError(f"{op}: expected 0 < n_fft <= {x.shape[-1]}, but got n_fft={n_fft}")
    if hop <= 0:
        raise ShapeError(f"{op}: expected hop_length > 0, but got hop_length={hop}")
    weights, _ = _window(op, window, win_length, n_fft, x)
    frames = ops.windows(x, dim=1, size=n_fft, step=hop) * weights
    one = not complex if onesided is None else onesided
    if one and complex:
        raise ArgumentRuntimeError(
            "Cannot have onesided output if window or input is complex, got onesided=True"
        )
    found = ops.fft(to_complex(frames), dim=2, inverse=False)
    if one:
        found = slice_dim(found, 2, 0, n_fft // 2 + 1)
    if normalized:
        found = found * (1.0 / math.sqrt(n_fft))
    found = ops.permute(found, dims=(0, 2, 1))
    if single:
        found = ops.reshape(found, shape=found.shape[1:])
    if return_complex or (complex and return_complex is None):
        return found  # type: ignore[no-any-return]
    return public.view_as_real(found)  # type: ignore[no-any-return]


class ArgumentRuntimeError(ArgumentError, RuntimeError):
    """Arguments that exclude each other (PyTorch raises RuntimeError here)."""


def _istft_calls() -> Iterator[Call]:
    z, window = _example(2, 5, 7, complex=True), np.hanning(8) + 0.1
    yield Call((z, 8), {"window": window})
    yield Call((z[0], 8, 2))
    yield Call((z, 8, 3, 6), {"window": np.hanning(6) + 0.1, "normalized": True})
    yield Call((z, 8, 4), {"length": 20})
    yield Call((z, 8, 4), {"length": 40}, grad=False)
    yield Call((_example(2, 8, 7, complex=True), 8, 4), {"onesided": False})
    both = {"onesided": False, "return_complex": True}
    yield Call((_example(2, 8, 7, complex=True), 8, 4), both)
    yield Call((z, 8, 4), {"center": False})
    yield Call((z.real.copy(), 8), error=(RuntimeError, "requires a complex-valued input"))
    yield Call((z, 10), error=(RuntimeError, "expected the frequency dimension"))
    yield Call((z, 8, 9), error=(RuntimeError, "0 < hop_length <= win_length"))
    yield Call((z, 8), {"window": np.ones(5)}, error=(RuntimeError, "window"))


@composite("istft", method=True, out=False, calls=_istft_calls)
def istft(
    input: Value, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Value | None = None, center: bool = True, normalized: bool = False,
    onesided: bool | None = None, length: int | None = None, return_complex: bool = False,
) -> Value:  # fmt: skip
    """The signal of which `stft` with the same arguments gives ``input``: (batch, frequencies,
    frames) or (frequencies, frames) to (batch, length) or (length).

    Frames are added where they overlap and divided by the sum of squared windows (Griffin and Lim
    1984), which must be positive everywhere in the result: where it is 0, the result is NaN.
    ``length`` cuts, or pads with zeros. RuntimeError for sizes that do not fit.
    """
    op = "istft"
    z = expect_tensor(op, input)
    if not z.dtype.is_complex:
        raise DTypeError(
            "istft requires a complex-valued input tensor matching the output from stft with "
            f"return_complex=True, got {z.dtype.name}"
        )
    if z.ndim not in (2, 3) or not z.type.numel:
        raise ShapeError(
            f"{op}: expected a tensor with 2 or 3 dimensions and elements, got {list(z.shape)}"
        )
    single = z.ndim == 2
    if single:
        z = ops.reshape(z, shape=(1, *z.shape))
    _, bins, frames = z.shape
    one = bins != n_fft if onesided is None else onesided
    expected = n_fft // 2 + 1 if one else n_fft
    if bins != expected:
        raise ShapeError(
            f"{op}: expected the frequency dimension (3rd to the last) of the input tensor to be "
            f"{expected} for n_fft={n_fft} and onesided={one}, but got {bins}"
        )
    weights, own = _window(op, window, win_length, n_fft, z)
    hop = n_fft // 4 if hop_length is None else hop_length
    if not 0 < hop <= own:
        raise ShapeError(
            f"{op}: expected 0 < hop_length <= win_length, but got hop_length={hop} and "
            f"win_length={own}"
        )
    pieces = ops.permute(z, dims=(0, 2, 1))
    norm = "ortho" if normalized else None
    if return_complex:
        if one:
            raise ArgumentRuntimeError(
                "Cannot have onesided output if window or input is complex, got onesided=True"
            )
        pieces = getattr(public, "fft.ifft")(pieces, None, -1, norm)
    else:
        half = slice_dim(pieces, 2, 0, n_fft // 2 + 1)
        pieces = getattr(public, "fft.irfft")(half, n_fft, -1, norm)
    pieces = pieces * weights
    added = _overlapped(ops.permute(pieces, dims=(1, 2, 0)), hop)
    squares = public.expand(ops.reshape(weights * weights, shape=(1, n_fft, 1)), (frames, -1, -1))
    envelope = _overlapped(squares, hop)
    total = added.shape[0]
    start = n_fft // 2 if center else 0
    stop = total - start if length is None else min(total, start + length)
    found = slice_dim(added, 0, start, stop) / slice_dim(envelope, 0, start, stop)
    if length is not None and found.shape[0] < length:
        high = (length - found.shape[0], 0)
        found = ops.pad(found, low=(0, 0), high=high, interior=(0, 0), value=0)
    found = ops.permute(found, dims=(1, 0))
    return public.squeeze(found, 0) if single else found  # type: ignore[no-any-return]


def _overlapped(frames: Value, hop: int) -> Value:
    """(frames, size, batch) added up at their places: (length, batch)."""
    count, size, batch = frames.shape
    zeros = constant(0, frames.dtype, ((count - 1) * hop + size, batch))
    at = ops.iota(shape=(count, size), dim=0, dtype=int64) * hop
    at = at + ops.iota(shape=(count, size), dim=1, dtype=int64)
    return ops.index_put(zeros, at, frames, batch=0, combine="sum")  # type: ignore[no-any-return]
