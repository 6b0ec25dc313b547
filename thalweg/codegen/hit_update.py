"""An optimizer step that was seen before, as native code: `tensor.region` in C would read

    PyObject *record_update(Form *form, PyObject *const *args, size_t flags, PyObject *names)
    {
        operands, written, what = args;              // two lists of tensors, the key's beginning
        trace = shared->trace;                                             // no Trace: False
        slots = the slot of each operand, bound to the trace if need be;   // not here: False
        found = trace->state->next[(what, slots)];                         // none: False
        each written tensor is no view, has none here, and shows nobody's array;  // else: False
        each written tensor moves to its new slot, and counts a write;     // as `alias.repoint`
        trace->state = found;
        return True;
    }

False: operands may have been bound, nothing else is done.
"""

from __future__ import annotations

from .builder import Function, Module, Val
from .python_objects import NULL, Code, Fields, vectorcall

_ZERO = Val("i32", "0")


def write_update(module: Module, fields: Fields) -> None:
    _write_repoint(module, fields)
    with vectorcall(module, fields, "record_update", "false") as code:
        f, table = code.f, code.table
        args = f.param("args")
        operands, written, what = (f.load("ptr", f.gep("ptr", args, i)) for i in range(3))
        shared = code.known("shared")
        trace = code.field(shared, "Shared.trace")
        code.need(code.same(code.type_of(trace), code.known("Trace")))
        count = code.call("i64", "PyList_Size", operands)
        slots = code.call("ptr", "PyTuple_New", count)
        code.need(code.differ(slots, NULL), "failed")
        key = code.call("ptr", "PyTuple_New", Val("i64", "2"))
        code.need(code.differ(key, NULL), "no_key")
        code.call("i32", "PyTuple_SetItem", key, Val("i64", "0"), code.owned(what))
        code.call("i32", "PyTuple_SetItem", key, Val("i64", "1"), slots)
        # Nothing below makes objects that the collector counts.
        code.need(code.same(code.field(shared, "Shared.trace"), trace), "drop_key")
        with f.loop(0, count) as i:
            tensor = code.call("ptr", "PyList_GetItem", operands, i)
            with f.when(code.differ(code.field(tensor, "Tensor._trace"), trace)):
                code.need(code.call("i1", "bind_leaf", tensor, trace, table), "drop_key")
            slot = code.owned(code.field(tensor, "Tensor._slot"))
            code.call("i32", "PyTuple_SetItem", slots, i, slot)
        state = code.field(trace, "Trace.state")
        found = code.call("ptr", "PyDict_GetItemWithError", code.field(state, "State.next"), key)
        code.need(code.differ(found, NULL), "drop_key")
        metas = code.field(found, "State.metas")
        results = code.call("i64", "PyList_Size", written)
        code.need(f.test("eq", code.call("i64", "PyTuple_Size", metas), results), "drop_key")
        with f.loop(0, results) as i:
            _need_simple(f, code, code.call("ptr", "PyList_GetItem", written, i), trace)

        code.owned(trace)
        code.replace(code.owned(found), trace, "Trace.state")
        with f.loop(0, results) as i:
            tensor = code.call("ptr", "PyList_GetItem", written, i)
            meta = code.call("ptr", "PyTuple_GetItem", metas, i)
            code.call("void", "repoint", tensor, meta, trace, table)
        code.drop(trace)
        code.drop(key)
        f.emit(f"ret {code.owned(code.known('True'))}")

        f.start("no_key")
        code.drop(slots)
        f.emit("br label %failed")
        f.start("drop_key")
        code.drop(key)
        f.emit("br label %failed")
        f.start("failed")
        code.call("void", "PyErr_Clear")
        f.emit("br label %false")
        f.start("false")
        f.emit(f"ret {code.owned(code.known('False'))}")


def _need_simple(f: Function, code: Code, tensor: Val, trace: Val) -> None:
    """A tensor of this trace that can move to another slot without anybody else noticing."""
    none = code.known("None")
    code.need(code.same(code.field(tensor, "Tensor._trace"), trace), "drop_key")
    extra = code.field(tensor, "Tensor._extra")
    code.need(code.differ(extra, none), "drop_key")
    for name in ("Extra.base", "Extra.exported"):
        code.need(code.same(code.field(extra, name), none), "drop_key")
    views = code.field(code.field(tensor, "Tensor._meta"), "Meta.views")
    tensors = code.field(trace, "Trace.tensors")
    with f.loop(0, code.call("i64", "PyList_Size", views)) as i:  # as `alias.loosen`
        view = code.call("ptr", "PyList_GetItem", views, i)
        slot = code.call("i64", "PyLong_AsLongLong", code.field(view, "Meta.slot"))
        with f.when(f.test("slt", slot, code.call("i64", "PyList_Size", tensors))):
            shown = code.call("ptr", "PyList_GetItem", tensors, slot)
            with f.when(code.differ(shown, none)):
                extra = code.field(shown, "Tensor._extra")
                with f.when(code.differ(extra, none)):
                    code.need(code.differ(code.field(extra, "Extra.base"), tensor), "drop_key")


def _write_repoint(module: Module, fields: Fields) -> None:
    """``repoint(tensor, meta, trace, table)``: as `alias.repoint`, for tensors as `_need_simple`
    asks for. What the Meta says of strides was written when the path was first walked."""
    params = [("ptr", "tensor"), ("ptr", "meta"), ("ptr", "trace"), ("ptr", "table")]
    with module.function("repoint", params, internal=True) as f:
        tensor, meta, trace, table = map(f.param, [name for _, name in params])
        code = Code(f, fields, table, "end")
        none, true, one = code.known("None"), code.known("True"), code.known("1")
        extra = code.field(tensor, "Tensor._extra")
        buffer = code.field(tensor, "Tensor._buffer")
        with f.when(code.differ(buffer, none)):
            count = code.call("ptr", "PyNumber_Add", code.field(buffer, "Buffer.overwritten"), one)
            code.replace(count, buffer, "Buffer.overwritten")
            code.replace(code.owned(none), tensor, "Tensor._buffer")
        tensors = code.field(trace, "Trace.tensors")
        old = code.call("i64", "PyLong_AsLongLong", code.field(tensor, "Tensor._slot"))
        code.call("i32", "PyList_SetItem", tensors, old, code.owned(none))
        version = code.call("ptr", "PyNumber_Add", code.field(extra, "Extra.version"), one)
        code.replace(version, extra, "Extra.version")
        code.replace(code.owned(code.field(code.known("template"), "Extra.aliases")), extra,
                     "Extra.aliases")  # fmt: skip
        code.replace(code.owned(none), extra, "Extra.history")
        slot = code.field(meta, "Meta.slot")
        code.replace(code.owned(slot), tensor, "Tensor._slot")
        code.replace(code.owned(meta), tensor, "Tensor._meta")
        code.call("i32", "PyList_Append", tensors, tensor)
        for name in ("Meta.requires_grad", "Meta.is_leaf"):
            code.need(code.same(code.field(meta, name), true))
        code.call("i32", "PyDict_SetItem", code.field(trace, "Trace.leaves"), slot, tensor)
        f.emit("br label %end")
        f.start("end")
        f.emit("ret void")
