"""What a run of a native program does for every operand and every result, as native code.

Programs of training steps have hundreds of operands; `runtime.native_run` calls, where there are,

    run_buffers(count, job)              a list of new Buffers that ``job`` will fill
    run_begin(inputs, bases, results)    writes the addresses of the inputs where the program looks;
                                         a list of the memory that results take over, or None each
    run_finish(outputs, inputs, memories, kinds, sources)    fills the Buffers of the outputs

``results`` points to the number of results and then bytes and donor of each, ``sources`` to a word
for each output: the number of a result, or -1 - the number of an input. False from ``run_begin``:
nothing is done, some value is not there yet. All three give NULL only with an error set.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..runtime.native_program import FIRST_INPUT
from .builder import Module, Val, as_value
from .python_objects import ARRAY, DENSE, NULL, Code, Fields, vectorcall

_ZERO = Val("i32", "0")


def write_run(module: Module, fields: Fields) -> None:
    _write_value_address(module, fields)
    _write_taken_over(module, fields)
    _write_buffers(module, fields)
    _write_begin(module, fields)
    _write_finish(module, fields)


def _write_value_address(module: Module, fields: Fields) -> None:
    """``value_address(buffer, table)``: where a value lies that is there, dense; else NULL. As
    `Buffer.address`, which also waits and copies."""
    with module.function(
        "value_address", [("ptr", "buffer"), ("ptr", "table")], "ptr", internal=True
    ) as f:
        buffer = f.param("buffer")
        code = Code(f, fields, f.param("table"), "none")
        known = code.call("ptr", "PyLong_AsVoidPtr", code.field(buffer, "Buffer._address"))
        with f.when(code.differ(known, NULL)):
            f.emit(f"ret {known}")
            f.start(f.fresh("never"))
        array = code.field(buffer, "Buffer._array")
        code.need(code.same(code.type_of(array), code.known("ndarray")))
        flags = f.load("i32", f.gep("i8", array, ARRAY["flags"]))
        code.need(f.compare("icmp", "eq", f.value("i32", f"and {flags}, {DENSE}"),
                            Val("i32", str(DENSE))))  # fmt: skip
        data = f.load("ptr", f.gep("i8", array, ARRAY["data"]))
        number = code.call("ptr", "PyLong_FromLongLong", f.convert("ptrtoint", data, "i64"))
        code.need(code.differ(number, NULL))
        code.replace(number, buffer, "Buffer._address")
        f.emit(f"ret {data}")
        f.start("none")
        f.emit("ret ptr null")


def _write_taken_over(module: Module, fields: Fields) -> None:
    """``taken_over(buffer, nbytes, table)``: the memory of a value that only the list of inputs
    holds, if it is large enough, else NULL; borrowed. As `native_run._taken_over`."""
    params = [("ptr", "buffer"), ("i64", "nbytes"), ("ptr", "table")]
    with module.function("taken_over", params, "ptr", internal=True) as f:
        buffer, nbytes, table = map(f.param, [name for _, name in params])
        code = Code(f, fields, table, "none")
        memory = code.field(buffer, "Buffer._memory")
        code.need(code.differ(memory, code.known("None")))
        for thing in (buffer, memory):
            code.need(f.test("eq", f.load("i64", thing), 1))
        size = code.call("i64", "PyLong_AsLongLong", code.field(memory, "Memory.size"))
        code.need(f.test("sge", size, nbytes))
        begin, place = (
            code.call("ptr", "PyLong_AsVoidPtr", code.field(thing, name))
            for thing, name in ((memory, "Memory.address"), (buffer, "Buffer._address"))
        )
        code.need(code.same(begin, place))
        f.emit(f"ret {memory}")
        f.start("none")
        f.emit("ret ptr null")


def _write_buffers(module: Module, fields: Fields) -> None:
    with vectorcall(module, fields, "run_buffers", "failed") as code:
        f, args = code.f, code.f.param("args")
        none = code.known("None")
        count = code.call("i64", "PyLong_AsLongLong", f.load("ptr", args))
        job = f.load("ptr", f.gep("ptr", args, 1))
        made = code.call("ptr", "PyList_New", Val("i64", "0"))
        code.need(code.differ(made, NULL))
        with f.loop(0, count):
            buffer = code.call("ptr", "PyType_GenericAlloc", code.known("Buffer"), Val("i64", "0"))
            code.need(code.differ(buffer, NULL))
            for name, value in (("_array", none), ("_memory", none), ("_address", code.known("0")),
                                ("job", job), ("overwritten", code.known("0"))):  # fmt: skip
                code.put(code.owned(value), buffer, f"Buffer.{name}")
            added = code.call("i32", "PyList_Append", made, buffer)
            code.drop(buffer)
            code.need(f.compare("icmp", "eq", added, _ZERO))
        f.emit(f"ret {made}")
        f.start("failed")
        code.drop(made)
        f.emit("ret ptr null")


def _write_begin(module: Module, fields: Fields) -> None:
    with vectorcall(module, fields, "run_begin", "false") as code:
        f, args = code.f, code.f.param("args")
        none = code.known("None")
        inputs = f.load("ptr", args)
        bases, results = (code.call("ptr", "PyLong_AsVoidPtr", f.load("ptr", f.gep("ptr", args, i)))
                          for i in (1, 2))  # fmt: skip
        bases = f.gep("i64", bases, FIRST_INPUT)
        with f.loop(0, code.call("i64", "PyList_Size", inputs)) as i:
            buffer = code.call("ptr", "PyList_GetItem", inputs, i)
            address = code.call("ptr", "value_address", buffer, code.table)
            code.need(code.differ(address, NULL))
            f.store(address, f.gep("i64", bases, i))
        memories = code.call("ptr", "PyList_New", Val("i64", "0"))
        code.need(code.differ(memories, NULL), "failed")
        chosen = f.alloca("ptr", 1, 8)
        with f.loop(0, f.load("i64", results)) as i:
            nbytes, donor = (f.load("i64", f.gep("i64", results, f.add(f.mul(i, 2), k)))
                             for k in (1, 2))  # fmt: skip
            f.store(none, chosen)
            with f.when(f.test("sge", donor, 0)):
                buffer = code.call("ptr", "PyList_GetItem", inputs, donor)
                memory = code.call("ptr", "taken_over", buffer, nbytes, code.table)
                with f.when(code.differ(memory, NULL)):
                    f.store(memory, chosen)
            added = code.call("i32", "PyList_Append", memories, f.load("ptr", chosen))
            code.need(f.compare("icmp", "eq", added, _ZERO), "failed")
        f.emit(f"ret {memories}")
        f.start("failed")
        code.drop(memories)
        f.emit("ret ptr null")
        f.start("false")
        f.emit(f"ret {code.owned(code.known('False'))}")


def _write_finish(module: Module, fields: Fields) -> None:
    with vectorcall(module, fields, "run_finish", "failed") as code:
        f, args = code.f, code.f.param("args")
        none = code.known("None")
        outputs, inputs, memories, kinds = (f.load("ptr", f.gep("ptr", args, i)) for i in range(4))
        sources = code.call("ptr", "PyLong_AsVoidPtr", f.load("ptr", f.gep("ptr", args, 4)))
        memory_at, address_at = f.alloca("ptr", 1, 8), f.alloca("ptr", 1, 8)
        with f.loop(0, code.call("i64", "PyList_Size", outputs)) as i:
            buffer = code.call("ptr", "PyList_GetItem", outputs, i)
            kind = code.call("ptr", "PyTuple_GetItem", kinds, i)
            shape, dtype = (code.call("ptr", "PyTuple_GetItem", kind, Val("i64", str(k)))
                            for k in (0, 1))  # fmt: skip
            source = f.load("i64", f.gep("i64", sources, i))

            def fresh(source: Val = source) -> Sequence[Val] | None:
                memory = code.call("ptr", "PyList_GetItem", memories, source)
                f.store(memory, memory_at)
                f.store(code.field(memory, "Memory.address"), address_at)
                return None

            def shared(
                source: Val = source, buffer: Val = buffer, shape: Val = shape
            ) -> Sequence[Val] | None:
                given = code.call("ptr", "PyList_GetItem", inputs, as_value(f.sub(-1, source)))
                f.store(code.field(given, "Buffer._memory"), memory_at)
                f.store(code.field(given, "Buffer._address"), address_at)
                with f.when(code.same(f.load("ptr", memory_at), none)):
                    call = f.alloca("ptr", 2, 8)
                    f.store(code.field(given, "Buffer._array"), call)
                    f.store(shape, f.gep("ptr", call, 1))
                    view = code.call("ptr", "PyObject_Vectorcall", code.known("reshaped"), call,
                                     Val("i64", "2"), NULL)  # fmt: skip
                    code.need(code.differ(view, NULL))
                    code.replace(view, buffer, "Buffer._array")
                return None

            f.either(f.test("sge", source, 0), fresh, shared)
            for name, value in (
                ("_shape", shape), ("_dtype", dtype), ("_address", f.load("ptr", address_at)),
                ("_memory", f.load("ptr", memory_at)), ("job", none),
            ):  # fmt: skip
                code.replace(code.owned(value), buffer, f"Buffer.{name}")
        f.emit(f"ret {code.owned(none)}")
        f.start("failed")
        f.emit("ret ptr null")
