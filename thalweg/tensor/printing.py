"""How tensors print: PyTorch's layout, digits and suffixes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.dtypes import bool_, default_complex_dtype, default_dtype, int64
from .tensor import Tensor


class _Options:
    precision = 4
    threshold = 1000
    edgeitems = 3
    linewidth = 80
    sci_mode: bool | None = None


options = _Options()


def set_printoptions(
    precision: int | None = None,
    threshold: int | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Digits after the point, elements before summarising, and so on, as in PyTorch."""
    profiles = {"default": (4, 1000, 3, 80), "short": (2, 1000, 2, 80), "full": (4, 1 << 62, 3, 80)}
    if profile is not None:
        values = profiles[profile]
        options.precision, options.threshold, options.edgeitems, options.linewidth = values
    options.precision = options.precision if precision is None else precision
    options.threshold = options.threshold if threshold is None else threshold
    options.edgeitems = options.edgeitems if edgeitems is None else edgeitems
    options.linewidth = options.linewidth if linewidth is None else linewidth
    options.sci_mode = sci_mode


def format_tensor(tensor: Any) -> str:
    """``tensor([...], dtype=..., grad_fn=...)``."""
    if tensor.is_meta:
        return _of_meta(tensor)
    array = tensor.detach()._array()
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    suffixes = []
    shown = f"tensor({_body(array, 7)}" if array.size else "tensor([]"
    if array.size == 0:
        if array.ndim != 1:
            suffixes.append(f"size={tuple(array.shape)}")
        if tensor.dtype is not default_dtype():
            suffixes.append(f"dtype={_dtype_name(tensor)}")
    elif tensor.dtype not in (default_dtype(), default_complex_dtype(), int64, bool_):
        suffixes.append(f"dtype={_dtype_name(tensor)}")
    return _with_suffixes(shown, suffixes + _autograd(tensor)) + ")"


def _of_meta(tensor: Any) -> str:
    """What there is to tell of a tensor without data."""
    suffixes = ["device='meta'", f"size={tuple(tensor.shape)}"]
    if tensor.dtype is not default_dtype():
        suffixes.append(f"dtype={_dtype_name(tensor)}")
    return _with_suffixes("tensor(...", suffixes + _autograd(tensor)) + ")"


def _autograd(tensor: Any) -> list[str]:
    if tensor.grad_fn is not None:
        return [f"grad_fn={tensor.grad_fn!r}"]
    return ["requires_grad=True"] if tensor.requires_grad else []


def _with_suffixes(shown: str, suffixes: list[str]) -> str:
    """The suffixes on the last line, or each on a line of its own once it is full."""
    length = len(shown) - shown.rfind("\n") + 1
    for suffix in suffixes:
        if length + len(suffix) + 2 > options.linewidth:
            shown += ",\n" + " " * len("tensor(") + suffix
            length = len("tensor(") + len(suffix)
        else:
            shown += ", " + suffix
            length += len(suffix) + 2
    return shown


def _dtype_name(tensor: Any) -> str:
    return f"torch.{tensor.dtype.name}"


def _body(array: Any, indent: int) -> str:
    formatter = _formatter(array)
    return _nested(array, indent, formatter)


def _visible(array: Any) -> Any:
    """The elements that are printed; the number format is chosen from them alone."""
    if array.size <= options.threshold:
        return array.reshape(-1)
    edge = options.edgeitems
    for dim, extent in enumerate(array.shape):
        if extent > 2 * edge:
            keep = [*range(edge), *range(extent - edge, extent)]
            array = array.take(keep, axis=dim)
    return array.reshape(-1)


def _formatter(array: Any) -> Any:
    values = _visible(array)
    if array.dtype.kind == "c":
        real, imag = _number_format(values.real), _number_format(values.imag)

        def show_complex(value: Any) -> str:
            second = imag(value.imag).lstrip()
            return real(value.real) + ("" if second[0] in "+-" else "+") + second + "j"

        return show_complex
    return _number_format(values)


def _number_format(values: Any) -> Any:
    if values.dtype.kind in "iub":
        texts = [str(v) for v in values.tolist()]
        width = max(map(len, texts), default=0)
        return lambda value: str(value.item()).rjust(width)
    # Only finite numbers other than zero decide on the format and its width.
    finite = values[np.isfinite(values) & (values != 0)].astype(np.float64)
    digits = options.precision
    magnitudes = np.abs(finite)
    whole = bool(np.all(magnitudes == np.ceil(magnitudes)))
    scientific = False
    if finite.size:
        low, high = magnitudes.min(), magnitudes.max()
        with np.errstate(over="ignore"):
            scientific = bool(high / low > 1000.0 or high > 1.0e8 or (not whole and low < 1.0e-4))
    if options.sci_mode is not None:
        scientific = options.sci_mode
    width = max((len(_digits(v, scientific, whole, digits)) for v in finite), default=1)
    return lambda value: _digits(float(value), scientific, whole, digits).rjust(width)


def _digits(value: float, scientific: bool, whole: bool, digits: int) -> str:
    if scientific:
        return f"{value:.{digits}e}"
    if whole:
        return f"{value:.0f}." if np.isfinite(value) else f"{value:.0f}"
    return f"{value:.{digits}f}"


def _nested(array: Any, indent: int, formatter: Any) -> str:
    if array.ndim == 0:
        return str(formatter(array[()]))
    summarise = array.size and array.shape[0] > 2 * options.edgeitems and _total[0]
    if array.ndim == 1:
        items = [formatter(v) for v in _edges(array, summarise)]
        width = len(items[0]) + 2 if items else 1
        per_line = max(1, (options.linewidth - indent) // width)
        if summarise:
            items.insert(options.edgeitems, " ...")
        lines = [items[i : i + per_line] for i in range(0, len(items), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(", ".join(row) for row in lines) + "]"
    rows = [_nested(row, indent + 1, formatter) for row in _edges(array, summarise)]
    if summarise:
        rows.insert(options.edgeitems, "...")
    separator = "," + "\n" * (array.ndim - 1) + " " * (indent + 1)
    return "[" + separator.join(rows) + "]"


_total = [False]


def _edges(array: Any, summarise: Any) -> list[Any]:
    if not summarise:
        return list(array)
    edge = options.edgeitems
    return [*array[:edge], *array[-edge:]]


def show(tensor: Any) -> str:
    """The text of ``repr``; summarised above the threshold."""
    _total[0] = tensor.numel() > options.threshold
    return format_tensor(tensor)


Tensor.__repr__ = show  # type: ignore[assignment]
