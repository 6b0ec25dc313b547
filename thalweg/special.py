"""`torch.special`: the recorded functions whose public names begin with ``special.``."""

from typing import Any

from .tensor.functional import namespace


def __getattr__(name: str) -> Any:
    found = namespace("special").get(name)
    if found is None:
        raise AttributeError(f"module 'thalweg.special' has no function {name!r}")
    return found


def __dir__() -> list[str]:
    return sorted(namespace("special"))
