"""A flush of what was flushed before, as native code: small programs run without any Python.

`tensor.flush` in C, for a trace whose plan has a `runtime.ready.Ready` program, would read

    PyObject *record_flush(Form *form, PyObject *const *args, size_t flags, PyObject *names)
    {
        trace = shared->trace;                                       // no Trace, or watched: False
        live = the slots of pending handles that somebody else refers to;    // a view: False
        ready = trace->state->plans[live]->ready;                            // none: return live
        the addresses of ready's inputs, which no job owes;                  // else: return live
        buffers = a Buffer for each live slot, over new Memory or that of an input;
        next = new Trace; next->state = ready->root;
        if (shared->trace != trace || trace->state is not as before): return False
        bases = addresses; run(frame);
        handle->buffer = its buffer, for each live slot;
        trace->closed = True; local.trace = shared->trace = next;
        clear what the trace held;
        return True;
    }

True: it is done. A tuple: nothing is done, but these are the live slots. False: nothing is done.
Given an argument, it only tells the live slots. Python keeps the books of the trie, so every
`PERIOD`-th run is left to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..runtime.memory import ALIGNMENT
from ..runtime.native_program import FIRST_INPUT
from ..runtime.ready import READY
from .builder import Function, Module, Val, as_value
from .python_objects import NULL, Code, Fields, vectorcall

PERIOD = 64

_ZERO = Val("i32", "0")
_NEW_LISTS = ("Trace.tensors", "Trace.inputs")
_NEW_DICTS = ("Trace.leaves", "Trace.boundaries", "Trace.rng")


def write_flush(module: Module, fields: Fields) -> None:
    _write_new_trace(module, fields)
    _write_new_memory(module, fields)
    _write_new_buffer(module, fields)
    with vectorcall(module, fields, "record_flush", "false") as code:
        _Flush(code.f, code, code.table).write()


class _Flush:
    """The function, in the order in which it runs."""

    def __init__(self, f: Function, code: Code, table: Val) -> None:
        self.f = f
        self.code = code
        self.table = table
        self.held: list[Val] = []

    def hold(self) -> Val:
        """Where a reference is kept that is given back if the flush is left to Python."""
        place = self.f.alloca("ptr", 1, 8)
        self.held.append(place)
        return place

    def write(self) -> None:
        f, code = self.f, self.code
        trace = code.field(code.known("shared"), "Shared.trace")
        code.need(code.same(code.type_of(trace), code.known("Trace")))
        code.need(code.same(code.field(trace, "Trace.scope"), code.known("None")))
        for name in ("observers of flushes", "observers of runs"):
            watching = code.call("i64", "PyList_Size", code.known(name))
            code.need(f.test("eq", watching, 0))
        state, tensors = code.field(trace, "Trace.state"), code.field(trace, "Trace.tensors")
        places = [self.hold() for _ in range(5)]
        live_at, memories_at, buffers_at, next_at, plan_at = places
        for place in places:
            f.store(NULL, place)
        live = self.live(tensors)
        f.store(live, live_at)
        self.need_unmoved(trace, state)
        given = f.value("i64", f"and {f.param('flags')}, {(1 << 63) - 1}")
        code.need(f.test("eq", given, 0), "known")
        plan = code.call("ptr", "PyDict_GetItemWithError", code.field(state, "State.plans"), live)
        code.need(code.differ(plan, NULL), "known")
        ready = code.field(plan, "Plan.ready")
        code.need(code.differ(ready, code.known("None")), "known")
        settings = code.field(code.known("shared"), "Shared.settings")
        code.need(code.same(code.field(ready, "Ready.settings"), settings), "known")
        f.store(code.owned(ready), plan_at)
        words = code.call("ptr", "PyLong_AsVoidPtr", code.field(ready, "Ready.address"))
        runs_at = f.gep("i64", words, READY.index("runs"))
        runs = as_value(f.add(f.load("i64", runs_at), 1))
        f.store(runs, runs_at)
        code.need(f.test("ne", f.value("i64", f"and {runs}, {PERIOD - 1}"), 0), "known")
        inputs, results, count = (
            f.load("i64", f.gep("i64", words, READY.index(name)))
            for name in ("inputs", "results", "live")
        )
        lists = f.gep("i64", words, len(READY))
        sizes, slots = f.gep("i64", lists, inputs), f.gep("i64", lists, f.add(inputs, results))
        given = code.field(trace, "Trace.inputs")
        with f.loop(0, inputs) as i:
            buffer = code.call(
                "ptr", "PyList_GetItem", given, f.load("i64", f.gep("i64", lists, i))
            )
            code.need(code.same(code.field(buffer, "Buffer.job"), code.known("None")), "known")
            code.need(code.differ(self.address(buffer), NULL), "known")

        memories = code.call("ptr", "PyList_New", Val("i64", "0"))
        f.store(memories, memories_at)
        code.need(code.differ(memories, NULL), "failed")
        with f.loop(0, results) as i:
            nbytes = f.load("i64", f.gep("i64", sizes, i))
            made = code.call("ptr", "new_memory", nbytes, self.table)
            self.keep(memories, made)
        buffers = code.call("ptr", "PyList_New", Val("i64", "0"))
        f.store(buffers, buffers_at)
        code.need(code.differ(buffers, NULL), "failed")
        kinds = code.field(ready, "Ready.kinds")
        with f.loop(0, count) as i:
            source = f.load("i64", f.gep("i64", slots, f.add(f.mul(i, 2), 1)))
            kind = code.call("ptr", "PyTuple_GetItem", kinds, i)
            args = (given, lists, memories, source, kind, self.table)
            self.keep(buffers, code.call("ptr", "new_buffer", *args))
        following = code.call("ptr", "new_trace", trace, ready, self.table)
        f.store(following, next_at)
        code.need(code.differ(following, NULL), "failed")
        self.need_unmoved(trace, state)

        noted = code.field(code.known("executed"), "ExecutionCount._noted")
        code.call("i32", "PyList_Append", noted, code.field(ready, "Ready.counts"))
        self.run(words, lists, given, inputs, memories, results)
        self.deliver(tensors, slots, buffers, count)
        self.close(trace, following)
        self.give_back()
        f.emit(f"ret {code.owned(code.known('True'))}")

        f.start("known")
        code.call("void", "PyErr_Clear")
        code.owned(live)
        self.give_back()
        f.emit(f"ret {live}")
        f.start("failed")
        code.call("void", "PyErr_Clear")
        self.give_back()
        f.emit("br label %false")
        f.start("false")
        f.emit(f"ret {code.owned(code.known('False'))}")

    def need_unmoved(self, trace: Val, state: Val) -> None:
        """Making objects may run the collector, and with it code that records or flushes."""
        code = self.code
        shared = code.known("shared")
        code.need(code.same(code.field(shared, "Shared.trace"), trace), "failed")
        code.need(code.same(code.field(trace, "Trace.state"), state), "failed")

    def live(self, tensors: Val) -> Val:
        """A tuple of the live slots. As `flush.live_slots` where there are no views."""
        f, code = self.f, self.code
        none = code.known("None")
        size = code.call("i64", "PyList_Size", tensors)
        code.need(f.test("ne", size, 0))
        count_at = f.alloca("i64", 1, 8)
        f.store(Val("i64", "0"), count_at)

        def is_live(handle: Val) -> Val:
            references = f.load("i64", handle)  # one is the trace's own
            pending = code.same(code.field(handle, "Tensor._buffer"), none)
            return f.binary("and", f.test("sgt", references, 1), pending)

        with self.handles(tensors, size) as handle:
            extra = code.field(handle, "Tensor._extra")
            with f.when(code.differ(extra, none)):
                code.need(code.same(code.field(extra, "Extra.base"), none))
            one = f.convert("zext", is_live(handle), "i64")
            f.store(as_value(f.add(f.load("i64", count_at), one)), count_at)
        live = code.call("ptr", "PyTuple_New", f.load("i64", count_at))
        code.need(code.differ(live, NULL), "failed")
        code.need(f.test("eq", code.call("i64", "PyList_Size", tensors), size))
        f.store(Val("i64", "0"), count_at)
        room = code.call("i64", "PyTuple_Size", live)
        with self.handles(tensors, size) as handle:
            at = f.load("i64", count_at)
            # Making the tuple may have run the collector, and changed who holds what.
            with f.when(f.binary("and", is_live(handle), f.test("slt", at, room))):
                slot = code.owned(code.field(handle, "Tensor._slot"))
                code.call("i32", "PyTuple_SetItem", live, at, slot)
                f.store(as_value(f.add(at, 1)), count_at)
        code.need(f.test("eq", f.load("i64", count_at), room), "moved")
        done = f.fresh("live")
        f.emit(f"br label %{done}")
        f.start("moved")
        code.drop(live)
        f.emit("br label %false")
        f.start(done)
        return live

    @contextmanager
    def handles(self, tensors: Val, size: Val) -> Iterator[Val]:
        """The block for every handle of the trace."""
        f, code = self.f, self.code
        with f.loop(0, size) as i:
            handle = code.call("ptr", "PyList_GetItem", tensors, i)
            with f.when(code.differ(handle, code.known("None"))):
                yield handle

    def address(self, buffer: Val) -> Val:
        return self.code.call("ptr", "PyLong_AsVoidPtr", self.code.field(buffer, "Buffer._address"))

    def keep(self, things: Val, made: Val) -> None:
        """Move a new object, or NULL, to the end of a list."""
        f, code = self.f, self.code
        code.need(code.differ(made, NULL), "failed")
        added = code.call("i32", "PyList_Append", things, made)
        code.drop(made)
        code.need(f.compare("icmp", "eq", added, _ZERO), "failed")

    def run(
        self, words: Val, lists: Val, given: Val, inputs: Val, memories: Val, results: Val
    ) -> None:
        """Put the addresses of inputs and results where the program looks, and run it."""
        f, code = self.f, self.code
        run, frame, bases = (f.load("ptr", f.gep("i64", words, READY.index(name)))
                             for name in ("run", "frame", "bases"))  # fmt: skip
        bases = f.gep("i64", bases, FIRST_INPUT)
        with f.loop(0, inputs) as i:
            buffer = code.call(
                "ptr", "PyList_GetItem", given, f.load("i64", f.gep("i64", lists, i))
            )
            f.store(self.address(buffer), f.gep("i64", bases, i))
        with f.loop(0, results) as i:
            memory = code.call("ptr", "PyList_GetItem", memories, i)
            place = code.call("ptr", "PyLong_AsVoidPtr", code.field(memory, "Memory.address"))
            f.store(place, f.gep("i64", bases, f.add(inputs, i)))
        with f.when(code.differ(run, NULL)):
            f.emit(f"call void {run.text}({frame})")

    def deliver(self, tensors: Val, slots: Val, buffers: Val, count: Val) -> None:
        f, code = self.f, self.code
        none = code.known("None")
        with f.loop(0, count) as i:
            slot = f.load("i64", f.gep("i64", slots, f.mul(i, 2)))
            handle = code.call("ptr", "PyList_GetItem", tensors, slot)
            buffer = code.call("ptr", "PyList_GetItem", buffers, i)
            code.replace(code.owned(buffer), handle, "Tensor._buffer")
            code.replace(code.owned(none), handle, "Tensor._trace")
            extra = code.field(handle, "Tensor._extra")
            with f.when(code.differ(extra, none)):
                code.replace(code.owned(none), extra, "Extra.trace")

    def close(self, trace: Val, following: Val) -> None:
        """End the trace and begin the next. As `flush.close`."""
        code = self.code
        code.owned(trace)
        code.replace(code.owned(code.known("True")), trace, "Trace.closed")
        code.call("i32", "PyObject_SetAttr", code.known("local"), code.known("name of trace"),
                  following)  # fmt: skip
        code.replace(code.owned(following), code.known("shared"), "Shared.trace")
        for name in _NEW_LISTS:
            things = code.field(trace, name)
            size = code.call("i64", "PyList_Size", things)
            code.call("i32", "PyList_SetSlice", things, Val("i64", "0"), size, NULL)
        for name in _NEW_DICTS:
            code.call("void", "PyDict_Clear", code.field(trace, name))
        code.drop(trace)

    def give_back(self) -> None:
        for place in self.held:
            self.code.drop(self.f.load("ptr", place))


def _write_new_trace(module: Module, fields: Fields) -> None:
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
        for name in (*_NEW_LISTS, *_NEW_DICTS):
            if name in _NEW_LISTS:
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


def _write_new_memory(module: Module, fields: Fields) -> None:
    """``new_memory(nbytes, table)``: aligned bytes of the interpreter's own, or NULL."""
    params = [("i64", "nbytes"), ("ptr", "table")]
    with module.function("new_memory", params, "ptr", internal=True) as f:
        nbytes, table = map(f.param, [name for _, name in params])
        code = Code(f, fields, table, "none")
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


def _write_new_buffer(module: Module, fields: Fields) -> None:
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
