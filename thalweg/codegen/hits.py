"""The call that records, as native code over CPython's C API: what a hit of the trie costs.

Every recorded function becomes a callable object, a *form*: it makes the key of the call, looks it
up in the current state of the trie, and makes the handle of the result. What is not a plain hit (a
miss, arguments of unusual types, several recording threads) is left, with nothing changed, to the
form's Python function, which does the same and more. In C it would read

    PyObject *record_call(Form *form, PyObject *const *args, size_t flags, PyObject *names)
    {
        trace = shared->trace;                                  // not a Trace: slow
        items = {form->code};
        for each argument: encode(argument, items);             // of an unusual type: slow
        found = PyDict_GetItemWithError(trace->state->next, tuple(items));         // none: slow
        meta = found->plain or found->view;                                        // none: slow
        tensor = new Tensor; extra = found->plain ? None : view_extra(args[0], meta);
        if (shared->trace != trace || trace->state is not as before): slow
        PyList_Append(trace->tensors, tensor);
        trace->state = found;
        tensor->trace, ->meta, ->slot, ->buffer, ->extra = trace, meta, meta->slot, None, extra;
        return tensor;
    slow:
        return PyObject_Vectorcall(form->slow, args, flags, names);
    }

Invariants: all objects are reached through ``form->table``, so the text holds no addresses and is
cached like that of any kernel; fields lie at the offsets that the classes' descriptors tell; making
an object may run the garbage collector and with it any code, so the state is compared again
afterwards, and what was made is given back if it moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .builder import Module, Val, as_value
from .hit_flush import write_flush
from .hit_passes import write_backward
from .hit_run import write_run
from .hit_update import write_update
from .python_objects import (
    FORM,
    ITEMS,
    NULL,
    PARAMETERS,
    PLAIN,
    Code,
    Fields,
    declare_api,
    vectorcall,
)


def hit_module(fields: Fields) -> str:
    """LLVM text of ``record_call``, the vectorcall of a form, ``record_backward``,
    ``record_flush`` and ``record_update``, those of ``Tensor.backward``, `flush` and
    `fused_update`, and ``record_bind``, the type's
    ``tp_descr_get``. ``fields`` are those of `FIELDS` and all of an Extra."""
    module = Module()
    declare_api(module)
    _write_bind_leaf(module, fields)
    _write_encode(module, fields)
    _write_view_extra(module, fields)
    _write_call(module, fields)
    _write_bind(module)
    write_backward(module, fields)
    write_flush(module, fields)
    write_update(module, fields)
    write_run(module, fields)
    return module.text()


def _write_bind_leaf(module: Module, fields: Fields) -> None:
    """``bind_leaf(tensor, trace, table)``: enter a tensor that has a value, and is no view, into
    the trace along a path that was walked before; whether that was possible. As `alias.bind`."""
    params = [("ptr", "tensor"), ("ptr", "trace"), ("ptr", "table")]
    with module.function("bind_leaf", params, "i1", internal=True) as f:
        tensor, trace, table = map(f.param, [name for _, name in params])
        code = Code(f, fields, table, "not_here")
        none, true = code.known("None"), code.known("True")
        code.need(code.same(code.field(trace, "Trace.scope"), none))
        extra = code.field(tensor, "Tensor._extra")
        with f.when(code.differ(extra, none)):
            for name in ("Extra.base", "Extra.exported"):
                code.need(code.same(code.field(extra, name), none))
        buffer = code.field(tensor, "Tensor._buffer")
        code.need(code.differ(buffer, none))
        key = code.field(code.field(tensor, "Tensor._meta"), "Meta.leaf_key")
        code.need(code.differ(key, none))
        code.need(code.same(code.field(key, "LeafKey.is_leaf"), true))
        state = code.field(trace, "Trace.state")
        found = code.call("ptr", "PyDict_GetItemWithError", code.field(state, "State.next"), key)
        code.need(code.differ(found, NULL), "failed")
        meta = code.field(found, "State.meta")
        slot = code.field(meta, "Meta.slot")
        zero = Val("i32", "0")
        with f.when(code.same(code.field(key, "LeafKey.requires_grad"), true)):
            set_item = ("i32", "PyDict_SetItem", code.field(trace, "Trace.leaves"), slot, tensor)
            code.need(f.compare("icmp", "eq", code.call(*set_item), zero), "failed")
        for name, thing in (("Trace.inputs", buffer), ("Trace.tensors", tensor)):
            added = code.call("i32", "PyList_Append", code.field(trace, name), thing)
            code.need(f.compare("icmp", "eq", added, zero), "failed")
        code.replace(code.owned(found), trace, "Trace.state")
        code.replace(code.owned(slot), tensor, "Tensor._slot")
        code.replace(code.owned(meta), tensor, "Tensor._meta")
        code.replace(code.owned(trace), tensor, "Tensor._trace")
        f.emit("ret i1 true")
        f.start("failed")
        code.call("void", "PyErr_Clear")
        f.emit("br label %not_here")
        f.start("not_here")
        f.emit("ret i1 false")


def _write_encode(module: Module, fields: Fields) -> None:
    """``encode(value, items, count, trace, table)`` puts what stands for a value in a key behind
    ``count`` items (borrowed references) and gives their number, or -1. As `record.encode`."""
    params = [("ptr", "value"), ("ptr", "items"), ("i64", "count"), ("ptr", "trace"),
              ("ptr", "table")]  # fmt: skip
    with module.function("encode", params, "i64", internal=True) as f:
        value, items, count, trace, table = map(f.param, [name for _, name in params])
        code = Code(f, fields, table, "unusual")
        kind = code.type_of(value)
        code.need(f.test("slt", count, ITEMS - 4))

        @contextmanager
        def case(*names: str) -> Iterator[None]:
            """Values of these types; the block ends with a return."""
            hit = code.same(kind, code.known(names[0]))
            for name in names[1:]:
                hit = f.binary("or", hit, code.same(kind, code.known(name)))
            this, other = f.fresh("is"), f.fresh("not")
            f.emit(f"br {hit}, label %{this}, label %{other}")
            f.start(this)
            yield
            f.start(other)

        def answer(*added: Val) -> None:
            for i, item in enumerate(added):
                f.store(item, f.gep("ptr", items, f.add(count, i)))
            f.emit(f"ret {f.add(count, len(added))}")

        with case("Tensor", "Parameter"):
            with f.when(code.differ(code.field(value, "Tensor._trace"), trace)):
                code.need(code.call("i1", "bind_leaf", value, trace, table))
            answer(code.field(value, "Tensor._meta"))
        with case(*PLAIN):
            answer(value)
        with case("float"):
            number = code.call("double", "PyFloat_AsDouble", value)
            # Zeros have signs, and NaN is not equal to itself.
            code.need(f.compare("fcmp", "one", number, Val("double", "0.0")))
            answer(kind, value)
        with case("bool"):
            true = code.same(value, code.known("True"))
            answer(kind, f.select(true, value, code.known("text of False")))
        for types, prefix in ((("tuple", "Size"), "PyTuple"), (("list",), "PyList")):
            with case(*types):
                f.store(code.known("open"), f.gep("ptr", items, count))
                length = code.call("i64", f"{prefix}_Size", value)
                with f.carry(0, length, [as_value(f.add(count, 1))]) as (i, now, following):
                    item = code.call("ptr", f"{prefix}_GetItem", value, i)
                    after = code.call("i64", "encode", item, items, now[0], trace, table)
                    code.need(f.test("sge", after, 0))
                    following[0] = after
                code.need(f.test("slt", following[0], ITEMS))
                f.store(code.known("close"), f.gep("ptr", items, following[0]))
                f.emit(f"ret {f.add(following[0], 1)}")
        f.emit("br label %unusual")
        f.start("unusual")
        f.emit("ret i64 -1")


def _write_view_extra(module: Module, fields: Fields) -> None:
    """``view_extra(source, meta, trace, table)``: the Extra of a view of ``source``, or NULL where
    a write to its base would not find the view. As `alias.make_view`."""
    params = [("ptr", "source"), ("ptr", "meta"), ("ptr", "trace"), ("ptr", "table")]
    with module.function("view_extra", params, "ptr", internal=True) as f:
        source, meta, trace, table = map(f.param, [name for _, name in params])
        code = Code(f, fields, table, "none")
        none = code.known("None")
        kind = code.type_of(source)
        is_tensor, is_parameter = (code.same(kind, code.known(n)) for n in ("Tensor", "Parameter"))
        code.need(f.binary("or", is_tensor, is_parameter))
        base_at, over_at = f.alloca("ptr", 1, 8), f.alloca("ptr", 1, 8)
        f.store(source, base_at)
        f.store(none, over_at)  # the Extra of the source, if that is a view itself
        own = code.field(source, "Tensor._extra")
        with f.when(code.differ(own, none)):
            under = code.field(own, "Extra.base")
            with f.when(code.differ(under, none)):
                f.store(under, base_at)
                f.store(own, over_at)
        base, over = f.load("ptr", base_at), f.load("ptr", over_at)
        code.need(code.same(code.field(base, "Tensor._trace"), trace))
        code.need(code.same(code.field(base, "Tensor._meta"), code.field(meta, "Meta.root")))
        extra = code.call("ptr", "PyType_GenericAlloc", code.known("Extra"), Val("i64", "0"))
        code.need(code.differ(extra, NULL))
        template = code.known("template")
        for name in fields:
            if name.startswith("Extra."):
                code.put(code.owned(code.field(template, name)), extra, name)
        code.replace(code.owned(base), extra, "Extra.base")
        code.replace(code.owned(trace), extra, "Extra.trace")

        def chained() -> None:
            steps = [code.field(over, "Extra.chain"), code.field(meta, "Meta.chain")]
            code.replace(code.call("ptr", "PySequence_Concat", *steps), extra, "Extra.chain")
            code.replace(code.owned(code.field(over, "Extra.multi")), extra, "Extra.multi")

        def single() -> None:
            code.replace(code.owned(code.field(meta, "Meta.chain")), extra, "Extra.chain")

        f.either(code.differ(over, none), chained, single)
        beneath = code.field(base, "Tensor._extra")
        with f.when(code.differ(beneath, none)):
            version = code.owned(code.field(beneath, "Extra.version"))
            code.replace(version, extra, "Extra.seen")
        f.emit(f"ret {extra}")
        f.start("none")
        f.emit("ret ptr null")


def _write_call(module: Module, fields: Fields) -> None:
    with vectorcall(module, fields, "record_call", "slow") as code:
        f, table = code.f, code.table
        form, args, flags, names = map(f.param, PARAMETERS)
        none, shared = code.known("None"), code.known("shared")
        trace = code.field(shared, "Shared.trace")
        code.need(code.same(code.type_of(trace), code.known("Trace")))

        # The key: first the function, then the arguments.
        items, count_at = f.alloca("ptr", ITEMS, 8), f.alloca("i64", 1, 8)
        f.store(f.load("ptr", f.gep("i8", form, FORM["code"])), items)
        f.store(Val("i64", "1"), count_at)

        def encode(index: Val) -> None:
            value, count = f.load("ptr", f.gep("ptr", args, index)), f.load("i64", count_at)
            after = code.call("i64", "encode", value, items, count, trace, table)
            code.need(f.test("sge", after, 0))
            f.store(after, count_at)

        given = f.value("i64", f"and {flags}, {(1 << 63) - 1}")
        swapped = f.test("ne", f.load("i64", f.gep("i8", form, FORM["swapped"])), 0)
        with f.loop(0, given) as i:
            encode(f.select(swapped, as_value(f.sub(f.sub(given, 1), i)), i))
        length = f.alloca("i64", 1, 8)
        f.store(Val("i64", "0"), length)
        with f.when(code.differ(names, NULL)):
            f.store(code.call("i64", "PyTuple_Size", names), length)
        with f.loop(0, f.load("i64", length)) as i:
            count = f.load("i64", count_at)
            code.need(f.test("slt", count, ITEMS - 4))
            f.store(code.call("ptr", "PyTuple_GetItem", names, i), f.gep("ptr", items, count))
            f.store(as_value(f.add(count, 1)), count_at)
            encode(as_value(f.add(given, i)))
        count = f.load("i64", count_at)
        key = code.call("ptr", "PyTuple_New", count)
        code.need(code.differ(key, NULL), "failed")
        with f.loop(0, count) as i:
            f.store(code.owned(f.load("ptr", f.gep("ptr", items, i))), code.item(key, i))

        # The state it leads to, and what has to be made there.
        state = code.field(trace, "Trace.state")
        found = code.call("ptr", "PyDict_GetItemWithError", code.field(state, "State.next"), key)
        code.drop(key)
        code.need(code.differ(found, NULL), "failed")
        plain = code.field(found, "State.plain")
        is_view = code.same(plain, none)
        meta = f.select(is_view, code.field(found, "State.view"), plain)
        code.need(code.differ(meta, none))
        for kept in (found, trace, state):
            code.owned(kept)
        tensor = code.call("ptr", "PyType_GenericAlloc", code.known("Tensor"), Val("i64", "0"))
        extra_at = f.alloca("ptr", 1, 8)

        def no_extra() -> None:
            f.store(code.owned(none), extra_at)

        def view() -> None:
            made = code.call("ptr", "view_extra", f.load("ptr", args), meta, trace, table)
            f.store(made, extra_at)

        f.either(is_view, view, no_extra)
        extra = f.load("ptr", extra_at)
        code.need(code.differ(tensor, NULL), "give_back")
        code.need(code.differ(extra, NULL), "give_back")
        code.need(code.same(code.field(shared, "Shared.trace"), trace), "give_back")
        code.need(code.same(code.field(trace, "Trace.state"), state), "give_back")
        added = code.call("i32", "PyList_Append", code.field(trace, "Trace.tensors"), tensor)
        code.need(f.compare("icmp", "eq", added, Val("i32", "0")), "give_back")
        code.put(trace, tensor, "Tensor._trace")
        code.put(code.owned(meta), tensor, "Tensor._meta")
        code.put(code.owned(code.field(meta, "Meta.slot")), tensor, "Tensor._slot")
        code.put(code.owned(none), tensor, "Tensor._buffer")
        code.put(extra, tensor, "Tensor._extra")
        code.put(found, trace, "Trace.state")
        code.drop(state)  # the trace's reference,
        code.drop(state)  # and ours
        f.emit(f"ret {tensor}")

        f.start("give_back")
        for owned in (tensor, extra, found, state, trace):
            code.drop(owned)
        f.emit("br label %failed")
        f.start("failed")
        code.call("void", "PyErr_Clear")
        f.emit("br label %slow")
        f.start("slow")
        python = f.load("ptr", f.gep("i8", form, FORM["slow"]))
        f.emit(f"ret {code.call('ptr', 'PyObject_Vectorcall', python, args, flags, names)}")


def _write_bind(module: Module) -> None:
    """``tp_descr_get``: a form in a class becomes a method of its instances."""
    params = [("ptr", "form"), ("ptr", "instance"), ("ptr", "owner")]
    with module.function("record_bind", params, "ptr") as f:
        form, instance = f.param("form"), f.param("instance")
        f.emit(f"br {f.compare('icmp', 'eq', instance, NULL)}, label %itself, label %method")
        f.start("itself")
        f.call("void", "Py_IncRef", form)
        f.emit(f"ret {form}")
        f.start("method")
        f.emit(f"ret {f.call('ptr', 'PyMethod_New', form, instance)}")
