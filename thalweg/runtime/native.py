"""Native kernels as plain data: what code generation hands to the runtime.

A kernel is the text of one LLVM module and a list of *launches*, run one after another. A launch
calls ``void symbol(ptr args, i64 lo, i64 hi)`` for chunks of ``0 .. extent``; chunks may run at
once on several threads, and the cut into chunks is the kernel's own, so that results never depend
on the number of threads. ``args`` points at an array of pointers: the kernel's operands, then its
results, then its workspaces.

Rules for every kernel
- operands and results are dense, row-major, aligned to their element at least (never assume
  more); workspaces are aligned to 64 bytes and undefined at entry;
- nothing outside of operands and results is read or written, not even a vector's width past
  their end; workspaces are as large as the kernel says, over-reading included;
- an operand of no elements may be a null pointer; an extent of 0 is not launched;
- what one task needs for itself it takes from its stack, at most `STACK_BYTES`.
"""

from __future__ import annotations

from dataclasses import dataclass

STACK_BYTES = 3 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Launch:
    """``symbol`` over ``extent`` units of work, ``chunk`` of them a call.

    ``packs`` are argument positions (operand, workspace) of a launch that does nothing but fill
    that workspace from that operand, where nothing else writes to it: it may be left out as long
    as the operand and the workspace stay what they were.
    """

    symbol: str
    extent: int
    chunk: int
    packs: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class NativeKernel:
    """A compilable kernel.

    name         for people: logs and profiles ("gemm_512x512x512")
    text         LLVM module; equal text computes the same function, so it is a cache key and must
                 not contain anything accidental (counters, addresses, set order)
    workspaces   bytes of each workspace
    in_place     pairs of argument positions (operand, result) that may share one buffer
    flops, bytes what the kernel computes and the memory it must move at least, for profiles
    """

    name: str
    text: str
    launches: tuple[Launch, ...]
    workspaces: tuple[int, ...] = ()
    in_place: tuple[tuple[int, int], ...] = ()
    flops: int = 0
    bytes: int = 0
