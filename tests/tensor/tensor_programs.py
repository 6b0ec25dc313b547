"""Random programs of views and in-place operations, run line by line in PyTorch and here.

A program is a list of Python lines over a list of tensors ``v`` and a module ``torch``. The same
text runs against both packages; after each line everything a user can observe is compared. Nothing
is written through expanded tensors: that always fails here, and sometimes in PyTorch. A line
is generated from PyTorch's tensors at that point, so that most lines are valid; those that are not
must fail in both packages with the same type of exception.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import thalweg

READ = "# all values are read"
Pick = Callable[[int], int]  # pick(n) gives an integer in [0, n)


class Machine:
    """The state of a program in one package."""

    def __init__(self, package: Any) -> None:
        self.package = package
        self.v: list[Any] = []
        self.names = {"torch": package, "v": self.v}

    def run(self, line: str) -> Exception | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(line, self.names)
        except Exception as error:
            return error
        return None


def storage(tensor: Any) -> int:
    """Identifies the memory behind a tensor of either package."""
    if isinstance(tensor, torch.Tensor):
        return tensor.untyped_storage()._cdata
    extra = tensor._extra
    return id(tensor if extra is None or extra.base is None else extra.base)


def observed(tensor: Any) -> dict[str, Any]:
    """What can be known of a tensor without its values."""
    try:
        leaf = tensor.is_leaf  # raises for views that a write made invalid
    except RuntimeError:
        return {"shape": tuple(tensor.shape), "invalid": True}
    return {
        "shape": tuple(tensor.shape),
        "dtype": str(tensor.dtype).rpartition(".")[2],
        "requires_grad": tensor.requires_grad,
        "is_leaf": leaf,
        "version": tensor._version,
        "stride": real_strides(tensor),
        "storage_offset": tensor.storage_offset() if 0 not in tensor.shape else 0,
        "is_contiguous": tensor.is_contiguous(),
        "has_grad_fn": tensor.grad_fn is not None,
    }


def real_strides(tensor: Any) -> tuple[int, ...]:
    """Strides of the dimensions that have any: those of more than one element."""
    if 0 in tensor.shape:
        return ()
    return tuple(s for s, n in zip(tensor.stride(), tensor.shape) if n > 1)


def dense(tensor: torch.Tensor) -> bool:
    """Whether the elements stand in memory without gaps, in some order of dimensions."""
    expected = 1
    for stride, extent in sorted(zip(tensor.stride(), tensor.shape)):
        if extent != 1:
            if stride != expected:
                return False
            expected *= extent
    return True


def array(tensor: Any) -> np.ndarray:
    return np.array(tensor.tolist(), dtype=np.float64).reshape(tuple(tensor.shape))


def same(ours: Any, theirs: Any) -> bool:
    return np.allclose(array(ours), array(theirs), rtol=1e-9, atol=1e-9, equal_nan=True)


def differences(ours: list[Any], theirs: list[Any], values: bool) -> list[str]:
    """What differs between the tensors of the two machines."""
    found = []
    for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        a, b = observed(mine), observed(other)
        found += [
            f"v[{i}].{k} is {a.get(k)}, PyTorch has {b.get(k)}"
            for k in dict.fromkeys((*a, *b))
            if a.get(k) != b.get(k)
        ]
        if values and a["shape"] == b["shape"]:
            if not same(mine, other):
                found.append(f"v[{i}] is {mine.tolist()}, PyTorch has {other.tolist()}")
            found += grad_differences(i, mine, other)
    for i in range(len(ours)):
        for j in range(i):
            shared = storage(ours[i]) == storage(ours[j])
            if shared != (storage(theirs[i]) == storage(theirs[j])):
                found.append(f"v[{j}] and v[{i}] share memory: {shared}, PyTorch: {not shared}")
    return found


def grad_differences(i: int, mine: Any, other: Any) -> list[str]:
    if "invalid" in observed(other) or not other.is_leaf or not mine.is_leaf:
        return []
    a, b = mine.grad, other.grad
    if (a is None) != (b is None):
        return [f"v[{i}].grad is {a}, PyTorch has {b}"]
    if a is not None and not same(a, b):
        return [f"v[{i}].grad is {a.tolist()}, PyTorch has {b.tolist()}"]
    return []


STALE = ("modified by an inplace operation", "has been modified inplace")


def lenient(ours: Exception | None, theirs: Exception | None, line: str) -> bool:
    """Whether PyTorch refuses a backward pass because a value it saved was modified, and we go on
    because we saved another. (`test_autograd` pins down what each operation saves.)"""
    return ours is None and "backward" in line and any(words in str(theirs) for words in STALE)


def matching(ours: Exception | None, theirs: Exception | None) -> str:
    """Why two outcomes of a line differ, or ''."""
    if (ours is None) != (theirs is None):
        return f"raised {ours!r}, PyTorch raised {theirs!r}"
    if theirs is not None and not isinstance(ours, type(theirs)):
        return f"raised {ours!r}, PyTorch raised {theirs!r}"
    return ""


class Program:
    """Grows a program line by line, running each on both machines."""

    def __init__(self, pick: Pick, limit: int = 9) -> None:
        self.pick = pick
        self.limit = limit
        self.lines: list[str] = []
        self.wide: set[int] = set()
        self.detached: set[int] = set()
        self.theirs = Machine(torch)
        self.ours = Machine(thalweg)

    # ---- running

    def do(self, line: str) -> bool:
        """Run a line on both; whether it succeeded. AssertionError if the packages disagree."""
        self.lines.append(line)
        theirs = self.theirs.run(line)
        ours = self.ours.run(line)
        complaint = matching(ours, theirs)
        if lenient(ours, theirs, line):
            return False
        assert not complaint, self.report([complaint])
        return theirs is None

    def check(self, values: bool) -> None:
        if values:
            self.lines.append(READ)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = differences(self.ours.v, self.theirs.v, values)
        assert not found, self.report(found)

    def report(self, found: list[str]) -> str:
        return "\n".join(["", *self.lines, "#   " + "\n#   ".join(found)])

    def replay(self) -> None:
        """The same lines again, now all of them known to the recorder."""
        again = Program(self.pick, self.limit)
        for line in self.lines:
            if line == READ:
                again.check(values=True)
            elif not again.do(line) and "backward" in line:
                return  # after half a backward pass gradients are anyone's guess
            else:
                again.check(values=False)

    # ---- generating

    def choose(self, *options: Any) -> Any:
        return options[self.pick(len(options))]

    def tensor(self) -> tuple[int, torch.Tensor]:
        i = self.pick(len(self.theirs.v))
        return i, self.theirs.v[i]

    def begin(self) -> None:
        """One to three tensors; some require gradients, some then become non-leaves."""
        for _ in range(1 + self.pick(3)):
            shape = self.choose((2, 3), (4,), (3, 2, 2), (), (1, 3), (2, 2), (6,))
            count = int(np.prod(shape))
            numbers = [self.pick(9) / 2 - 2 for _ in range(count)]
            kind = self.choose("", ", requires_grad=True")
            nested = numbers if shape == (count,) else np.reshape(numbers, shape).tolist()
            self.do(f"v.append(torch.tensor({nested}, dtype=torch.float64{kind}))")
            if kind and self.pick(3):
                i = len(self.theirs.v) - 1
                self.do(f"v.append(v[{i}] * 2)")

    def step(self) -> bool:
        """One more line; False if the program cannot go on."""
        if len(self.theirs.v) < self.limit and self.pick(2):
            if self.pick(4):
                self.do(self.view())
            else:
                self.do(self.functional())
        elif self.pick(12) == 0:
            return self.do(self.backward(last=False))
        else:
            line = self.change()
            if self.pick(5) == 0:
                line = f"with torch.no_grad(): {line}"
            self.do(line)
        return True

    def backward(self, last: bool = True) -> str:
        """A backward pass; only the last one frees what was saved, because what is saved differs
        a little."""
        terms = [i for i, t in enumerate(self.theirs.v) if observed(t).get("has_grad_fn")]
        if not terms:
            return "pass"
        some = [i for i in terms if self.pick(3)] or terms
        total = " + ".join(f"(v[{i}] * v[{i}].detach()).sum()" for i in some)
        return f"({total}).backward(retain_graph={not last})"

    def view(self) -> str:
        i, t = self.tensor()
        if "invalid" in observed(t):
            return "pass"
        maker = self.choose(
            self._index, self._index, self._index, self._dims, self._shape, self._parts
        )
        expression = maker(t)
        if i in self.wide or "expand" in expression:
            self.wide |= {len(self.theirs.v) + k for k in range(3)}
        if i in self.detached or "detach" in expression:
            self.detached |= {len(self.theirs.v) + k for k in range(3)}
        if expression.startswith("*"):
            return f"v.extend(v[{i}]{expression[1:]})"
        return f"v.append(v[{i}]{expression})"

    def _index(self, t: torch.Tensor) -> str:
        return f"[{self.choose('', '', '..., ')}{self.index(t)}]"

    def index(self, t: torch.Tensor, advanced: bool = False) -> str:
        items = []
        for extent in t.shape:
            if self.pick(4) == 0:
                break
            if not extent:
                items.append(":")
                continue
            if advanced and extent and self.pick(2):
                start, count = self.pick(extent), min(extent, 1 + self.pick(2))
                positions = [(start + k) % extent for k in range(count)]
                items.append(f"torch.tensor({positions})")
                advanced = False
            elif self.pick(3) == 0:
                items.append(str(self.pick(max(1, extent)) - self.choose(0, extent)))
            else:
                low, high = self.pick(extent + 1), self.pick(extent + 2)
                items.append(self.choose(f"{low}:", f":{high}", ":", "::2", f"{low}::2", "1:-1"))
        if not items or self.pick(6) == 0:
            items.insert(0, "None")
        return ", ".join(items)

    def _dims(self, t: torch.Tensor) -> str:
        n = t.dim()
        a, b = self.pick(max(n, 1)), self.pick(max(n, 1)) - n
        order = sorted(range(n), key=lambda k: (self.pick(5), k))
        extent = t.shape[a] if n else 1
        options = [
            f".transpose({a}, {b})", f".permute({tuple(order)})", f".unsqueeze({self.pick(n + 1)})",
            f".squeeze({a})", ".squeeze()", f".select({a}, {self.pick(max(1, extent))})",
            f".narrow({a}, {self.pick(max(1, extent))}, {self.pick(extent + 1)})",
            f".movedim({a}, {b})", ".diagonal()", f".diagonal({self.pick(3) - 1}, {a}, {b})",
            f".select({a}, {-1 - self.pick(max(1, extent))})",
        ]  # fmt: skip
        if n == 2:
            options.append(".T")
            options.append(".t()")
        if n >= 2:
            options.append(".mT")
        return self.choose(*options)

    def _shape(self, t: torch.Tensor) -> str:
        count = t.numel()
        shapes: list[Any] = [(count,), (-1,), (1, count)]
        shapes += [(k, count // k) for k in (2, 3) if count and count % k == 0]
        shapes += [(count // 2, 1, 2)] if count and count % 2 == 0 else []
        target = self.choose(*shapes)
        wide = (2, *t.shape)
        name = self.choose("view", "reshape", "flatten", "expand", "detach", "expand_as")
        return {
            "view": f".view({target})", "reshape": f".reshape({target})", "flatten": ".flatten()",
            "expand": f".expand({wide})", "detach": ".detach()",
            "expand_as": f".expand_as(torch.zeros({wide}))",
        }[name]  # fmt: skip

    def _parts(self, t: torch.Tensor) -> str:
        if not t.dim():
            return ".view(1)"
        dim = self.pick(t.dim())
        if len(self.theirs.v) > self.limit - 3:
            return f".chunk(2, {dim})[0]"
        return self.choose(
            f"*.unbind({dim})[:2]", f"*.chunk(2, {dim})", f"*.split(2, {dim})[:2]",
            f".unbind({dim})[0]", f".split(1, {dim})[-1]",
        )  # fmt: skip

    def functional(self) -> str:
        i, t = self.tensor()
        j, _ = self.fitting(t)
        if "invalid" in observed(t):
            return "pass"
        if i in self.detached:
            self.detached.add(len(self.theirs.v))
        # Results of operations are contiguous here, and only mostly so in PyTorch.
        a, b = f"v[{i}].contiguous()", f"v[{j}].contiguous()"
        return self.choose(
            f"v.append({a} * {b})", f"v.append({a} + {b})", f"v.append({a}.tanh())",
            f"v.append({a}.clone())", f"v.append({a}.sum())", f"v.append({a}.relu())",
            f"v.append({a}[{self.index(t, True)}])", f"v.append({a} - 0.5)",
            f"v.append({a}[{a}.detach() > 0])", f"v.append({a})",
            f"v[{i}] = {a} * 0.5", f"v.append(torch.zeros_like({a}))",
        )  # fmt: skip

    def fitting(self, t: torch.Tensor) -> tuple[int, torch.Tensor]:
        """A tensor that broadcasts to the shape of ``t``; now and then just any."""
        fits = []
        for i, other in enumerate(self.theirs.v):
            try:
                if "invalid" in observed(other):
                    continue
                if torch.broadcast_shapes(other.shape, t.shape) == t.shape:
                    fits.append((i, other))
            except RuntimeError:
                continue
        if not fits or self.pick(15) == 0:
            some = [x for x in enumerate(self.theirs.v) if "invalid" not in observed(x[1])]
            return some[self.pick(len(some))]
        return fits[self.pick(len(fits))]

    def mark(self, i: int) -> str:
        """Let v[i] require gradients or not, but not where it has views: PyTorch calls those
        leaves that require gradients too, although they are not."""
        alone = [storage(t) for t in self.theirs.v].count(storage(self.theirs.v[i])) == 1
        change = "detach_" if observed(self.theirs.v[i]).get("has_grad_fn") else "requires_grad_"
        return f"v[{i}].{change}()" if alone else f"v[{i}].mul_(-1)"

    def change(self) -> str:
        i, t = self.tensor()
        if i in self.wide:
            return "pass"
        j, other = self.fitting(t)
        if i in self.detached and other.requires_grad:
            # Detached tensors do not become part of a graph by being written to, as in PyTorch.
            j = i
        number = self.pick(7) / 4 - 0.75
        if not dense(t) or not dense(other) or 1 in (*t.shape, *other.shape):
            # Reading what is being written is only found out for dense tensors, and strides of
            # dimensions of one element differ.
            j = i if storage(other) == storage(t) else j
        whole = f"v[{i}][...] = v[{j}]"
        if storage(self.theirs.v[j]) == storage(t):
            whole = f"v[{i}].square_()"
        out = f"torch.mul(v[{i}], v[{j}], out=v[{i}])"
        return self.choose(
            f"v[{i}].add_(v[{j}])", f"v[{i}].add_({number})", f"v[{i}].mul_({number})",
            f"v[{i}].mul_(v[{j}])", f"v[{i}].copy_(v[{j}])", f"v[{i}].fill_({number})",
            f"v[{i}].zero_()", f"v[{i}].relu_()", f"v[{i}].clamp_(-0.5, 0.75)",
            f"v[{i}] += v[{j}]", f"v[{i}] *= {number}", f"v[{i}] -= v[{j}]", f"v[{i}].tanh_()",
            f"v[{i}].sub_(v[{j}], alpha=2)", f"v[{i}].neg_()",
            f"v[{i}][{self.index(t)}] = {number}", f"v[{i}][{self.index(t)}] *= {number}",
            f"v[{i}][{self.index(t, True)}] = {number}",
            f"v[{i}][v[{i}].detach() > 0] = {number}",
            f"v[{i}][{self.index(t)}] += v[{j}].detach().sum()",
            f"v[{i}].masked_fill_(v[{j}].detach() > 0, {number})",
            out, self.mark(i),
            whole,
        )  # fmt: skip
