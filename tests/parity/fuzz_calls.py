"""Random calls of the public surface as plain data, right ones and wrong ones, and what comes of
them: the same call is made in PyTorch and here, possibly in other processes, and judged.

Right calls are samples of PyTorch's operator database, or made from signatures; a mutation spoils
or bends one argument of them. Sizes are small, or so large that nobody can allocate them.
"""

from __future__ import annotations

import inspect
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from op_compare import array
from op_db import entries

import thalweg

MODULES = ("", "nn.functional", "linalg", "fft", "special")

# Names whose effect is not on their arguments, or that wait, write files, or draw memory.
LEFT_OUT = {
    "seed", "initial_seed", "set_default_dtype", "set_default_device", "set_num_threads", "save",
    "load", "manual_seed", "set_rng_state", "use_deterministic_algorithms", "set_printoptions",
    "set_grad_enabled", "set_default_tensor_type", "synchronize", "compile", "empty", "empty_like",
    "new_empty", "vmap", "cond", "while_loop", "scan", "import_ir_module", "get_default_device",
    "is_storage", "get_rng_state", "Tensor.__reduce_ex__", "Tensor.__reduce__", "from_file",
    "Tensor.__setstate__", "Tensor.share_memory_", "Tensor.backward", "Tensor.new_empty",
    "Tensor.register_hook", "Tensor.register_post_accumulate_grad_hook", "Tensor.__array__",
    "Tensor.__init__", "Tensor.__dlpack__", "Tensor.__deepcopy__", "Tensor.apply_", "Tensor.map_",
}  # fmt: skip


@dataclass(frozen=True)
class Values:
    """A tensor as data: ``dtype`` by name, since NumPy has no bfloat16."""

    data: np.ndarray[Any, Any]
    dtype: str


@dataclass(frozen=True)
class Named:
    """A dtype, layout or memory format."""

    name: str


@dataclass(frozen=True)
class FuzzCall:
    """One call: ``name`` is a function's ("linalg.norm") or a method's ("Tensor.add_"); ``change``
    says what was done to a right call."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    change: str = ""

    def __str__(self) -> str:
        shown = [describe(a) for a in self.args]
        shown += [f"{k}={describe(v)}" for k, v in self.kwargs.items()]
        text = f"{self.name}({', '.join(shown)})"
        return text if len(text) < 200 else text[:197] + "..."


def describe(x: Any) -> str:
    if isinstance(x, Values):
        return f"{x.dtype}{list(x.data.shape)}"
    if isinstance(x, Named):
        return x.name
    if isinstance(x, (list, tuple)):
        inner = ", ".join(map(describe, x))
        return f"[{inner}]" if isinstance(x, list) else f"({inner})"
    return repr(x)


# ---- right calls


class _Foreign(Exception):
    """An argument that is no plain data."""


def plain(x: Any) -> Any:
    """An argument of a sample as data."""
    if isinstance(x, torch.Tensor):
        if x.layout != torch.strided or x.numel() > 5000 or x.dtype == torch.complex32:
            raise _Foreign
        return Values(array(x), str(x.dtype).removeprefix("torch."))
    if isinstance(x, (torch.dtype, torch.memory_format, torch.layout)):
        return Named(str(x).removeprefix("torch."))
    if type(x) in (list, tuple, torch.Size):
        return type(x)(map(plain, x)) if type(x) is list else tuple(map(plain, x))
    if x is None or isinstance(x, (bool, int, float, complex, str)):
        return x
    raise _Foreign


def from_database(name: str, infos: list[Any], count: int) -> list[FuzzCall]:
    """The first samples of a name, some in each dtype."""
    found: list[FuzzCall] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for info in infos:
            for dtype in (torch.float32, torch.int64):
                if dtype not in info.dtypes:
                    continue
                samples = info.sample_inputs("cpu", dtype, requires_grad=False)
                for sample in islice(samples, count):
                    try:
                        call = (
                            plain((sample.input, *sample.args)),
                            plain(list(sample.kwargs.items())),
                        )
                    except _Foreign:
                        continue
                    if info.name in _SWAPPED and len(call[0]) > 1:
                        call = ((call[0][1], call[0][0], *call[0][2:]), call[1])
                    found.append(FuzzCall(name, call[0], dict(call[1])))
    return found


_SWAPPED = {"einsum", "where", "polygamma", "special.polygamma", "nn.functional.embedding",
            "nn.functional.embedding_bag"}  # fmt: skip


def from_signature(name: str, function: Callable[..., Any], rng: random.Random) -> list[FuzzCall]:
    """A call with something plausible for each parameter that has no default."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []
    args = []
    for parameter in parameters:
        if parameter.name == "rng":
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            args.append(2 if parameter.name in ("size", "args", "repeats", "dims") else matrix(rng))
        elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            args.append(likely(parameter.name, rng))
    return [FuzzCall(name, tuple(args), {})]


def matrix(rng: random.Random, *shape: int, dtype: str = "float32") -> Values:
    drawn = np.random.default_rng(rng.randrange(1 << 30)).normal(size=shape or (3, 3))
    return Values(np.asarray(drawn.astype(np.float32)), dtype)


def likely(name: str, rng: random.Random) -> Any:
    """A value that suits a parameter of this name."""
    if name in ("dim", "axis", "dim0", "dim1", "start_dim", "end_dim", "start", "offset"):
        return rng.choice([0, -1, 1])
    if name in ("size", "shape", "sizes", "dims", "output_size", "kernel_size", "sections"):
        return rng.choice([(3, 3), 1, 3, (1, 1)])
    if name in ("index", "indices"):
        return Values(np.zeros((3, 3), np.int64), "int64")
    if name in ("mask", "condition"):
        return Values(np.eye(3) > 0, "bool")
    if name in ("n", "k", "num", "step", "steps", "length", "end", "stop", "diagonal", "p"):
        return rng.choice([0, 1, 2])
    if name in ("dtype",):
        return Named("float64")
    return matrix(rng)


def find(library: Any, name: str) -> Any:
    """The function or method of this name, or None."""
    for part in name.split("."):
        try:
            library = getattr(library, part, None)
        except (ImportError, RuntimeError):
            library = None
        if library is None:
            break
    return library


def surface() -> list[str]:
    """Names of functions and methods that both libraries have."""
    found = []
    for module in MODULES:
        theirs = find(torch, module) if module else torch
        mine = find(thalweg, module) if module else thalweg
        for name in sorted(set(dir(theirs)) & set(dir(mine))):
            function, other = getattr(mine, name), getattr(theirs, name)
            if name[0] == "_" or isinstance(function, type) or not callable(function):
                continue
            if callable(other) and not inspect.ismodule(function):
                found.append(f"{module}.{name}" if module else name)
    for name in sorted(set(dir(torch.Tensor)) & set(dir(thalweg.Tensor))):
        if callable(getattr(torch.Tensor, name)) and (name[0] != "_" or name in _OPERATORS):
            found.append(f"Tensor.{name}")
    return [name for name in found if name not in LEFT_OUT]


_OPERATORS = {
    f"__{p}{n}__" for n in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul",
                            "and", "or", "xor", "lshift", "rshift")
    for p in ("", "r", "i")
} | {f"__{n}__" for n in ("neg", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge", "getitem",
                          "setitem", "len", "bool", "int", "float", "contains", "pos")}  # fmt: skip


def right_calls(names: list[str], rng: random.Random, count: int = 3) -> Iterator[FuzzCall]:
    """Calls that should succeed, of functions and methods in the order of ``names``."""
    database = entries()
    for name in names:
        method = name.startswith("Tensor.")
        base = name.removeprefix("Tensor.").rstrip("_") if method else name
        known = database.get(base) or database.get(base + "_")
        if known is None and method:
            known = database.get(f"linalg.{base}") or database.get(f"special.{base}")
        calls = from_database(name, known, count) if known else []
        if method:
            calls = [c for c in calls if c.args and isinstance(c.args[0], Values)]
        if not calls:
            function = getattr(find(thalweg, name), "__wrapped__", None) or find(thalweg, name)
            calls = from_signature(name, function, rng)
        yield from calls


# ---- mutations

DTYPES = ("bool", "uint8", "int8", "int32", "int64", "float16", "bfloat16", "float32", "float64",
          "complex64", "complex128")  # fmt: skip
HUGE = (1 << 40, -(1 << 40), (1 << 63) - 1, 1 << 70)
ODD = (None, "no", "", b"x", -1, 0, 1, 2, 7, -7, 1.5, -0.5, float("nan"), float("inf"), True, False,
       2j, (), [], (0,), (0, 0), (1, -1), [1, "a"], [None], (-3, 2), [[1, 2], [3]], {}, slice(0, 2),
       ...)  # fmt: skip


def mutated(call: FuzzCall, rng: random.Random) -> FuzzCall:
    """The call with one thing changed."""
    places: list[Any] = [*range(len(call.args)), *call.kwargs]
    roll = rng.random()
    if roll < 0.06 and call.args:
        return replace(call, args=call.args[:-1], change="one argument less")
    if roll < 0.12:
        return replace(call, args=(*call.args, rng.choice(ODD)), change="one argument more")
    if roll < 0.15:
        return replace(call, kwargs={**call.kwargs, "nonsense": 1}, change="unknown keyword")
    if roll < 0.2:
        return replace(call, kwargs={**call.kwargs, "dim": rng.choice([*ODD, *HUGE])}, change="dim")
    if not places:
        return call
    place = rng.choice(places)
    if isinstance(place, int):
        if place == 0 and call.name.startswith("Tensor."):  # nothing else has the method
            new, change = changed_tensor(call.args[0], rng)
        else:
            new, change = changed(call.args[place], rng)
        args = (*call.args[:place], new, *call.args[place + 1 :])
        return replace(call, args=args, change=f"argument {place}: {change}")
    new, change = changed(call.kwargs[place], rng)
    return replace(call, kwargs={**call.kwargs, place: new}, change=f"{place}: {change}")


def changed(value: Any, rng: random.Random) -> tuple[Any, str]:
    """Another value in the place of one, and what was done."""
    if isinstance(value, Values) and rng.random() < 0.75:
        return changed_tensor(value, rng)
    if isinstance(value, (list, tuple)) and value and rng.random() < 0.6:
        at = rng.randrange(len(value))
        new, change = changed(value[at], rng)
        items = [*value]
        roll = rng.random()
        if roll < 0.2:
            return type(value)(items[:-1]), "shorter"
        if roll < 0.4:
            return type(value)([*items, items[at]]), "longer"
        items[at] = new
        return type(value)(items), f"item {at} {change}"
    new = rng.choice([*ODD, *HUGE, matrix(rng), Named(rng.choice(DTYPES))])
    return new, describe(new)


def changed_tensor(value: Values, rng: random.Random) -> tuple[Any, str]:
    data = value.data
    kind = rng.choice(["dtype", "dtype", "shape", "empty", "scalar", "drop", "add", "special"])
    if kind == "dtype":
        dtype = rng.choice(DTYPES)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Values(data.astype(getattr(thalweg, dtype).np), dtype), dtype
    if kind == "scalar":
        return Values(np.ones((), data.dtype), value.dtype), "0-d"
    if kind == "empty":
        shape = rng.choice([(0,), (2, 0, 3), (0, 3), (*data.shape, 0), (0, *data.shape[1:])])
        return Values(np.ones(shape, data.dtype), value.dtype), f"shape {list(shape)}"
    if kind == "drop" and data.ndim:
        return Values(
            np.asarray(data[0]) if len(data) else data.reshape(-1), value.dtype
        ), "a dimension less"
    if kind == "add":
        return Values(data[None], value.dtype), "a dimension more"
    if kind == "special" and data.size:
        data = data.copy()
        odd = {"f": [np.nan, np.inf, -np.inf, 0], "i": [-1, 10**9, -(10**9)], "u": [255],
               "c": [np.nan], "b": [True]}  # fmt: skip
        number = rng.choice(odd.get(data.dtype.kind, [0]))
        if data.dtype.itemsize >= 4 or abs(number) < 100 or number != number:
            data.reshape(-1)[rng.randrange(data.size)] = number
        return Values(data, value.dtype), f"an element {number}"
    shape = rng.choice([(1,), (2, 3), (3, 3), (5,), (1, 1, 1), (2, 3, 4, 5), (1,) * 6])
    return Values(np.resize(data, shape), value.dtype), f"shape {list(shape)}"


# ---- what comes of a call


@dataclass(frozen=True)
class Outcome:
    """``kind`` is "value", "error", "crash" or "hang". Of an error ``types`` holds its class and
    bases by name; of a value ``text`` tells types, dtypes and shapes."""

    kind: str
    text: str = ""
    types: tuple[str, ...] = ()


def made(library: Any, x: Any) -> Any:
    """An argument of a call in one of the libraries."""
    if isinstance(x, Values):
        if library is torch:
            if x.dtype == "bfloat16":
                return torch.from_numpy(x.data.astype(np.float32)).bfloat16()
            return torch.from_numpy(x.data.copy())
        return thalweg.tensor(x.data.copy())
    if isinstance(x, Named):
        return getattr(library, x.name)
    if isinstance(x, (list, tuple)):
        return type(x)(made(library, v) for v in x)
    return x


def shown(result: Any) -> str:
    """A result by its type, dtype and shape."""
    if isinstance(result, (torch.Tensor, thalweg.Tensor)):
        return f"{str(result.dtype).rpartition('.')[2]}{list(result.shape)}"
    if isinstance(result, (list, tuple)):
        return f"({', '.join(map(shown, result))})"
    return "NotImplemented" if result is NotImplemented else "another object"


def outcome(library: Any, call: FuzzCall) -> Outcome:
    """Make the call, compute its results, and say what came of it."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        library.manual_seed(0)
        function = find(library, call.name)
        args = made(library, call.args)
        kwargs = {k: made(library, v) for k, v in call.kwargs.items()}
        try:
            result = function(*args, **kwargs)
            if library is thalweg:
                for leaf in result if isinstance(result, (list, tuple)) else [result]:
                    if isinstance(leaf, thalweg.Tensor):
                        leaf.detach()._array()
            return Outcome("value", shown(result))
        except Exception as error:
            lines = str(error).strip().splitlines()
            bases = tuple(c.__name__ for c in type(error).__mro__)
            return Outcome("error", lines[0][:160] if lines else "", bases)


INTERNAL = {"AssertionError", "KeyError", "AttributeError", "GraphError", "RecursionError",
            "UnboundLocalError", "NameError", "ZeroDivisionError", "SystemError", "StopIteration",
            "BufferError", "LookupError", "UnicodeError", "ModuleNotFoundError"}  # fmt: skip


def verdict(mine: Outcome, theirs: Outcome) -> tuple[str, str]:
    """The class of a disagreement and its words, or two empty strings."""
    if mine.kind in ("crash", "hang"):
        return mine.kind, ""
    said = f"{mine.types[0]}: {mine.text}" if mine.types else mine.text
    if theirs.kind in ("crash", "hang"):
        return "", ""
    if mine.kind == "error" and mine.types[0] in INTERNAL - set(theirs.types):
        return "internal error", said
    if theirs.text == "NotImplemented" and "TypeError" in mine.types:
        return "", ""  # an operator that leaves the answer to the other operand
    if theirs.kind == "error":
        told = f"{theirs.types[0]}: {theirs.text}"
        if mine.kind == "value":
            return "accepted", f"{said}; PyTorch: {told}"
        if not agree(mine, theirs):
            return "other exception", f"{said}; PyTorch: {told}"
        return "", ""
    if mine.kind == "error":
        return "refused", f"{said}; PyTorch: {theirs.text}"
    return ("", "") if mine.text == theirs.text else ("result", f"{said}; PyTorch: {theirs.text}")


def agree(mine: Outcome, theirs: Outcome) -> bool:
    """Whether the exceptions are of one type, or of types that docs/differences.md equates."""
    types = set(mine.types)
    if theirs.types[0] in types:
        return True
    if theirs.types[0] in (
        "NotImplementedError",
        "OutOfMemoryError",
        "LinAlgError",
        "AcceleratorError",
    ):
        return "RuntimeError" in types
    if theirs.types[0] == "RuntimeError" and "IndexOutOfRange" in types:
        return True
    return theirs.types[0] == "RuntimeError" and "alloc" in theirs.text and "MemoryError" in types
