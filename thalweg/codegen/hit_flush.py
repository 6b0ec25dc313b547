"""A flush of what was flushed before, as native code: small programs run without any Python.

`tensor.flush` in C, for a trace whose plan has a `runtime.ready.Ready` program, would read

    PyObject *record_flush(Form *form, PyObject *const *args, size_t flags, PyObject *names)
    {
        trace = shared->trace;                                       // no Trace, or watched: False
        live = the slots of pending handles that somebody else refers to;
        ready = trace->state->plans[live]->ready;            // none, or a heavy one: return live
        the addresses of ready's inputs, which no job owes;                  // else: return live
        memories = new Memory for each result, or that of an input which nobody else holds;
        buffers = a Buffer for each live slot, over those or over an input's Memory;
        next = new Trace; next->state = ready->root;
        if (shared->trace != trace || trace->state is not as before): return False
        bases = addresses; run(frame);
        positions that were data are as the program wants them;              // else: return live
        handle->buffer = its buffer, for each live slot;
        trace->closed = True; local.trace = shared->trace = next;
        clear what the trace held;
        return True;
    }

True: it is done. A tuple: nothing is done, but these are the live slots. False: nothing is done.
Given one argument, it only tells the live slots; given two, it runs heavy programs as well. What
failed a check is run again by Python, which says why. Python keeps the books of the trie, so every
`PERIOD`-th run is left to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..runtime.native_program import FIRST_INPUT
from ..runtime.ready import CHECK, READY
from .builder import Function, Module, Val, as_value
from .hit_objects import NEW_DICTS, NEW_LISTS, write_new_buffer, write_new_memory, write_new_trace
from .python_objects import NULL, Code, Fields, vectorcall

PERIOD = 64
_SLOTS = 256  # of traces in which dead views are told apart

_ZERO = Val("i32", "0")


def write_flush(module: Module, fields: Fields) -> None:
    write_new_trace(module, fields)
    write_new_memory(module, fields)
    write_new_buffer(module, fields)
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
        code.need(f.test("ne", given, 1), "known")
        plan = code.call("ptr", "PyDict_GetItemWithError", code.field(state, "State.plans"), live)
        code.need(code.differ(plan, NULL), "known")
        ready = code.field(plan, "Plan.ready")
        code.need(code.differ(ready, code.known("None")), "known")
        settings = code.field(code.known("shared"), "Shared.settings")
        code.need(code.same(code.field(ready, "Ready.settings"), settings), "known")
        f.store(code.owned(ready), plan_at)
        words = code.call("ptr", "PyLong_AsVoidPtr", code.field(ready, "Ready.address"))
        light = f.test("eq", f.load("i64", f.gep("i64", words, READY.index("heavy"))), 0)
        code.need(f.binary("or", light, f.test("ne", given, 0)), "known")
        runs_at = f.gep("i64", words, READY.index("runs"))
        runs = as_value(f.add(f.load("i64", runs_at), 1))
        f.store(runs, runs_at)
        code.need(f.test("ne", f.value("i64", f"and {runs}, {PERIOD - 1}"), 0), "known")
        inputs, results, count = (
            f.load("i64", f.gep("i64", words, READY.index(name)))
            for name in ("inputs", "results", "live")
        )
        lists = f.gep("i64", words, len(READY))
        sizes = f.gep("i64", lists, inputs)
        slots = f.gep("i64", lists, f.add(inputs, f.mul(results, 2)))
        given = code.field(trace, "Trace.inputs")
        with f.loop(0, inputs) as i:
            buffer = code.call(
                "ptr", "PyList_GetItem", given, f.load("i64", f.gep("i64", lists, i))
            )
            code.need(code.same(code.field(buffer, "Buffer.job"), code.known("None")), "known")
            place = code.call("ptr", "value_address", buffer, self.table)
            code.need(code.differ(place, NULL), "known")

        memories = code.call("ptr", "PyList_New", Val("i64", "0"))
        f.store(memories, memories_at)
        code.need(code.differ(memories, NULL), "failed")
        with f.loop(0, results) as i:
            nbytes, donor = (f.load("i64", f.gep("i64", sizes, f.add(f.mul(i, 2), k)))
                             for k in range(2))  # fmt: skip
            memory_at = f.alloca("ptr", 1, 8)
            f.store(NULL, memory_at)
            with f.when(f.test("sge", donor, 0)):
                number = f.load("i64", f.gep("i64", lists, donor))
                buffer = code.call("ptr", "PyList_GetItem", given, number)
                memory = code.call("ptr", "taken_over", buffer, nbytes, self.table)
                f.store(code.owned(memory), memory_at)
            with f.when(code.same(f.load("ptr", memory_at), NULL)):
                f.store(code.call("ptr", "new_memory", nbytes, self.table), memory_at)
            self.keep(memories, f.load("ptr", memory_at))
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

        self.run(words, lists, given, inputs, memories, results)
        self.check(words, f.gep("i64", slots, f.mul(count, 2)))
        noted = code.field(code.known("executed"), "ExecutionCount._noted")
        code.call("i32", "PyList_Append", noted, code.field(ready, "Ready.counts"))
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
        """A tuple of the live slots. As `flush.live_slots`."""
        f, code = self.f, self.code
        none = code.known("None")
        size = code.call("i64", "PyList_Size", tensors)
        code.need(f.test("ne", size, 0))
        count_at = f.alloca("i64", 1, 8)
        f.store(Val("i64", "0"), count_at)
        shown, any_shown = self.dead_views(tensors, size)

        def is_live(i: Val, handle: Val) -> Val:
            more_at = f.alloca("i64", 1, 8)
            f.store(Val("i64", "1"), more_at)  # reference: the trace's own
            with f.when(any_shown):
                f.store(as_value(f.add(f.load("i64", f.gep("i64", shown, i)), 1)), more_at)
            pending = code.same(code.field(handle, "Tensor._buffer"), none)
            held = f.test("sgt", f.load("i64", handle), f.load("i64", more_at))
            return f.binary("and", held, pending)

        with self.handles(tensors, size) as (i, handle):
            one = f.convert("zext", is_live(i, handle), "i64")
            f.store(as_value(f.add(f.load("i64", count_at), one)), count_at)
        live = code.call("ptr", "PyTuple_New", f.load("i64", count_at))
        code.need(code.differ(live, NULL), "failed")
        code.need(f.test("eq", code.call("i64", "PyList_Size", tensors), size))
        f.store(Val("i64", "0"), count_at)
        room = code.call("i64", "PyTuple_Size", live)
        with self.handles(tensors, size) as (i, handle):
            at = f.load("i64", count_at)
            # Making the tuple may have run the collector, and changed who holds what.
            with f.when(f.binary("and", is_live(i, handle), f.test("slt", at, room))):
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

    def dead_views(self, tensors: Val, size: Val) -> tuple[Val, Val]:
        """How many views that only the trace holds refer to each of its tensors (i64 by slot), and
        whether there are any: otherwise the numbers are not there."""
        f, code = self.f, self.code
        none = code.known("None")
        shown, any_at = f.alloca("i64", _SLOTS, 8), f.alloca("i64", 1, 8)
        f.store(Val("i64", "0"), any_at)
        with self.handles(tensors, size) as (_, handle):
            extra = code.field(handle, "Tensor._extra")
            with f.when(code.differ(extra, none)):
                base = code.field(extra, "Extra.base")
                dead = f.test("eq", f.load("i64", handle), 1)
                with f.when(f.binary("and", code.differ(base, none), dead)):
                    code.need(f.test("sle", size, _SLOTS))
                    with f.when(f.test("eq", f.load("i64", any_at), 0)):
                        f.store(Val("i64", "1"), any_at)
                        with f.loop(0, size) as i:
                            f.store(Val("i64", "0"), f.gep("i64", shown, i))
                    self.count_view(tensors, size, base, shown)
        return shown, f.test("ne", f.load("i64", any_at), 0)

    def count_view(self, tensors: Val, size: Val, base: Val, shown: Val) -> None:
        """Count one more dead view of ``base``, if that may be pending in this trace."""
        f, code = self.f, self.code
        none = code.known("None")
        with f.when(code.same(code.field(base, "Tensor._buffer"), none)):
            trace = code.field(code.known("shared"), "Shared.trace")
            code.need(code.same(code.field(base, "Tensor._trace"), trace))
            slot = code.call("i64", "PyLong_AsLongLong", code.field(base, "Tensor._slot"))
            code.need(f.test("slt", slot, size))
            code.need(code.same(code.call("ptr", "PyList_GetItem", tensors, slot), base))
            at = f.gep("i64", shown, slot)
            f.store(as_value(f.add(f.load("i64", at), 1)), at)

    @contextmanager
    def handles(self, tensors: Val, size: Val) -> Iterator[tuple[Val, Val]]:
        """The block for every slot of the trace that has a handle, and that."""
        f, code = self.f, self.code
        with f.loop(0, size) as i:
            handle = code.call("ptr", "PyList_GetItem", tensors, i)
            with f.when(code.differ(handle, code.known("None"))):
                yield i, handle

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

    def check(self, words: Val, checks: Val) -> None:
        """Look at the smallest and the largest of positions that are data. As `native_run`."""
        f, code = self.f, self.code
        bases, count = (f.load(kind, f.gep("i64", words, READY.index(name)))
                        for kind, name in (("ptr", "bases"), ("i64", "checks")))  # fmt: skip
        with f.loop(0, count) as i:
            entry = f.gep("i64", checks, f.mul(i, len(CHECK)))
            base, offset, low, high = (f.load("i64", f.gep("i64", entry, k)) for k in range(4))
            extent = f.gep("i8", f.load("ptr", f.gep("i64", bases, base)), offset)
            least, most = (f.load("i64", f.gep("i64", extent, k)) for k in range(2))
            inside = f.binary("and", f.test("sge", least, low), f.test("slt", most, high))
            code.need(inside, "known")

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
        for name in NEW_LISTS:
            things = code.field(trace, name)
            size = code.call("i64", "PyList_Size", things)
            code.call("i32", "PyList_SetSlice", things, Val("i64", "0"), size, NULL)
        for name in NEW_DICTS:
            code.call("void", "PyDict_Clear", code.field(trace, name))
        code.drop(trace)

    def give_back(self) -> None:
        for place in self.held:
            self.code.drop(self.f.load("ptr", place))
