"""Native forms: recorded functions whose hits run as machine code (`codegen.hits`).

`install` gives every form of `forms` a native twin and puts it in the way of calls: as method or
operator of `Tensor` directly, in functions of modules behind a line of Python, so that they stay
the objects they were. Both build the same keys and walk the same trie; what is not a plain hit the
twin hands to the Python form. Nothing happens until native code was wanted for something else
(`after_compiling`), nor on an interpreter whose objects were never tried here.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from typing import Any

import numpy as np

from ..core import flags
from ..core.device import Device
from ..core.dtypes import DType
from ..runtime import quick
from ..runtime.buffer import Array, Buffer
from ..runtime.memory import Memory, allocate
from ..runtime.program import ExecutionCount, executed
from . import flush, forms, region
from .exclusive import Shared, shared
from .flush import Plan
from .parameter import Parameter
from .record import _CLOSE, _OPEN
from .size import Size
from .tensor import Extra, Tensor
from .trace import LeafKey, Meta, State, Trace, local

_CLASSES: dict[str, type] = {
    "Tensor": Tensor, "Trace": Trace, "State": State, "Meta": Meta, "Shared": Shared,
    "Extra": Extra, "LeafKey": LeafKey, "Plan": Plan, "Buffer": Buffer, "Memory": Memory,
    "ExecutionCount": ExecutionCount,
}  # fmt: skip
# Versions of CPython whose objects `codegen.hits` was tested against.
_VERSIONS = ((3, 11), (3, 12), (3, 13))
# What calls of native forms run, by kind of form.
_ENTRIES = ("record_call", "record_backward", "record_flush", "record_update",
            "run_buffers", "run_begin", "run_finish")  # fmt: skip
_POINTER = struct.calcsize("P")

# Numbers of CPython's stable interface.
_TP_CALL, _TP_DESCR_GET, _TP_MEMBERS = 50, 54, 72
_T_PYSSIZET, _READONLY = 19, 1
_DISALLOW_INSTANTIATION, _HAVE_VECTORCALL, _METHOD_DESCRIPTOR = 1 << 7, 1 << 11, 1 << 17

# What native forms refer to must outlive them, and they are never freed.
_kept: list[Any] = []
_replaced: list[tuple[str, Any]] = []
_tried = False


class _Member(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("type", ctypes.c_int), ("offset", ctypes.c_ssize_t),
        ("flags", ctypes.c_int), ("doc", ctypes.c_char_p),
    )  # fmt: skip


class _Slot(ctypes.Structure):
    _fields_ = (("slot", ctypes.c_int), ("function", ctypes.c_void_p))


class _Spec(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("size", ctypes.c_int), ("itemsize", ctypes.c_int),
        ("flags", ctypes.c_uint), ("slots", ctypes.POINTER(_Slot)),
    )  # fmt: skip


def after_compiling() -> None:
    """Install native forms once something has been compiled, or all is to be."""
    if not _tried and flags.backend != "reference" and "llvmlite" in sys.modules:
        install()


def supported() -> bool:
    """Whether this interpreter's objects are laid out as the native code expects."""
    return (
        sys.implementation.name == "cpython"
        and sys.version_info[:2] in _VERSIONS
        and not getattr(sys, "abiflags", "")  # no debug build, no build without a global lock
        and _POINTER == 8
    )


def install() -> bool:
    """Put native forms in the way of recorded calls. False where this is not possible; then
    everything is as before."""
    global _tried
    if _replaced:
        return True
    _tried = True
    if not supported():
        return False
    try:
        make = _maker()
    except (ImportError, OSError, RuntimeError):
        return False  # no llvmlite, an unknown processor, a layout that is not as expected
    from ..runtime.native_run import LoadedProgram

    twins: dict[Any, Any] = {}
    for form in forms.FORMS:
        twins[form.public] = form.native = make(form)
    forms.make_native = make
    backward = vars(Tensor)["backward"]
    twins[backward] = make(forms.Form(0, backward), "record_backward")
    flush.quick = make(forms.Form(0, flush.flush), "record_flush")
    region.quick = make(forms.Form(0, region.fused_update), "record_update")
    buffers, begin, finish = (
        make(forms.Form(0, LoadedProgram.run), entry) for entry in _ENTRIES if entry[:3] == "run"
    )
    quick.current = quick.Quick(buffers, begin, finish)
    for name, value in list(vars(Tensor).items()):
        twin = twins.get(value) if callable(value) else None
        if twin is not None:
            _replaced.append((name, value))
            setattr(Tensor, name, twin)
    return True


def remove() -> None:
    """Undo `install`."""
    global _tried
    _tried = False
    forms.make_native = None
    flush.quick = region.quick = quick.current = None
    for form in forms.FORMS:
        form.native = None
    for name, value in _replaced:
        setattr(Tensor, name, value)
    _replaced.clear()


def _reshaped(array: Array, shape: tuple[int, ...]) -> Array:
    return array.reshape(shape)


def _maker() -> Any:
    """A function that makes the native twin of a form."""
    from ..codegen.hits import hit_module
    from ..codegen.objects import objects
    from ..codegen.python_objects import ARRAY, DENSE, FIELDS, FORM, TABLE
    from ..codegen.target import host
    from ..runtime import native_run
    from ..runtime.loader import load
    from ..runtime.ready import Ready

    _check_arrays(ARRAY, DENSE)
    classes = {**_CLASSES, "Ready": Ready}
    names = [*FIELDS, *(f"Extra.{name}" for name in Extra.__slots__)]
    text = hit_module({name: _offset(classes, *name.split(".")) for name in names})
    target = host()
    library = load(objects([text], target)[text], [*_ENTRIES, "record_bind"])
    known: dict[str, Any] = {
        "Tensor": Tensor, "Parameter": Parameter, "Trace": Trace, "Extra": Extra, "shared": shared,
        "template": Extra(), "None": None, "True": True, "float": float, "bool": bool,
        "tuple": tuple, "list": list, "Size": Size, "open": _OPEN, "close": _CLOSE,
        "text of False": repr(False), "int": int, "NoneType": type(None), "str": str,
        "DType": DType, "Device": Device, "ellipsis": type(Ellipsis), "False": False, "0": 0,
        "1": 1, "local": local, "name of trace": "trace", "Memory": Memory, "Buffer": Buffer,
        "executed": executed, "reshaped": _reshaped, "observers of flushes": flush.observers,
        "observers of runs": native_run.observers, "allocate": allocate,
        "ndarray": np.ndarray,
    }  # fmt: skip
    table = (ctypes.c_void_p * len(TABLE))(*[id(known[name]) for name in TABLE])
    kind = _form_type(library.addresses["record_bind"], FORM)
    _kept.extend((library, known, table, kind))
    new = ctypes.pythonapi.PyType_GenericAlloc
    new.argtypes, new.restype = (ctypes.py_object, ctypes.c_ssize_t), ctypes.py_object

    def make(form: forms.Form, entry: str = "record_call") -> Any:
        made = new(kind, 0)
        _kept.append((made, form.code, form.slow))
        for field, value in (
            ("vectorcall", library.addresses[entry]), ("table", ctypes.addressof(table)),
            ("code", id(form.code)), ("slow", id(form.slow)), ("swapped", int(form.swapped)),
        ):  # fmt: skip
            ctypes.c_size_t.from_address(id(made) + FORM[field]).value = value
        for name in ("__name__", "__qualname__", "__doc__", "__module__"):
            setattr(made, name, getattr(form.public, name))
        made.__wrapped__ = getattr(form.public, "__wrapped__", form.public)
        return made

    return make


def _offset(classes: dict[str, type], owner: str, name: str) -> int:
    """Where a field lies in the instances of a class with slots. RuntimeError if that cannot be
    told with certainty."""
    cls = classes[owner]
    descriptor = vars(cls)[name]
    # A member descriptor: head, class, name, qualified name, then the member's definition.
    address = ctypes.c_size_t.from_address(id(descriptor) + 5 * _POINTER).value
    member = _Member.from_address(address)
    probe, value = object.__new__(cls), object()
    setattr(probe, name, value)
    offset = int(member.offset)
    size = cls.__basicsize__
    if member.name != name.encode() or not 2 * _POINTER <= offset <= size - _POINTER:
        raise RuntimeError(f"the field {name} of {owner} is not where it was expected")
    if ctypes.c_size_t.from_address(id(probe) + offset).value != id(value):
        raise RuntimeError(f"the field {name} of {owner} is not where it was expected")
    delattr(probe, name)
    return offset


def _check_arrays(fields: dict[str, int], dense: int) -> None:
    """RuntimeError if NumPy's arrays are not laid out as machine code expects."""
    for array, is_dense in ((np.ones((2, 3)), True), (np.ones((2, 3)).T, False)):
        flags = ctypes.c_int.from_address(id(array) + fields["flags"]).value
        address = ctypes.c_size_t.from_address(id(array) + fields["data"]).value
        if address != array.ctypes.data or (flags & dense == dense) != is_dense:
            raise RuntimeError("NumPy's arrays are not as expected")


def _form_type(bind: int, fields: dict[str, int]) -> Any:
    """The class of native forms."""
    from ..codegen.python_objects import FORM_SIZE

    members = (_Member * 3)(
        _Member(b"__vectorcalloffset__", _T_PYSSIZET, fields["vectorcall"], _READONLY, None),
        _Member(b"__dictoffset__", _T_PYSSIZET, fields["dict"], _READONLY, None),
    )
    call = ctypes.cast(ctypes.pythonapi.PyVectorcall_Call, ctypes.c_void_p).value
    slots = (_Slot * 4)(
        _Slot(_TP_CALL, call), _Slot(_TP_DESCR_GET, bind),
        _Slot(_TP_MEMBERS, ctypes.addressof(members)),
    )  # fmt: skip
    spec = _Spec(
        b"thalweg.tensor.hits.recorded_function", FORM_SIZE, 0,
        _DISALLOW_INSTANTIATION | _HAVE_VECTORCALL | _METHOD_DESCRIPTOR, slots,
    )  # fmt: skip
    _kept.extend((members, slots, spec))
    create = ctypes.pythonapi.PyType_FromSpec
    create.argtypes, create.restype = (ctypes.POINTER(_Spec),), ctypes.py_object
    kind = create(ctypes.byref(spec))
    kind.__repr__ = lambda self: f"<recorded function {self.__qualname__}>"
    # One of a kind, as functions are for `copy` and `pickle`.
    kind.__copy__ = lambda self: self
    kind.__deepcopy__ = lambda self, memo: self
    kind.__reduce__ = lambda self: self.__qualname__
    return kind


flush.after_planning.append(after_compiling)
