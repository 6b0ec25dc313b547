"""The machine that code is made for.

A `Target` is plain data, so kernels can be emitted and assembled for machines other than the one
at hand; `host` describes the latter.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

USUAL_CACHE = 512 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """``cpu`` and ``features`` are LLVM's names; ``vector_bytes`` is the width of a register,
    ``registers`` their number, ``cache`` the bytes of a core's second-level cache."""

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    cache: int = USUAL_CACHE

    def lanes(self, itemsize: int) -> int:
        """Elements of ``itemsize`` bytes in one vector register."""
        return self.vector_bytes // itemsize


AVX2 = Target(
    "avx2", "x86_64-unknown-linux-gnu", "haswell", "+avx2,+fma,+f16c,+bmi2", 32, 16
)  # fmt: skip
AVX512 = Target(
    "avx512", "x86_64-unknown-linux-gnu", "skylake-avx512",
    "+avx512f,+avx512vl,+avx512bw,+avx512dq,+fma,+f16c", 64, 32, 1 << 20,
)  # fmt: skip
NEON = Target("neon", "aarch64-unknown-linux-gnu", "cortex-a76", "+neon,+fullfp16", 16, 32)


@functools.cache
def host() -> Target:
    """The machine this process runs on. RuntimeError if it has no vector unit that we know."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    triple, cpu = llvm.get_process_triple(), llvm.get_host_cpu_name()
    flat, cache = features.flatten(), _second_level_cache()
    if triple.startswith(("aarch64", "arm64")):
        return Target("neon", triple, cpu, flat, 16, 32, cache)
    if features.get("avx512f") and features.get("avx512vl") and features.get("avx512bw"):
        return Target("avx512", triple, cpu, flat, 64, 32, cache)
    if features.get("avx2") and features.get("fma"):
        return Target("avx2", triple, cpu, flat, 32, 16, cache)
    raise RuntimeError(f"native code needs AVX2 with FMA, or NEON; this processor is {cpu}")


def _second_level_cache() -> int:
    """Bytes of the first core's second-level cache as Linux tells them; a usual size elsewhere."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level, size = ((index / name).read_text().strip() for name in ("level", "size"))
            if level == "2" and size.endswith("K"):
                return int(size[:-1]) * 1024
        except (OSError, ValueError):
            continue
    return USUAL_CACHE
