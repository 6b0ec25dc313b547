"""`torch.masked`: the recorded functions whose public names begin with ``masked.``."""

from typing import Any

from .tensor.functional import namespace


def __getattr__(name: str) -> Any:
    found = namespace("masked").get(name)
    if found is None:
        raise AttributeError(f"module 'thalweg.masked' has no function {name!r}")
    return found


def __dir__() -> list[str]:
    return sorted(namespace("masked"))
