"""`torch.linalg`: the recorded functions whose public names begin with ``linalg.``."""

from typing import Any

from .ops.linalg_shared import LinAlgError as LinAlgError
from .tensor.functional import namespace


def __getattr__(name: str) -> Any:
    found = namespace("linalg").get(name)
    if found is None:
        raise AttributeError(f"module 'thalweg.linalg' has no function {name!r}")
    return found


def __dir__() -> list[str]:
    return sorted([*namespace("linalg"), "LinAlgError"])
