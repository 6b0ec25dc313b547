"""The thread pool and the program walker, as LLVM text.

One module of functions on a block of memory whose layout is the constants below; `runtime.threads`
allocates it and starts the workers. All of it is plain machine code: no Python runs in a step.

The pool runs one *region* at a time: a function over ``0 .. extent``, cut into chunks. A 64-bit
ticket holds the region's number and how many chunks are left; whoever swaps it for one less owns
that chunk, and reads what to do only then, when the region cannot end before the chunk is done.
The thread that opened the region takes chunks too, and waits for *chunks*, never for threads: a
worker that was not scheduled, or that does not exist (after a fork), delays nobody. A region
opened while another one runs (nested, or from another thread) runs serially, chunk by chunk, so
results are the same.

Idle workers watch the region number for a while and then sleep on it (a futex on Linux, short
naps elsewhere).
"""

from __future__ import annotations

import functools

from .builder import Function, Int, Module, Val, literal
from .target import Target

# Byte offsets in the pool's memory; what different threads write lies on different cache lines.
TICKET = 0  # i64: region number << 32 | chunks left
REGION = 64  # i32: number of the latest region; workers sleep on it
SLEEPERS = 68  # i32: workers asleep, or about to be
FUNCTION, ARGS, EXTENT, CHUNK = 128, 136, 144, 152  # the region under way
DONE = 192  # i32: chunks finished; the opener sleeps on it
WAITING = 196  # i32: whether the opener sleeps
STOP = 256  # i32: workers end when they see it
SPINS, JOIN_SPINS = 260, 264  # i32: looks before a worker, or the opener, goes to sleep
BUSY = 320  # i32: whether a region is under way
WORKERS = 384  # i32: threads besides the opener; 0: regions run serially
POOL_BYTES = 448

# i64 fields of a frame, what `run` is called with, and of a record, one launch of a kernel.
FRAME = ("pool", "records", "count", "args", "moves", "move_count", "bases", "stamps")
RECORD = ("function", "args", "extent", "chunk")
SYMBOLS = ("thalweg_worker", "thalweg_parallel", "thalweg_stop", "thalweg_run", "thalweg_run_timed")

_FUTEX = {"x86_64": 202, "aarch64": 98}
_WAIT, _WAKE = 128, 129  # private to the process
_CLOCK_MONOTONIC = {"linux": 1, "darwin": 6}


@functools.lru_cache
def pool_text(target: Target) -> str:
    """The module; it exports `SYMBOLS`."""
    module = Module()
    _Pool(module, target).write()
    return module.text()


def _i32(value: int) -> Val:
    return literal(value, "i32")


class _Pool:
    """Writes the functions, each on the pool's address as its first argument."""

    def __init__(self, module: Module, target: Target) -> None:
        self.module = module
        self.linux = "linux" in target.triple
        self.machine = "aarch64" if target.name == "neon" else "x86_64"

    def write(self) -> None:
        self._drain()
        self._worker()
        self._serial()
        self._parallel()
        self._stop()
        self._move()
        self._run("thalweg_run", timed=False)
        self._run("thalweg_run_timed", timed=True)

    def _at(self, f: Function, offset: int) -> Val:
        return f.gep("i8", f.param("pool"), offset)

    # --- what the system and the processor offer

    def _pause(self, f: Function) -> None:
        """Tell the processor that this is a waiting loop."""
        name, args = ("x86.sse2.pause", "") if self.machine == "x86_64" else ("aarch64.hint", "i32")
        self.module.declare(f"declare void @llvm.{name}({args})")
        f.emit(f"call void @llvm.{name}({'i32 1' if args else ''})")

    def _sleep(self, f: Function, word: Val, value: Val) -> None:
        """Sleep until woken, if ``word`` still holds ``value``; may return at any time."""
        if self.linux:
            self._futex(f, word, _WAIT, value)
        else:
            self.module.declare("declare i32 @usleep(i32)")
            f.emit("call i32 @usleep(i32 50)")

    def _wake(self, f: Function, word: Val) -> None:
        if self.linux:
            self._futex(f, word, _WAKE, _i32(0x7FFFFFFF))

    def _futex(self, f: Function, word: Val, operation: int, value: Val) -> None:
        self.module.declare("declare i64 @syscall(i64, ...)")
        f.emit(
            f"call i64 (i64, ...) @syscall(i64 {_FUTEX[self.machine]}, {word}, i32 {operation}, "
            f"{value}, ptr null, ptr null, i32 0)"
        )

    # --- taking part in a region

    def _drain(self) -> None:
        """Take chunks until none is left."""
        head = self.module.function("drain", [("ptr", "pool")], internal=True)
        with head as f, f.forever() as leave:
            ticket = f.atomic_load("i64", self._at(f, TICKET))
            left = f.binary("and", ticket, literal(0xFFFFFFFF, "i64"))
            leave(f.test("eq", left, 0))
            less = f.binary("sub", ticket, literal(1, "i64"))
            with f.when(f.compare_exchange(self._at(f, TICKET), ticket, less)):
                self._chunk(f, f.binary("sub", left, literal(1, "i64")))
                f.atomic_update("add", self._at(f, DONE), _i32(1))
                waiting = f.atomic_load("i32", self._at(f, WAITING), "seq_cst")
                with f.when(f.compare("icmp", "ne", waiting, _i32(0))):
                    self._wake(f, self._at(f, DONE))

    def _chunk(self, f: Function, number: Val) -> None:
        chunk = f.load("i64", self._at(f, CHUNK))
        lo = f.mul(number, chunk)
        hi = f.min(f.add(lo, chunk), f.load("i64", self._at(f, EXTENT)))
        self._call(
            f, f.load("ptr", self._at(f, FUNCTION)), f.load("ptr", self._at(f, ARGS)), lo, hi
        )

    def _call(self, f: Function, function: Val, args: Val, lo: Int, hi: Int) -> None:
        low, high = (v if isinstance(v, Val) else literal(v, "i64") for v in (lo, hi))
        f.emit(f"call void {function.text}({args}, {low}, {high})")

    def _worker(self) -> None:
        """What a worker thread runs, until it is told to stop."""
        with self.module.function("thalweg_worker", [("ptr", "pool")], "ptr") as f:
            seen, looks = f.alloca("i32"), f.alloca("i32")
            f.store(_i32(0), seen)
            f.store(_i32(0), looks)
            with f.forever() as leave:
                region = f.atomic_load("i32", self._at(f, REGION))
                last = f.load("i32", seen)
                changed = f.compare("icmp", "ne", region, last)

                def work(region: Val = region) -> None:
                    f.store(region, seen)
                    f.store(_i32(0), looks)
                    f.call("void", "drain", f.param("pool"))

                def idle(last: Val = last) -> None:
                    count = f.binary("add", f.load("i32", looks), _i32(1))
                    f.store(count, looks)
                    limit = f.load("i32", self._at(f, SPINS))

                    def nap() -> None:
                        f.store(_i32(0), looks)
                        f.atomic_update("add", self._at(f, SLEEPERS), _i32(1))
                        self._sleep(f, self._at(f, REGION), last)
                        f.atomic_update("sub", self._at(f, SLEEPERS), _i32(1))

                    f.either(
                        f.compare("icmp", "slt", count, limit), lambda: self._pause(f), nap
                    )  # fmt: skip

                stop = f.atomic_load("i32", self._at(f, STOP))
                leave(f.compare("icmp", "ne", stop, _i32(0)))
                f.either(changed, work, idle)
            f.emit("ret ptr null")

    # --- opening a region

    def _serial(self) -> None:
        """All chunks of a function, one after another, on this thread."""
        with self.module.function("serial", _REGION, internal=True) as f:
            extent, chunk = f.param("extent"), f.param("chunk")
            at = f.alloca("i64")
            f.store(literal(0, "i64"), at)
            with f.forever() as leave:
                lo = f.load("i64", at)
                leave(f.test("sge", lo, extent))
                hi = f.min(f.add(lo, chunk), extent)
                assert isinstance(hi, Val)
                self._call(f, f.param("function"), f.param("args"), lo, hi)
                f.store(hi, at)

    def _parallel(self) -> None:
        with self.module.function("thalweg_parallel", [("ptr", "pool"), *_REGION]) as f:
            workers = f.atomic_load("i32", self._at(f, WORKERS), "monotonic")
            many = f.test("slt", f.param("chunk"), f.param("extent"))
            alone = f.compare("icmp", "eq", workers, _i32(0))
            shared = f.binary("and", many, f.binary("xor", alone, literal(1, "i1")))
            f.either(shared, lambda: self._try(f), lambda: self._alone(f))

    def _alone(self, f: Function) -> None:
        f.call("void", "serial", *(f.param(name) for _, name in _REGION))

    def _try(self, f: Function) -> None:
        taken = f.compare_exchange(self._at(f, BUSY), _i32(0), _i32(1))
        f.either(taken, lambda: self._region(f), lambda: self._alone(f))

    def _region(self, f: Function) -> None:
        extent, chunk = f.param("extent"), f.param("chunk")
        for name, offset in (("function", FUNCTION), ("args", ARGS), ("extent", EXTENT),
                             ("chunk", CHUNK)):  # fmt: skip
            f.store(f.param(name), self._at(f, offset))
        count = f.div(f.sub(f.add(extent, chunk), 1), chunk)
        assert isinstance(count, Val)
        chunks = f.convert("trunc", count, "i32")
        f.atomic_store(_i32(0), self._at(f, DONE))
        region = f.binary("add", f.load("i32", self._at(f, REGION)), _i32(1))
        high = f.binary("shl", f.convert("zext", region, "i64"), literal(32, "i64"))
        f.atomic_store(f.binary("or", high, count), self._at(f, TICKET), "seq_cst")
        f.atomic_update("xchg", self._at(f, REGION), region)
        asleep = f.atomic_load("i32", self._at(f, SLEEPERS), "seq_cst")
        with f.when(f.compare("icmp", "sgt", asleep, _i32(0))):
            self._wake(f, self._at(f, REGION))
        f.call("void", "drain", f.param("pool"))
        self._join(f, chunks)
        f.atomic_store(_i32(0), self._at(f, BUSY))

    def _join(self, f: Function, chunks: Val) -> None:
        """Wait until ``chunks`` are finished."""
        looks = f.alloca("i32")
        f.store(_i32(0), looks)
        with f.forever() as leave:
            done = f.atomic_load("i32", self._at(f, DONE), "seq_cst")
            leave(f.compare("icmp", "eq", done, chunks))
            count = f.binary("add", f.load("i32", looks), _i32(1))
            f.store(count, looks)
            limit = f.load("i32", self._at(f, JOIN_SPINS))

            def nap() -> None:
                f.atomic_store(_i32(1), self._at(f, WAITING), "seq_cst")
                again = f.atomic_load("i32", self._at(f, DONE), "seq_cst")
                with f.when(f.compare("icmp", "ne", again, chunks)):
                    self._sleep(f, self._at(f, DONE), again)
                f.atomic_store(_i32(0), self._at(f, WAITING), "seq_cst")

            f.either(f.compare("icmp", "slt", count, limit), lambda: self._pause(f), nap)

    def _stop(self) -> None:
        """Let all workers end."""
        with self.module.function("thalweg_stop", [("ptr", "pool")]) as f:
            f.atomic_store(_i32(1), self._at(f, STOP), "seq_cst")
            f.atomic_update("add", self._at(f, REGION), _i32(1))
            self._wake(f, self._at(f, REGION))

    # --- walking a program

    def _field(self, f: Function, name: str, type: str) -> Val:
        return f.load(type, f.gep("i64", f.param("frame"), FRAME.index(name)))

    def _move(self) -> None:
        """``args[move.arg] = bases[move.base] + move.offset`` for all moves; a move is two i32
        (arg, base) and an i64."""
        with self.module.function("move", [("ptr", "frame")], internal=True) as f:
            args, bases = self._field(f, "args", "ptr"), self._field(f, "bases", "ptr")
            moves = self._field(f, "moves", "ptr")
            with f.loop(0, self._field(f, "move_count", "i64")) as i:
                move = f.gep("i8", moves, f.mul(i, 16))
                arg, base = (
                    f.convert("zext", f.load("i32", f.gep("i32", move, k)), "i64") for k in (0, 1)
                )
                offset = f.load("i64", f.gep("i64", move, 1))
                start = f.load("i64", f.gep("i64", bases, base))
                f.store(f.binary("add", start, offset), f.gep("i64", args, arg))

    def _run(self, name: str, timed: bool) -> None:
        """Relocate the pointers, then launch all records; with times, in nanoseconds, before the
        first record and after each."""
        with self.module.function(name, [("ptr", "frame")]) as f:
            pool, records = self._field(f, "pool", "ptr"), self._field(f, "records", "ptr")
            f.call("void", "move", f.param("frame"))
            if timed:
                self._stamp(f, 0)
            with f.loop(0, self._field(f, "count", "i64")) as i:
                record = f.gep("i8", records, f.mul(i, 8 * len(RECORD)))
                function, args = (f.load("ptr", f.gep("i64", record, k)) for k in (0, 1))
                extent, chunk = (f.load("i64", f.gep("i64", record, k)) for k in (2, 3))
                self._launch(f, pool, function, args, extent, chunk)
                if timed:
                    self._stamp(f, f.add(i, 1))

    def _launch(
        self, f: Function, pool: Val, function: Val, args: Val, extent: Val, chunk: Val
    ) -> None:
        f.either(
            f.test("sle", extent, chunk),
            lambda: self._call(f, function, args, 0, extent),
            lambda: f.emit(
                f"call void @thalweg_parallel({pool}, {function}, {args}, {extent}, {chunk})"
            ),
        )

    def _stamp(self, f: Function, index: Int) -> None:
        self.module.declare("declare i32 @clock_gettime(i32, ptr)")
        clock = _CLOCK_MONOTONIC["linux" if self.linux else "darwin"]
        time = f.alloca("i64", 2)
        f.emit(f"call i32 @clock_gettime(i32 {clock}, {time})")
        seconds, rest = (f.load("i64", f.gep("i64", time, k)) for k in (0, 1))
        total = f.add(f.mul(seconds, 1_000_000_000), rest)
        assert isinstance(total, Val)
        f.store(total, f.gep("i64", self._field(f, "stamps", "ptr"), index))


_REGION = [("ptr", "function"), ("ptr", "args"), ("i64", "extent"), ("i64", "chunk")]
