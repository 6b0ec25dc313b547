"""`torch.fft`: the recorded functions whose public names begin with ``fft.``."""

from typing import Any

from .tensor.functional import namespace


def __getattr__(name: str) -> Any:
    found = namespace("fft").get(name)
    if found is None:
        raise AttributeError(f"module 'thalweg.fft' has no function {name!r}")
    return found


def __dir__() -> list[str]:
    return sorted(namespace("fft"))
