"""A backward pass that was seen before, as native code: `tensor.repeat` in C would read

PyObject *record_backward(Form *form, PyObject *const *args, size_t flags, PyObject *names)
{
    trace = shared->trace;             // `loss.backward()` in a trace without Python code
    shortcut = trace->state->shortcuts[root->slot];
    for each (slot, meta) of it: the leaf trace->leaves[slot] has no gradient and no hooks;
    made = [new Tensor for each meta];
    if (shared->trace != trace || trace->state is not as before): slow
    trace->tensors += made; leaf->extra->grad = its tensor, for each;
    trace->state = the shortcut's;
    return None;
slow:
    return PyObject_Vectorcall(form->slow, args, flags, names);
}
"""

from __future__ import annotations

from .builder import Function, Module, Val
from .python_objects import FORM, NULL, PARAMETERS, Code, Fields, vectorcall

_ZERO = Val("i32", "0")


def write_backward(module: Module, fields: Fields) -> None:
    with vectorcall(module, fields, "record_backward", "slow") as code:
        f = code.f
        form, args, flags, names = map(f.param, PARAMETERS)
        none, shared = code.known("None"), code.known("shared")
        trace = code.field(shared, "Shared.trace")
        code.need(code.same(code.type_of(trace), code.known("Trace")))
        code.need(f.test("eq", f.value("i64", f"and {flags}, {(1 << 63) - 1}"), 1))
        code.need(code.same(names, NULL))
        root = f.load("ptr", args)
        code.need(code.same(code.type_of(root), code.known("Tensor")))
        code.need(code.same(code.field(root, "Tensor._trace"), trace))
        code.need(code.same(code.field(trace, "Trace.scope"), none))
        boundaries = code.call("i64", "PyDict_Size", code.field(trace, "Trace.boundaries"))
        code.need(f.test("eq", boundaries, 0))
        state = code.field(trace, "Trace.state")
        shortcuts, slot = code.field(state, "State.shortcuts"), code.field(root, "Tensor._slot")
        shortcut = code.call("ptr", "PyDict_GetItemWithError", shortcuts, slot)
        code.need(code.differ(shortcut, NULL), "failed")
        size = code.call("i64", "PyTuple_Size", shortcut)
        with f.loop(1, size, 2) as i:
            extra = _leaf_extra(code, shortcut, trace, i, "failed")
            for name in ("Extra.grad", "Extra.hooks", "Extra.post_hooks"):
                code.need(code.same(code.field(extra, name), none))

        code.owned(shortcut)  # it keeps the states behind it
        made = code.call("ptr", "PyList_New", Val("i64", "0"))
        code.need(code.differ(made, NULL), "give_back")
        with f.loop(1, size, 2) as i:
            meta = code.call("ptr", "PyTuple_GetItem", shortcut, f.value("i64", f"add {i}, 1"))
            _append_handle(f, code, made, trace, meta)
        code.need(code.same(code.field(shared, "Shared.trace"), trace), "give_back")
        code.need(code.same(code.field(trace, "Trace.state"), state), "give_back")
        tensors = code.field(trace, "Trace.tensors")
        count = code.call("i64", "PyList_Size", tensors)
        added = code.call("i32", "PyList_SetSlice", tensors, count, count, made)
        code.need(f.compare("icmp", "eq", added, _ZERO), "give_back")
        with f.loop(1, size, 2) as i:
            extra = _leaf_extra(code, shortcut, trace, i, "give_back")
            tensor = code.call("ptr", "PyList_GetItem", made, f.value("i64", f"lshr {i}, 1"))
            code.replace(code.owned(tensor), extra, "Extra.grad")
        end = code.call("ptr", "PyTuple_GetItem", shortcut, Val("i64", "0"))
        code.replace(code.owned(end), trace, "Trace.state")
        code.drop(made)
        code.drop(shortcut)
        f.emit(f"ret {code.owned(none)}")

        f.start("give_back")
        code.drop(made)
        code.drop(shortcut)
        f.emit("br label %failed")
        f.start("failed")
        code.call("void", "PyErr_Clear")
        f.emit("br label %slow")
        f.start("slow")
        python = f.load("ptr", f.gep("i8", form, FORM["slow"]))
        f.emit(f"ret {code.call('ptr', 'PyObject_Vectorcall', python, args, flags, names)}")


def _leaf_extra(code: Code, shortcut: Val, trace: Val, index: Val, otherwise: str) -> Val:
    """The Extra of the leaf in the slot that is item ``index`` of a shortcut."""
    slot = code.call("ptr", "PyTuple_GetItem", shortcut, index)
    leaves = code.field(trace, "Trace.leaves")
    leaf = code.call("ptr", "PyDict_GetItemWithError", leaves, slot)
    code.need(code.differ(leaf, NULL), otherwise)
    extra = code.field(leaf, "Tensor._extra")
    code.need(code.differ(extra, code.known("None")), otherwise)
    return extra


def _append_handle(f: Function, code: Code, made: Val, trace: Val, meta: Val) -> None:
    """A handle for the slot of ``meta``, at the end of the list ``made``. As `record.result`."""
    none = code.known("None")
    tensor = code.call("ptr", "PyType_GenericAlloc", code.known("Tensor"), Val("i64", "0"))
    code.need(code.differ(tensor, NULL), "give_back")
    code.put(code.owned(trace), tensor, "Tensor._trace")
    code.put(code.owned(meta), tensor, "Tensor._meta")
    code.put(code.owned(code.field(meta, "Meta.slot")), tensor, "Tensor._slot")
    code.put(code.owned(none), tensor, "Tensor._buffer")
    code.put(code.owned(none), tensor, "Tensor._extra")
    added = code.call("i32", "PyList_Append", made, tensor)
    code.drop(tensor)
    code.need(f.compare("icmp", "eq", added, _ZERO), "give_back")
