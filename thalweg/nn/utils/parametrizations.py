"""Ready parametrizations of weights: by direction and length, and by the largest singular value."""

from __future__ import annotations

from typing import Any

import thalweg
from thalweg.nn import functional as F
from thalweg.nn.conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from thalweg.nn.module import Module
from thalweg.nn.utils.parametrize import register_parametrization
from thalweg.tensor import Tensor


def norm_except(weight: Tensor, dim: int) -> Tensor:
    """The norm over all dimensions but ``dim``, which are kept; over all of them for -1 (0-d)."""
    if dim == -1:
        return thalweg.linalg.vector_norm(weight)  # type: ignore[no-any-return]
    others = tuple(d for d in range(weight.ndim) if d != dim % weight.ndim)
    if not others:
        return weight.abs()  # type: ignore[attr-defined, no-any-return]
    return thalweg.linalg.vector_norm(weight, 2, others, True)  # type: ignore[no-any-return]


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / norm_except(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train the length and the direction of a weight apart: ``original0`` holds the norms along
    ``dim`` (None: of the whole), ``original1`` the directions. Returns the module.

    Salimans and Kingma, arXiv 1602.07868.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename(
        module: Any, state: dict[str, Any], prefix: str, *rest: Any
    ) -> None:  # states of the older, hook-based form
        g, v = f"{prefix}{name}_g", f"{prefix}{name}_v"
        if g in state and v in state:
            state[f"{prefix}parametrizations.{name}.original0"] = state.pop(g)
            state[f"{prefix}parametrizations.{name}.original1"] = state.pop(v)

    module._register_load_state_dict_pre_hook(rename, with_module=True)
    return module


class SpectralNorm(Module):
    """A weight divided by an estimate of its largest singular value, by power iteration.

    ``warm_up`` iterations are made at once; ``u_first`` says which vector a step begins with.
    """

    _u: Tensor
    _v: Tensor

    def __init__(
        self,
        weight: Tensor,
        n_power_iterations: int = 1,
        dim: int = 0,
        eps: float = 1e-12,
        warm_up: int = 15,
        u_first: bool = True,
    ) -> None:
        super().__init__()
        ndim = weight.ndim
        if not -ndim <= dim < ndim:
            raise IndexError(
                "Dimension out of range (expected to be in range of "
                f"[-{ndim}, {ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got "
                f"n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % ndim
        self.eps = eps
        self.u_first = u_first
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._matrix(weight.detach())
            rows, columns = matrix.shape
            for name, size in (("_u", rows), ("_v", columns)):
                start = thalweg.randn(size, dtype=weight.dtype)
                self.register_buffer(name, F.normalize(start, dim=0, eps=eps))
            self._iterate(matrix, warm_up)

    def _matrix(self, weight: Tensor) -> Tensor:
        moved: Any = weight
        if self.dim:
            moved = moved.permute(self.dim, *(d for d in range(moved.ndim) if d != self.dim))
        return moved.flatten(1)  # type: ignore[no-any-return]

    def _iterate(self, matrix: Any, count: int) -> None:
        with thalweg.no_grad():
            u, v = self._u, self._v
            for _ in range(count):
                if self.u_first:
                    u = F.normalize(matrix @ v, dim=0, eps=self.eps)
                v = F.normalize(matrix.T.conj() @ u, dim=0, eps=self.eps)
                if not self.u_first:
                    u = F.normalize(matrix @ v, dim=0, eps=self.eps)
            self._u.copy_(u)  # type: ignore[attr-defined]
            self._v.copy_(v)  # type: ignore[attr-defined]

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)  # type: ignore[no-any-return]
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        # Copies: the buffers are written to again before a second backward pass may read them.
        u, v = self._u.clone(), self._v.clone()
        return weight / thalweg.vdot(u, matrix @ v)  # type: ignore[no-any-return]

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


# The name that printed models and saved state know it by.
SpectralNorm.__name__ = SpectralNorm.__qualname__ = "_SpectralNorm"


def default_dim(module: Module, dim: int | None) -> int:
    """The dimension of a weight that counts its outputs."""
    if dim is not None:
        return dim
    return int(isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)))


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a weight by its largest singular value, estimated by ``n_power_iterations`` steps of
    power iteration in each training forward. Returns the module.

    ``dim`` counts the outputs (default 0, of transposed convolutions 1). ``ValueError`` without
    such a tensor or iterations. Miyato et al., arXiv 1802.05957.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    made = SpectralNorm(weight, n_power_iterations, default_dim(module, dim), eps)
    register_parametrization(module, name, made)
    return module


__all__ = ["spectral_norm", "weight_norm"]
