"""`torch.torch_version`: a version that compares with strings and tuples."""

from __future__ import annotations

import re
from typing import Any

from ..names import VERSION


def _parts(version: Any) -> tuple[int, ...]:
    if isinstance(version, str):
        found = re.match(r"\d+(\.\d+)*", version)
        return tuple(map(int, found[0].split("."))) if found else ()
    return tuple(int(part) for part in version)


class TorchVersion(str):
    """A version string ordered by its numbers: ``TorchVersion("2.13.0") > (2, 9)``."""

    def __lt__(self, other: Any) -> bool:
        return _parts(self) < _parts(other)

    def __le__(self, other: Any) -> bool:
        return self < other or self == other

    def __gt__(self, other: Any) -> bool:
        return _parts(self) > _parts(other)

    def __ge__(self, other: Any) -> bool:
        return self > other or self == other

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, str):
            return str.__eq__(self, other) or _parts(self) == _parts(other)
        return isinstance(other, (tuple, list)) and _parts(self) == _parts(other)

    def __ne__(self, other: Any) -> bool:
        return not self == other

    __hash__ = str.__hash__


__version__ = TorchVersion(VERSION)
