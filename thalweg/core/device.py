"""Devices as values: where a tensor lives, and whether this build can put data there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn, final

from thalweg.core.errors import ArgumentError, DeviceError

TYPES = ("cpu", "cuda", "meta")

_FORM = re.compile(r"([A-Za-z_]+)(?::(0|[1-9][0-9]*))?")
_MAX_INDEX = 127
_INTERNED: dict[tuple[str, int | None], Device] = {}


@final
class Device:
    """A device type with an optional index: `Device('cuda:0')`, `Device('cuda', 0)`.

    'cpu' and 'cpu:0' are different values, as in PyTorch. Equal devices are one object, so
    comparing and hashing cost nothing. RuntimeError for strings that name no device.
    """

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __new__(cls, type: str | int | Device, index: int | None = None) -> Device:
        if isinstance(type, Device):
            if index is not None:
                raise ArgumentError(f"device(): got index {index!r} beside the device {type!r}")
            return type
        if isinstance(type, int) and not isinstance(type, bool):
            # PyTorch reads a bare number as an accelerator's index, and there is none here.
            raise DeviceError(
                f"Cannot access accelerator device when none is available: device({type})"
            )
        if not isinstance(type, str):
            given = type.__class__.__name__
            raise ArgumentError(f"device(): argument 'type' must be str or device, not {given}")
        name, parsed = _parse(type)
        if index is not None:
            if not isinstance(index, int) or isinstance(index, bool):
                given = index.__class__.__name__
                raise ArgumentError(f"device(): argument 'index' must be int, not {given}")
            if parsed is not None:
                raise DeviceError(
                    "type (string) must not include an index because index was passed "
                    f"explicitly: {type}"
                )
            if not 0 <= index <= _MAX_INDEX:
                raise DeviceError(f"Device index must be in 0..{_MAX_INDEX}, got {index}")
            parsed = index
        return _intern(name, parsed)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"device {self} is immutable: cannot set '{name}'")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"device {self} is immutable: cannot delete '{name}'")

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __enter__(self) -> Device:
        """Make new tensors here for a ``with`` block. RuntimeError where none can be."""
        _defaults.append(get_default_device())
        set_default_device(self)
        return self

    def __exit__(self, *error: object) -> None:
        set_default_device(_defaults.pop())

    def __reduce__(self) -> tuple[Callable[[str], Device], tuple[str]]:
        return Device, (str(self),)


def _parse(text: str) -> tuple[str, int | None]:
    if not text:
        raise DeviceError("Device string must not be empty")
    match = _FORM.fullmatch(text)
    if match is None or (match[2] is not None and int(match[2]) > _MAX_INDEX):
        raise DeviceError(
            f"Invalid device string: '{text}'; expected TYPE or TYPE:INDEX, such as 'cpu', 'cuda:0'"
        )
    if match[1] not in TYPES:
        raise DeviceError(
            f"Expected one of {', '.join(TYPES)} device type at start of device string: {text}"
        )
    return match[1], None if match[2] is None else int(match[2])


def _intern(name: str, index: int | None) -> Device:
    found = _INTERNED.get((name, index))
    if found is not None:
        return found
    device = object.__new__(Device)
    object.__setattr__(device, "type", name)
    object.__setattr__(device, "index", index)
    # setdefault is atomic: two threads that race still end with one object.
    return _INTERNED.setdefault((name, index), device)


CPU = Device("cpu")
META = Device("meta")


_default = CPU
_defaults: list[Device] = []
# Called when another device becomes the default.
listeners: list[Callable[[], object]] = []


def get_default_device() -> Device:
    """Where new tensors are made if nothing else is said."""
    return _default


def set_default_device(device: str | Device | None) -> None:
    """Make new tensors there (None: on the CPU). RuntimeError where no tensor can be."""
    global _default
    _default = CPU if device is None else available(device)
    for listener in listeners:
        listener()


def available(device: str | int | Device) -> Device:
    """The device where tensors asked for on ``device`` are: there is one 'meta', whatever its
    index. RuntimeError where this build has none."""
    chosen = Device(device)
    require_available(chosen)
    return META if chosen.type == "meta" else chosen


def require_available(device: Device) -> None:
    """RuntimeError unless tensors can be on `device` in this build."""
    if device.type not in ("cpu", "meta"):
        raise DeviceError(
            f"device '{device}' is not available: this build of thalweg runs on 'cpu', and infers "
            "shapes on 'meta'"
        )
