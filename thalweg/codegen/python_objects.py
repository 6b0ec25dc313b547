"""Objects of CPython as machine code sees them: fields of our classes, and a few calls of its API.

All objects that the code refers to are reached through a table, so that the text holds no addresses
and is cached like that of any kernel. Fields lie at the offsets that the classes' descriptors tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .builder import Function, Module, Val

# Fields of the form object behind its head (16 bytes).
FORM = {"vectorcall": 16, "table": 24, "code": 32, "slow": 40, "swapped": 48, "dict": 56}
FORM_SIZE = 64
# Objects that the code refers to, in the order of the table.
TABLE = (
    "Tensor", "Parameter", "Trace", "Extra", "shared", "template", "None", "True", "float", "bool",
    "tuple", "list", "Size", "open", "close", "text of False",
    "int", "NoneType", "str", "DType", "Device", "ellipsis", "False", "0", "1", "local",
    "name of trace", "Memory", "Buffer", "executed", "reshaped", "observers of flushes",
    "observers of runs", "allocate", "ndarray",
)  # fmt: skip
# Fields that the code reads and writes, besides all of an Extra.
FIELDS = (
    "Tensor._trace", "Tensor._meta", "Tensor._slot", "Tensor._buffer", "Tensor._extra",
    "Trace.state", "Trace.tensors", "Trace.inputs", "Trace.leaves", "Trace.scope",
    "Trace.boundaries", "State.next", "State.shortcuts", "State.meta", "State.plain", "State.view",
    "Meta.slot", "Meta.chain", "Meta.root", "Meta.leaf_key", "LeafKey.is_leaf",
    "LeafKey.requires_grad", "Shared.trace", "Shared.settings", "State.plans", "Plan.ready",
    "Trace.closed", "Trace.limit", "Trace.mode", "Trace.owner", "Trace.rng", "Ready.address",
    "Ready.counts", "Ready.kinds", "Ready.root", "Ready.settings", "Buffer._address",
    "Buffer._array", "Buffer._dtype", "Buffer._memory", "Buffer._shape", "Buffer.job",
    "Buffer.overwritten", "Memory._raw", "Memory.address", "Memory.size", "ExecutionCount._noted",
    "State.metas", "Meta.views", "Meta.requires_grad", "Meta.is_leaf",
)  # fmt: skip
# Where a NumPy array keeps its address and its flags, and those of dense, aligned arrays.
ARRAY = {"data": 16, "flags": 64}
DENSE = 0x101
PLAIN = ("int", "NoneType", "str", "DType", "Device", "ellipsis")
ITEMS = 48  # entries of a key; longer ones take the Python form

_API = (
    "declare void @Py_IncRef(ptr)",
    "declare void @_Py_Dealloc(ptr)",
    "declare void @PyErr_Clear()",
    "declare i64 @PyTuple_Size(ptr)",
    "declare ptr @PyTuple_GetItem(ptr, i64)",
    "declare ptr @PyTuple_New(i64)",
    "declare i32 @PyTuple_SetItem(ptr, i64, ptr)",
    "declare i64 @PyList_Size(ptr)",
    "declare ptr @PyList_GetItem(ptr, i64)",
    "declare i32 @PyList_Append(ptr, ptr)",
    "declare ptr @PyList_New(i64)",
    "declare i32 @PyList_SetSlice(ptr, i64, i64, ptr)",
    "declare ptr @PyDict_New()",
    "declare void @PyDict_Clear(ptr)",
    "declare i64 @PyDict_Size(ptr)",
    "declare ptr @PyBytes_FromStringAndSize(ptr, i64)",
    "declare ptr @PyBytes_AsString(ptr)",
    "declare ptr @PyLong_FromLongLong(i64)",
    "declare ptr @PyLong_AsVoidPtr(ptr)",
    "declare i64 @PyLong_AsLongLong(ptr)",
    "declare ptr @PyNumber_Add(ptr, ptr)",
    "declare i32 @PyList_SetItem(ptr, i64, ptr)",
    "declare i32 @PyObject_SetAttr(ptr, ptr, ptr)",
    "declare double @PyFloat_AsDouble(ptr)",
    "declare ptr @PyDict_GetItemWithError(ptr, ptr)",
    "declare i32 @PyDict_SetItem(ptr, ptr, ptr)",
    "declare ptr @PySequence_Concat(ptr, ptr)",
    "declare ptr @PyType_GenericAlloc(ptr, i64)",
    "declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)",
    "declare ptr @PyMethod_New(ptr, ptr)",
)

NULL = Val("ptr", "null")
Fields = Mapping[str, int]  # "Tensor._meta" -> bytes from the object's beginning


def declare_api(module: Module) -> None:
    """What `Code` calls."""
    for text in _API:
        module.declare(text)


class Code:
    """Instructions on objects: what is not `owned` or the result of a call is borrowed."""

    def __init__(self, f: Function, fields: Fields, table: Val, failed: str) -> None:
        self.f = f
        self.fields = fields
        self.table = table
        self.failed = failed

    def known(self, name: str) -> Val:
        """An object of the table."""
        return self.f.load("ptr", self.f.gep("ptr", self.table, TABLE.index(name)))

    def field(self, thing: Val, name: str) -> Val:
        return self.f.load("ptr", self.f.gep("i8", thing, self.fields[name]))

    def type_of(self, thing: Val) -> Val:
        return self.f.load("ptr", self.f.gep("i8", thing, 8))

    def same(self, x: Val, y: Val) -> Val:
        return self.f.compare("icmp", "eq", x, y)

    def differ(self, x: Val, y: Val) -> Val:
        return self.f.compare("icmp", "ne", x, y)

    def need(self, condition: Val, otherwise: str = "") -> None:
        """Go on where the condition holds, else to the block ``otherwise``."""
        n = self.f.fresh("ok")
        self.f.emit(f'br {condition}, label %{n}, label %"{otherwise or self.failed}"')
        self.f.start(n)

    def call(self, returns: str, name: str, *args: Val) -> Val:
        return self.f.call(returns, name, *args) or Val("void", "")

    def owned(self, thing: Val) -> Val:
        """A reference of our own; of NULL there is none to count.

        Counts are kept in place, since a call for each would be a third of what a hit costs. From
        CPython 3.12 on, the lower half of an immortal object's count is all ones or negative, and
        stays; before, no count comes near that.
        """
        f = self.f
        with f.when(self.differ(thing, NULL)):
            more = f.value("i32", f"add {f.load('i32', thing)}, 1")
            with f.when(f.test("ne", more, 0)):
                f.store(more, thing)
        return thing

    def drop(self, thing: Val) -> None:
        """Give up a reference; NULL is none."""
        f = self.f
        with f.when(self.differ(thing, NULL)), f.when(f.test("sge", f.load("i32", thing), 0)):
            left = f.value("i64", f"add {f.load('i64', thing)}, -1")
            f.store(left, thing)
            with f.when(f.test("eq", left, 0)):
                self.call("void", "_Py_Dealloc", thing)

    def put(self, owned: Val, thing: Val, name: str) -> None:
        """Move a reference into a field whose own is none, or is taken care of."""
        self.f.store(owned, self.f.gep("i8", thing, self.fields[name]))

    def replace(self, owned: Val, thing: Val, name: str) -> None:
        old = self.field(thing, name)
        self.put(owned, thing, name)
        self.drop(old)

    def item(self, things: Val, index: Val) -> Val:
        """The place of an item of a tuple, behind its head, type and length."""
        return self.f.gep("ptr", self.f.gep("i8", things, 24), index)


PARAMETERS = ("form", "args", "flags", "names")
"""What a vectorcall gets: the called object, its arguments, how many, the names of the last."""


@contextmanager
def vectorcall(module: Module, fields: Fields, name: str, failed: str) -> Iterator[Code]:
    """The body of a vectorcall of a form; what fails goes to the block ``failed``."""
    params = list(zip(("ptr", "ptr", "i64", "ptr"), PARAMETERS))
    with module.function(name, params, "ptr") as f:
        table = f.load("ptr", f.gep("i8", f.param("form"), FORM["table"]))
        yield Code(f, fields, table, failed)
