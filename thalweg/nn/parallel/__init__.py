"""`torch.nn.parallel` on one device: `DataParallel` runs its module, process groups are refused."""

from __future__ import annotations

from typing import Any

from ...core.errors import DeviceError, located
from ..module import Module


class DataParallel(Module):
    """Splits batches over GPUs; with none it calls its module, as PyTorch does.

    Args: ``module``; ``device_ids`` (sequence or None): RuntimeError if it names any.
    """

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None,
                 dim: int = 0) -> None:  # fmt: skip
        super().__init__()
        if device_ids:
            raise located(DeviceError(f"DataParallel: there is no GPU, given {device_ids!r}"))
        self.module = module
        self.device_ids: list[int] = []
        self.dim = dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)


class DistributedDataParallel(Module):
    """Averages gradients over processes. RuntimeError: there is one process."""

    def __init__(self, module: Module, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        raise located(
            RuntimeError(
                "DistributedDataParallel: this build of thalweg runs in one process; there is no "
                "process group"
            )
        )


__all__ = ["DataParallel", "DistributedDataParallel"]
