"""The `thalweg` command: look at the installation, list the ops, train, show graphs."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

PACKAGES = ("numpy", "scipy", "ml_dtypes", "safetensors", "llvmlite", "matplotlib", "tensorboard")


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Returns the exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        # Text from a model holds any character; a terminal that lacks one should not end the run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parser = build_parser()
    options = parser.parse_args(arguments)
    from thalweg.app.options import UsageError

    try:
        return int(options.command(options))
    except UsageError as error:
        print(f"thalweg {options.name}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has left; nothing more can be said, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thalweg",
        description="A deep-learning framework with PyTorch's names and one recorded graph.",
    )
    parser.add_argument("--version", action="version", version=f"thalweg {version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    info = commands.add_parser("info", help="versions, machine, threads and flags")
    info.set_defaults(command=show_info, name="info")

    ops = commands.add_parser("ops", help="the table of ops: what each gives or declines")
    ops.set_defaults(command=show_ops, name="ops")

    train = commands.add_parser(
        "train",
        help="train a GPT on the standard library's source",
        description="Train a byte-level GPT on this Python's own standard library. Ctrl-C leaves "
        "a checkpoint; --resume goes on from it with the same numbers, bit for bit.",
    )
    from thalweg.app.options import add_arguments

    add_arguments(train)
    train.set_defaults(command=_train, name="train")

    dump = commands.add_parser(
        "dump",
        help="print the graphs that a script records",
        description="Run SCRIPT as the main program and print the text of every graph it runs.",
    )
    dump.add_argument(
        "--html", type=Path, metavar="FILE",
        help="write a page instead, on which to step through the passes, kernels and memory",
    )  # fmt: skip
    dump.add_argument("script", type=Path, metavar="SCRIPT")
    dump.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its arguments")
    dump.set_defaults(command=_dump, name="dump")
    return parser


def version() -> str:
    """The installed version, or that of a source tree which is only on the path."""
    try:
        return importlib.metadata.version("thalweg")
    except importlib.metadata.PackageNotFoundError:
        import thalweg

        return thalweg.__version__


def show_info(options: argparse.Namespace) -> int:
    import thalweg
    from thalweg.core import flags

    rows = [("thalweg", version()), ("python", platform.python_version())]
    for package in PACKAGES:
        try:
            rows.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            rows.append((package, "not installed"))
    rows += [
        ("platform", platform.platform()),
        ("processor", processor()),
        ("cores", f"{usable_cores()} usable of {os.cpu_count()}"),
        ("memory", memory()),
        ("threads", str(thalweg.get_num_threads())),
    ]
    rows.append(("roofline", best_case()))
    for name, value in rows:
        print(f"{name:12} {value}")
    print("\nflags (set THALWEG_<NAME> in the environment)")
    print(flags.describe())
    return 0


def best_case() -> str:
    """What one thread can do at best, measured once per machine."""
    from thalweg.profiler.machine import roofline

    try:
        return str(roofline())
    except RuntimeError as error:
        return f"unknown: {error}"


def show_ops(options: argparse.Namespace) -> int:
    from thalweg.ops import table

    sys.stdout.write(table.as_text())
    return 0


def processor() -> str:
    """The processor's name, from the kernel where Python itself does not know it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return f"{value.strip()} ({platform.machine()})"
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return "unknown"
    return f"{total / 2**30:.1f} GiB"


def _train(options: argparse.Namespace) -> int:
    from thalweg.app import job

    return job.main(options)


def _dump(options: argparse.Namespace) -> int:
    from thalweg.app import dump

    return dump.main(options)


if __name__ == "__main__":
    sys.exit(main())
