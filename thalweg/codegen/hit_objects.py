"""What a flush makes, as native code: the next trace, memory and buffers (`hit_flush`)."""

from __future__ import annotations

from collections.abc import Sequence

from ..runtime.memory import ALIGNMENT
from ..runtime.ready import OWN_BYTES
from .builder import Module, Val, as_value
from .python_objects import NULL, Code, Fields

NEW_LISTS = ("Trace.tensors", "Trace.inputs")
NEW_DICTS = ("Trace.leaves", "Trace.boundaries", "Trace.rng")


def write_new_trace(module: Module, fields: Fields) -> None:
    """``new_trace(trace, ready, table)``: what comes after ``trace``, or NULL. As `Trace`."""
    params = [("ptr", "trace"), ("ptr", "ready"), ("ptr", "table")]
    with module.function("new_trace", params, "ptr", internal=True) as f:
        trace, ready, table = map(f.param, [name for _, name in params])
        code = Code(f, fields, table, "none")
        made = code.call("ptr", "PyType_GenericAlloc", code.known("Trace"), Val("i64", "0"))
        code.need(code.differ(made, NULL))
        for name, value in (
            ("limit", code.field(trace, "Trace.limit")),
            ("mode", code.field(trace, "Trace.mode")),
            ("owner", code.field(trace, "Trace.owner")),
            ("state", code.field(ready, "Ready.root")),
            ("scope", code.known("None")),
            ("closed", code.known("False")),
        ):
            code.put(code.owned(value), made, f"Trace.{name}")
        for name in (*NEW_LISTS, *NEW_DICTS):
            if name in NEW_LISTS:
                new = code.call("ptr", "PyList_New", Val("i64", "0"))
            else:
                new = code.call("ptr", "PyDict_New")
            code.put(new, made, name)
            code.need(code.differ(new, NULL), "give_back")
        f.emit(f"ret {made}")
        f.start("give_back")
        code.drop(made)
        f.emit("br label %none")
        f.start("none")
        f.emit("ret ptr null")


def write_new_memory(module: Module, fields: Fields) -> None:
    """``new_memory(nbytes, table)``: aligned bytes, few of them the interpreter's own, or NULL."""
    params = [("i64", "nbytes"), ("ptr", "table")]
    with module.function("new_memory", params, "ptr", internal=True) as f:
        nbytes, table = map(f.param, [name for _, name in params])
        code = Code(f, fields, table, "none")
        with f.when(f.test("sgt", nbytes, OWN_BYTES)):
            args = f.alloca("ptr", 1, 8)
            number = code.call("ptr", "PyLong_FromLongLong", nbytes)
            code.need(code.differ(number, NULL))
            f.store(number, args)
            pooled = code.call("ptr", "PyObject_Vectorcall", code.known("allocate"), args,
                               Val("i64", "1"), NULL)  # fmt: skip
            code.drop(number)
            f.emit(f"ret {pooled}")
            f.start(f.fresh("never"))
        room = as_value(f.add(nbytes, ALIGNMENT))
        raw = code.call("ptr", "PyBytes_FromStringAndSize", NULL, room)
        code.need(code.differ(raw, NULL))
        start = f.convert("ptrtoint", code.call("ptr", "PyBytes_AsString", raw), "i64")
        up = f.add(start, ALIGNMENT - 1)
        address = f.value("i64", f"and {as_value(up)}, {-ALIGNMENT}")
        made = code.call("ptr", "PyType_GenericAlloc", code.known("Memory"), Val("i64", "0"))
        code.need(code.differ(made, NULL), "give_back")
        code.put(raw, made, "Memory._raw")
        for name, number in (("address", address), ("size", nbytes)):
            code.put(code.call("ptr", "PyLong_FromLongLong", number), made, f"Memory.{name}")
        f.emit(f"ret {made}")
        f.start("give_back")
        code.drop(raw)
        f.emit("br label %none")
        f.start("none")
        f.emit("ret ptr null")


def write_new_buffer(module: Module, fields: Fields) -> None:
    """``new_buffer(given, numbers, memories, source, kind, table)``: a Buffer of the (shape, dtype)
    ``kind`` over result ``source``, or input ``-1 - source``; or NULL. As `LoadedProgram.run`."""
    params = [("ptr", "given"), ("ptr", "numbers"), ("ptr", "memories"), ("i64", "source"),
              ("ptr", "kind"), ("ptr", "table")]  # fmt: skip
    with module.function("new_buffer", params, "ptr", internal=True) as f:
        given, numbers, memories, source, kind, table = map(f.param, [name for _, name in params])
        code = Code(f, fields, table, "none")
        none = code.known("None")
        shape, dtype = (code.call("ptr", "PyTuple_GetItem", kind, Val("i64", str(k)))
                        for k in (0, 1))  # fmt: skip
        places = [f.alloca("ptr", 1, 8) for _ in range(3)]
        array_at, memory_at, address_at = places
        f.store(code.owned(none), array_at)

        def fresh() -> Sequence[Val] | None:
            memory = code.call("ptr", "PyList_GetItem", memories, source)
            f.store(memory, memory_at)
            f.store(code.field(memory, "Memory.address"), address_at)
            return None

        def shared() -> Sequence[Val] | None:
            number = as_value(f.sub(-1, source))
            at = f.load("i64", f.gep("i64", numbers, number))
            buffer = code.call("ptr", "PyList_GetItem", given, at)
            f.store(code.field(buffer, "Buffer._memory"), memory_at)
            f.store(code.field(buffer, "Buffer._address"), address_at)
            with f.when(code.same(f.load("ptr", memory_at), none)):
                code.drop(none)
                args = f.alloca("ptr", 2, 8)
                f.store(code.field(buffer, "Buffer._array"), args)
                f.store(shape, f.gep("ptr", args, 1))
                view = code.call("ptr", "PyObject_Vectorcall", code.known("reshaped"), args,
                                 Val("i64", "2"), NULL)  # fmt: skip
                f.store(view, array_at)
                code.need(code.differ(view, NULL))
            return None

        f.either(f.test("sge", source, 0), fresh, shared)
        made = code.call("ptr", "PyType_GenericAlloc", code.known("Buffer"), Val("i64", "0"))
        code.need(code.differ(made, NULL), "give_back")
        code.put(f.load("ptr", array_at), made, "Buffer._array")
        for name, value in (
            ("_memory", f.load("ptr", memory_at)), ("_address", f.load("ptr", address_at)),
            ("_shape", shape), ("_dtype", dtype), ("job", none), ("overwritten", code.known("0")),
        ):  # fmt: skip
            code.put(code.owned(value), made, f"Buffer.{name}")
        f.emit(f"ret {made}")
        f.start("give_back")
        code.drop(f.load("ptr", array_at))
        f.emit("br label %none")
        f.start("none")
        f.emit("ret ptr null")
