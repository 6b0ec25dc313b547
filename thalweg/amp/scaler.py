"""`GradScaler`: scales losses up so that small half-precision gradients do not vanish."""

from __future__ import annotations

import warnings
from typing import Any

from ..core.errors import located
from ..tensor.creation import scalar_tensor


class GradScaler:
    """Scales losses, unscales gradients, skips steps whose gradients overflowed, adapts the scale.

    Args: ``device`` ("cuda": off, as there is none), ``init_scale``, ``growth_factor`` (> 1) after
    ``growth_interval`` steps without overflow, ``backoff_factor`` (< 1) after one with it, and
    ``enabled``.
    """

    def __init__(self, device: str = "cuda", init_scale: float = 2.0**16,
                 growth_factor: float = 2.0, backoff_factor: float = 0.5,
                 growth_interval: int = 2000, enabled: bool = True) -> None:  # fmt: skip
        self._device = device
        if enabled and device == "cuda":
            warnings.warn("torch.cuda.amp.GradScaler is enabled, but CUDA is not available."
                          " Disabling.", stacklevel=2)  # fmt: skip
            enabled = False
        if growth_factor <= 1.0:
            raise located(AssertionError("The growth factor must be > 1.0."))
        if backoff_factor >= 1.0:
            raise located(AssertionError("The backoff factor must be < 1.0."))
        self._enabled = enabled
        self._scale = float(init_scale)
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._steps = 0
        # Of each optimizer whose gradients were unscaled since the last update: whether some
        # gradient overflowed, and whether it stepped.
        self._overflowed: dict[int, bool] = {}
        self._stepped: set[int] = set()

    def scale(self, outputs: Any) -> Any:
        """A tensor, or a nest of lists and tuples of them, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(o) for o in outputs)
        return outputs * scalar_tensor(self._scale).to(outputs.dtype)

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer by the scale, to look at or clip them before its
        step. RuntimeError if that was done since the last `update`, or after its step."""
        if not self._enabled:
            return
        if id(optimizer) in self._overflowed:
            raise located(RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            ))  # fmt: skip
        if id(optimizer) in self._stepped:
            raise located(RuntimeError("unscale_() is being called after step()."))
        self._unscale(optimizer)

    def _unscale(self, optimizer: Any) -> None:
        found = []
        inverse = 1.0 / self._scale
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    gradient = parameter.grad.detach() * inverse
                    found.append(gradient.isfinite().all())
                    parameter.grad = gradient
        finite = [bool(f) for f in found]
        if not finite:
            raise located(AssertionError("No inf checks were recorded for this optimizer."))
        self._overflowed[id(optimizer)] = not all(finite)

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step(...)`` with unscaled gradients, or nothing if some overflowed."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise located(
                RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
            )
        if id(optimizer) in self._stepped:
            raise located(RuntimeError("step() has already been called since the last update()."))
        if id(optimizer) not in self._overflowed:
            self._unscale(optimizer)
        self._stepped.add(id(optimizer))
        return None if self._overflowed[id(optimizer)] else optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Adapt the scale to what the steps since the last update met, or set it."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._overflowed:
            raise located(AssertionError("No inf checks were recorded prior to update."))
        elif any(self._overflowed.values()):
            self._scale *= self._backoff_factor
            self._steps = 0
        else:
            self._steps += 1
            if self._steps == self._growth_interval:
                self._scale *= self._growth_factor
                self._steps = 0
        self._overflowed.clear()
        self._stepped.clear()

    def get_scale(self) -> float:
        """The scale; 1 if scaling is off."""
        return self._scale if self._enabled else 1.0

    def is_enabled(self) -> bool:
        """Whether anything is scaled."""
        return self._enabled

    def get_growth_factor(self) -> float:
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """The state as plain numbers; empty if scaling is off."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale, "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor, "growth_interval": self._growth_interval,
            "_growth_tracker": self._steps,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state. RuntimeError for an empty one while scaling is on."""
        if not self._enabled:
            return
        if not state_dict:
            raise located(RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled "
                "instance of GradScaler."
            ))  # fmt: skip
        self._scale = state_dict["scale"]
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._steps = state_dict["_growth_tracker"]
