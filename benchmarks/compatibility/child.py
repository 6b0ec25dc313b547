"""Runs models under one torch and writes what they computed: ``child WORLD FOLDER NAME...``.

WORLD is ``torch`` (writes the references ``NAME.npz``, float32 and float64) or ``thalweg`` (reads
their weights, writes ``NAME.thalweg.npz``, and to ``NAME.native`` what was compiled for it). Each
model's errors go to ``NAME.WORLD.error``.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .catalogue import Case, load

LEARNING_RATE = 0.01
# Relative changes of weights that show how far rounding carries: a few units in the last place.
NOISE = 1e-6


def file_of(folder: Path, name: str, ending: str) -> Path:
    """Where a result of a model stands."""
    return folder / (name.replace("/", "--") + ending)


def error_of(value: Any, truth: Any) -> float:
    """The largest difference; infinite where shapes, NaNs or infinities differ."""
    value, truth = np.asarray(value, np.float64), np.asarray(truth, np.float64)
    if value.shape != truth.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        difference = np.abs(value - truth)
    same = (value == truth) | (np.isnan(value) & np.isnan(truth))
    worst = np.max(np.where(same, 0.0, difference), initial=0.0)
    return np.inf if np.isnan(worst) else float(worst)


def tensors_of(value: Any) -> Iterator[Any]:
    """All floating point tensors in a nest of results, in a fixed order."""
    import torch

    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict) or hasattr(value, "to_tuple"):
        for item in dict(value).values():
            yield from tensors_of(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_of(item)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        for item in vars(value).values():
            if isinstance(item, (torch.Tensor, list, tuple)):
                yield from tensors_of(item)


def default_loss(result: Any) -> Any:
    """A scalar that depends on every element of every tensor of a result, with uneven weights."""
    import torch

    total = 0.0
    for tensor in tensors_of(result):
        count = tensor.numel()
        weights = torch.from_numpy(np.cos(np.arange(count)).astype(np.float32))
        total = total + (tensor * weights.reshape(tensor.shape).to(tensor.dtype)).mean()
        total = total + tensor.square().mean() * 0.1
    return total


@contextlib.contextmanager
def same_draws(torch: Any) -> Iterator[None]:
    """Random numbers that do not depend on the engine, and no dropout, for the whole block."""
    generator = np.random.default_rng(5)
    as_type = {torch.float64: np.float64}

    def shape_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, ...]:
        if "size" in kwargs:
            return tuple(kwargs["size"])
        return tuple(args[0]) if args and not isinstance(args[0], int) else tuple(args)

    def drawn(kind: str, like: bool) -> Any:
        def draw(*args: Any, **kwargs: Any) -> Any:
            size = tuple(args[0].shape) if like else shape_of(args, kwargs)
            dtype = kwargs.get("dtype") or (args[0].dtype if like else torch.get_default_dtype())
            numbers = getattr(generator, kind)(size).astype(as_type.get(dtype, np.float32))
            made = torch.from_numpy(np.asarray(numbers)).to(dtype)
            return made.requires_grad_() if kwargs.get("requires_grad") else made

        return draw

    def integers(*args: Any, **kwargs: Any) -> Any:
        low, high = (0, args[0]) if isinstance(args[1], (tuple, list)) else args[:2]
        size = kwargs.get("size", args[-1])
        return torch.from_numpy(generator.integers(low, high, tuple(size)))

    def kept(input: Any, *args: Any, **kwargs: Any) -> Any:
        return input

    functional = torch.nn.functional
    attend = functional.scaled_dot_product_attention

    def attention(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
                  *args: Any, **kwargs: Any) -> Any:  # fmt: skip
        return attend(query, key, value, attn_mask, 0.0, *args, **kwargs)

    changes = [
        (torch, "randn", drawn("standard_normal", False)), (torch, "rand", drawn("random", False)),
        (torch, "randn_like", drawn("standard_normal", True)),
        (torch, "rand_like", drawn("random", True)),
        (functional, "scaled_dot_product_attention", attention),
        (torch, "randint", integers),
        (torch, "randperm", lambda n, **k: torch.from_numpy(generator.permutation(n))),
    ]  # fmt: skip
    changes += [(functional, name, kept) for name in
                ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout")]  # fmt: skip
    before = [(place, name, getattr(place, name)) for place, name, _ in changes]
    for place, name, value in changes:
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


def as_tensors(value: Any, double: bool) -> Any:
    """NumPy arrays in a nest as tensors."""
    import torch

    if isinstance(value, np.ndarray):
        array = value.astype(np.float64) if double and value.dtype == np.float32 else value
        return torch.from_numpy(array.copy())
    if isinstance(value, (list, tuple)):
        return type(value)(as_tensors(v, double) for v in value)
    if isinstance(value, dict):
        return {k: as_tensors(v, double) for k, v in value.items()}
    return value


def array_of(tensor: Any) -> Any:
    return np.array(tensor.detach().cpu().numpy())


def silence(model: Any) -> None:
    """Switch the dropout of modules off; the kind of numbers they draw is each engine's own."""
    kinds = ("dropout", "droppath", "alphadropout", "stochasticdepth", "multiheadattention")
    for module in model.modules():
        if type(module).__name__.lower().startswith(kinds):
            for name in ("p", "drop_prob", "dropout"):
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)


def run(case: Case, double: bool) -> dict[str, Any]:
    """Forward, loss, gradients, optimizer steps and state of one model, as arrays by name."""
    import torch

    model = case.model
    model.train(case.train)
    silence(model)
    found: dict[str, Any] = {}
    optimizer_class = getattr(torch.optim, case.optimizer)
    settings: dict[str, Any] = {"lr": LEARNING_RATE, "weight_decay": 0.01}
    if case.optimizer == "SGD":
        settings["momentum"] = 0.9
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = optimizer_class(trained, **settings)
    inputs, keywords = as_tensors(case.inputs, double), as_tensors(case.keywords, double)
    with same_draws(torch):
        for step in range(case.steps):
            result = (case.call or model)(*inputs, **keywords)
            loss = (case.loss or default_loss)(result)
            optimizer.zero_grad()
            loss.backward()
            if step == 0:
                for i, tensor in enumerate(tensors_of(result)):
                    found[f"forward.{i}"] = array_of(tensor)
                for name, parameter in model.named_parameters():
                    if parameter.grad is not None:
                        found[f"gradient.{name}"] = array_of(parameter.grad)
            found[f"loss.{step}"] = array_of(loss)
            optimizer.step()
    for name, tensor in model.state_dict().items():
        found[f"after.{name}"] = array_of(tensor)
    return found


def reference(build: Any, folder: Path, name: str) -> None:
    """Under PyTorch: weights, and results in float32 and float64."""
    import torch

    torch.manual_seed(0)
    np.random.seed(0)
    case = build()
    state = file_of(folder, name, ".pt")
    torch.save(case.model.state_dict(), state)
    found = {f"float32/{k}": v for k, v in run(case, False).items()}
    double = _again(build, state, True, 0.0)
    if double is None:  # some models name float32 themselves
        double = {k[8:]: v for k, v in found.items()}
    else:
        found |= {f"float64/{k}": v for k, v in double.items()}
    for seed in (1, 2):
        moved = _again(build, state, "float64/loss.0" in found, NOISE, seed) or {}
        for key, value in moved.items():
            name_of = f"noise/{key}"
            change = error_of(value, double[key])
            found[name_of] = np.maximum(found.get(name_of, np.float64(0)), change)
    np.savez(file_of(folder, name, ".npz"), **found)


def _again(
    build: Any, state: Path, double: bool, noise: float, seed: int = 0
) -> dict[str, Any] | None:
    """Another run from the same weights, each changed by a relative ``noise``; None if it fails."""
    import torch

    torch.manual_seed(0)
    np.random.seed(0)
    try:
        case = built(build)
        _restore(case.model, state)
        case.model.double() if double else case.model.float()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in case.model.parameters():
                if noise:
                    change = torch.empty_like(parameter).normal_(generator=generator)
                    parameter.mul_(1 + noise * change)
        return run(case, double)
    except Exception:
        return None


def built(build: Any) -> Case:
    """The model, from what is served as ``torch``. As by default, where the small programs
    that draw first weights are not worth compiling, thalweg computes those on NumPy; they are
    replaced by PyTorch's anyway."""
    thalweg = sys.modules.get("thalweg")
    if thalweg is None:
        return build()  # type: ignore[no-any-return]
    with sys.modules["thalweg.core.flags"].override(backend="reference"):
        case = build()
        thalweg.synchronize()
    return case  # type: ignore[no-any-return]


def _restore(model: Any, state: Path) -> list[str]:
    """Load weights from PyTorch's own file; their names."""
    import torch

    saved = torch.load(state)
    loaded = model.load_state_dict(saved)
    if loaded.missing_keys or loaded.unexpected_keys:
        raise AssertionError(f"state dicts differ: {loaded}")
    return list(saved)


class Compiled:
    """Counts what is compiled, by standing around the functions that make programs."""

    def __init__(self) -> None:
        self.makers = [
            (importlib.import_module("thalweg.planning.native"), "build", self._build),
            (importlib.import_module("thalweg.pipeline"), "plan", self._plan),
        ]
        self.made = [getattr(module, name) for module, name, _ in self.makers]
        self.forget()

    def __enter__(self) -> Compiled:
        for module, name, counting in self.makers:
            setattr(module, name, counting)
        return self

    def __exit__(self, *_: object) -> None:
        for (module, name, _), original in zip(self.makers, self.made):
            setattr(module, name, original)

    def forget(self) -> None:
        """Count from zero."""
        self.programs = self.kernels = self.on_numpy = 0
        self.seconds = 0.0
        self.host: set[str] = set()

    def _build(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        loaded = self.made[0](*args, **kwargs)
        self.seconds += time.perf_counter() - started
        self.programs += 1
        self.kernels += len(loaded.program.records)
        self.host |= {f"{step.name}: {step.reason}" for step in loaded.program.host_steps}
        return loaded

    def _plan(self, *args: Any, **kwargs: Any) -> Any:
        self.on_numpy += 1
        return self.made[1](*args, **kwargs)

    def write(self, path: Path) -> None:
        """What was counted, as JSON."""
        found = {"programs": self.programs, "kernels": self.kernels, "on_numpy": self.on_numpy,
                 "compiling": self.seconds, "host": sorted(self.host)}  # fmt: skip
        path.write_text(json.dumps(found))


def candidate(build: Any, folder: Path, name: str, compiled: Compiled | None = None) -> None:
    """Under thalweg: results from PyTorch's weights; in float64 too where those in float32 differ
    by more than rounding explains, to tell whether they are rounding's."""
    import torch

    started = time.perf_counter()
    torch.manual_seed(0)
    np.random.seed(0)
    case = built(build)
    if compiled:
        compiled.forget()
    names = _restore(case.model, file_of(folder, name, ".pt"))
    if list(case.model.state_dict()) != names:
        raise AssertionError(f"order of the state dict differs from {names[:5]}...")
    found = run(case, False)
    saved = io.BytesIO()
    torch.save(case.model.state_dict(), saved)
    file_of(folder, name, ".thalweg.pt").write_bytes(saved.getvalue())
    saved.seek(0)
    for key, tensor in torch.load(saved).items():
        if not np.array_equal(array_of(tensor), found[f"after.{key}"], equal_nan=True):
            raise AssertionError(f"{key} differs after saving and loading")
    seconds = time.perf_counter() - started
    if compiled:
        compiled.write(file_of(folder, name, ".native"))
    from .compare import disagreements

    with np.load(file_of(folder, name, ".npz")) as file:
        expected = dict(file)
    result = {f"float32/{key}": value for key, value in found.items()}
    if disagreements(expected, found)[0] and "float64/loss.0" in expected:
        double = _again(build, file_of(folder, name, ".pt"), True, 0.0) or {}
        result |= {f"float64/{key}": value for key, value in double.items()}
    np.savez(file_of(folder, name, ".thalweg.npz"), seconds=np.array(seconds), **result)


class Absent:
    """A namespace of operators that answer nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def without_compiled_operators() -> None:
    """Let torchvision and torchaudio import beside a PyTorch that their compiled parts, which the
    models here do not use, were not built for."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    globals()["_library"] = library  # operators live as long as their library
    torch.ops._torchaudio = torch.ops.torchaudio = Absent()
    load_library = torch.ops.load_library

    def tolerant(path: Any) -> None:
        if "torchaudio" not in str(path):
            load_library(path)

    torch.ops.load_library = tolerant


def main() -> None:
    """See the module's docstring."""
    world, target, *names = sys.argv[1:]
    folder = Path(target)
    warnings.simplefilter("ignore")
    if world == "thalweg":
        import thalweg.mock_torch

        thalweg.mock_torch.enable()
        compiled = Compiled().__enter__()  # for as long as the process lives
    else:
        import torch

        torch.set_num_threads(1)
        without_compiled_operators()
    entries = load()
    for name in names:
        failure = file_of(folder, name, f".{world}.error")
        failure.unlink(missing_ok=True)
        try:
            if world == "thalweg":
                candidate(entries[name].build, folder, name, compiled)
            else:
                reference(entries[name].build, folder, name)
        except BaseException as error:
            failure.write_text(traceback.format_exc())
            print(f"{world} {name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
            if not isinstance(error, Exception):
                raise
    if world == "thalweg":
        (folder / "missing.txt").open("a").writelines(
            f"{name}\t{asker}\n" for name, asker in thalweg.mock_torch.asked().items()
        )


if __name__ == "__main__":
    main()
