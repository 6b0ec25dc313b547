"""`torch.signal.windows`: the recorded functions of ``signal.windows``."""

from typing import Any

from ..tensor.functional import namespace


def __getattr__(name: str) -> Any:
    found = namespace("signal.windows").get(name)
    if found is None:
        raise AttributeError(f"module 'thalweg.signal.windows' has no function {name!r}")
    return found


def __dir__() -> list[str]:
    return sorted(namespace("signal.windows"))
