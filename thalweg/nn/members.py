"""A module's members as one mapping per kind: parameters, buffers and submodules.

Values live in the module's own ``__dict__`` (so ``self.weight`` is an ordinary attribute read);
``Module._members`` records which names are members, in registration order, and of which kind.
A ``MemberView`` is the dictionary-shaped face of one kind; it owns nothing, so it cannot go stale.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, Final

PARAMETER: Final = "parameter"
BUFFER: Final = "buffer"
MODULE: Final = "module"


class MemberView(MutableMapping[str, Any]):
    """Live mapping from name to value over one kind of member of a module."""

    __slots__ = ("_attributes", "_kind", "_members")

    def __init__(self, attributes: dict[str, Any], kind: str) -> None:
        self._attributes = attributes
        self._members: dict[str, str] = attributes["_members"]
        self._kind = kind

    def __getitem__(self, name: str) -> Any:
        if self._members.get(name) != self._kind:
            raise KeyError(name)
        return self._attributes[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if self._members.get(name) != self._kind:
            self._members.pop(name, None)
            self._members[name] = self._kind
        self._attributes[name] = value

    def __delitem__(self, name: str) -> None:
        if self._members.get(name) != self._kind:
            raise KeyError(name)
        del self._members[name]
        del self._attributes[name]

    def __iter__(self) -> Iterator[str]:
        kind = self._kind
        return iter([name for name, found in self._members.items() if found == kind])

    def __len__(self) -> int:
        kind = self._kind
        return sum(found == kind for found in self._members.values())

    def copy(self) -> dict[str, Any]:
        """An ordinary dictionary with the members of this moment."""
        return dict(self.items())

    def __repr__(self) -> str:
        return repr(dict(self.items()))
