"""Weight and spectral normalisation by hooks: the older form, with state keys of its own.

The weight is an ordinary attribute that a hook computes before each forward. `parametrizations`
has the form that also keeps the attribute up to date between calls.
"""

from __future__ import annotations

import warnings
from typing import Any

import thalweg
from thalweg.nn.module import Module
from thalweg.nn.utils.parametrizations import SpectralNorm, default_dim, norm_except
from thalweg.tensor import Parameter, Tensor


def _move_to_parameters(module: Any, name: str, parts: dict[str, Tensor]) -> None:
    """Replace the parameter ``name`` by others."""
    delattr(module, name)
    for part, value in parts.items():
        module.register_parameter(part, Parameter(value.detach().clone()))


def _taken(module: Any, name: str, kind: type) -> bool:
    hooks = module._forward_pre_hooks.values()
    return any(isinstance(hook, kind) and hook.name == name for hook in hooks)


def _remove(module: Any, name: str, kind: Any) -> Any:
    """Take off the hook of a kind for a name; ValueError if there is none."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, kind) and hook.name == name:
            del module._forward_pre_hooks[key]
            return hook
    raise ValueError(f"{kind.what} of '{name}' not found in {module}")


def _restore(module: Any, name: str, value: Tensor) -> None:
    delattr(module, name)
    module.register_parameter(name, Parameter(value.detach().clone()))


class WeightNorm:
    """The hook of `weight_norm`."""

    what = "weight_norm"

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Any) -> Tensor:
        g, v = getattr(module, self.name + "_g"), getattr(module, self.name + "_v")
        return v * (g / norm_except(v, self.dim))  # type: ignore[no-any-return]

    def __call__(self, module: Any, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train length and direction of a weight apart, as ``<name>_g`` and ``<name>_v``. Returns the
    module. RuntimeError if that is so already. Deprecated: `parametrizations.weight_norm`.

    Salimans and Kingma, arXiv 1602.07868.
    """
    warnings.warn(
        "`nn.utils.weight_norm` is deprecated in favor of `nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    if _taken(module, name, WeightNorm):
        raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    hook = WeightNorm(name, dim)
    weight = getattr(module, name)
    with thalweg.no_grad():
        length = norm_except(weight, hook.dim)
    _move_to_parameters(module, name, {name + "_g": length, name + "_v": weight})
    setattr(module, name, hook.compute_weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight an ordinary parameter of its present value. ValueError if it is one."""
    hook = _remove(module, name, WeightNorm)
    with thalweg.no_grad():
        weight = hook.compute_weight(module)
    delattr(module, name + "_g")
    delattr(module, name + "_v")
    _restore(module, name, weight)
    return module


class SpectralNormHook:
    """The hook of `spectral_norm`; its vectors are buffers of the module it is on."""

    what = "spectral_norm"

    def __init__(self, name: str, estimate: SpectralNorm) -> None:
        self.name = name
        # In a tuple: the module that iterates is no child of the one whose weight it divides.
        self._estimate = (estimate,)

    def compute_weight(self, module: Any, iterate: bool) -> Tensor:
        (estimate,) = self._estimate
        estimate.train(iterate)
        if not hasattr(module, self.name + "_u"):
            return estimate(getattr(module, self.name + "_orig"))  # type: ignore[no-any-return]
        estimate._u, estimate._v = (getattr(module, self.name + end) for end in ("_u", "_v"))
        return estimate(getattr(module, self.name + "_orig"))  # type: ignore[no-any-return]

    def __call__(self, module: Any, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, module.training))


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a weight, kept as ``<name>_orig``, by an estimate of its largest singular value.

    Returns the module. RuntimeError if that is so already, ValueError for no iterations. The form
    in `parametrizations` is to be preferred. Miyato et al., arXiv 1802.05957.
    """
    if _taken(module, name, SpectralNormHook):
        raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    weight = getattr(module, name)
    estimate = SpectralNorm(
        weight, n_power_iterations, default_dim(module, dim), eps, warm_up=0, u_first=False
    )
    _move_to_parameters(module, name, {name + "_orig": weight})
    for end, vector in (("_u", "_u"), ("_v", "_v")):
        if vector in estimate._buffers:
            module.register_buffer(name + end, getattr(estimate, vector))
    setattr(module, name, weight.detach())
    module.register_forward_pre_hook(SpectralNormHook(name, estimate))
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight an ordinary parameter of its present value. ValueError if it is one."""
    hook = _remove(module, name, SpectralNormHook)
    with thalweg.no_grad():
        weight = hook.compute_weight(module, False)
    for end in ("_orig", "_u", "_v"):
        if hasattr(module, name + end):
            delattr(module, name + end)
    _restore(module, name, weight)
    return module


__all__ = ["remove_spectral_norm", "remove_weight_norm", "spectral_norm", "weight_norm"]
