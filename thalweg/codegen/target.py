"""The machine that code is made for.

A `Target` is plain data, so kernels can be emitted and assembled for machines other than the one
at hand; `host` describes the latter.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """``cpu`` and ``features`` are LLVM's names; ``vector_bytes`` is the width of a register,
    ``registers`` their number."""

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int

    def lanes(self, itemsize: int) -> int:
        """Elements of ``itemsize`` bytes in one vector register."""
        return self.vector_bytes // itemsize


AVX2 = Target(
    "avx2", "x86_64-unknown-linux-gnu", "haswell", "+avx2,+fma,+f16c,+bmi2", 32, 16
)  # fmt: skip
AVX512 = Target(
    "avx512", "x86_64-unknown-linux-gnu", "skylake-avx512",
    "+avx512f,+avx512vl,+avx512bw,+avx512dq,+fma,+f16c", 64, 32,
)  # fmt: skip
NEON = Target("neon", "aarch64-unknown-linux-gnu", "cortex-a76", "+neon,+fullfp16", 16, 32)


@functools.cache
def host() -> Target:
    """The machine this process runs on. RuntimeError if it has no vector unit that we know."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    triple, cpu = llvm.get_process_triple(), llvm.get_host_cpu_name()
    flat = features.flatten()
    if triple.startswith(("aarch64", "arm64")):
        return Target("neon", triple, cpu, flat, 16, 32)
    if features.get("avx512f") and features.get("avx512vl") and features.get("avx512bw"):
        return Target("avx512", triple, cpu, flat, 64, 32)
    if features.get("avx2") and features.get("fma"):
        return Target("avx2", triple, cpu, flat, 32, 16)
    raise RuntimeError(f"native code needs AVX2 with FMA, or NEON; this processor is {cpu}")
