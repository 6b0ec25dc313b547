"""`torch.xpu`: a kind of device that is not here."""

from .accelerator import device_count, empty_cache, is_available, synchronize

__all__ = ["device_count", "empty_cache", "is_available", "synchronize"]
