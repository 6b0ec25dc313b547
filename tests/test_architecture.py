"""The shape of the source: who imports whom, where ops are told apart by name, file lengths.

All of it is read from the syntax trees, so imports inside functions count too.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from thalweg.ops import COMPOSITES, PRIMITIVES

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "thalweg"

# What each lower part of the package may import, besides itself. `thalweg` is the root module,
# whose names are those of the tensor layer. `runtime` stands beside: it runs plain data.
BELOW = {
    "core": set(),
    "ir": {"core"},
    "runtime": {"core"},
    "ops": {"core", "ir"},
    "passes": {"core", "ir", "ops"},
    "lowering": {"core", "ir", "ops", "passes"},
    "codegen": {"core", "ir", "ops", "runtime"},
    "distributed": {"core", "ir", "ops", "runtime"},
    "planning": {"core", "ir", "ops", "passes", "lowering", "codegen", "runtime"},
    "pipeline": {
        "core",
        "ir",
        "ops",
        "passes",
        "lowering",
        "codegen",
        "planning",
        "distributed",
        "runtime",
    },
}
BELOW["tensor"] = {*BELOW["pipeline"], "pipeline"}
BELOW["thalweg"] = {*BELOW["tensor"], "tensor"}
# Users of the whole, which nothing else may import. All other parts (nn, optim, data, ...) are
# faces of the tensor layer and may import anything but these.
TOP = {"app", "interop", "mock_torch", "numpy", "tensorflow", "testing"}

# Modules that may tell ops apart by name, and why.
BY_NAME = {
    "ir/rewrite.py": "patterns name ops; the constant `full` is the one they know themselves",
    "ir/verify.py": "the identities that steer differentiation, illegal after decompose",
    "passes/assemble.py": "an identity of sums of slices put into zeros",
    "passes/autodiff.py": "`as_leaf` starts differentiation as inputs do",
    "passes/decompose.py": "the identities that steer differentiation, which it drops",
    "passes/simplify.py": "algebraic identities are about particular ops",
    "tensor/alias.py": "`stop_gradient` in a chain of views marks a detached alias",
    "tensor/methods.py": "`stop_gradient` in a chain of views marks a detached alias",
    "tensor/residuals.py": "`as_leaf` is a leaf as inputs are",
}
OPTIONAL = (
    "torch", "matplotlib", "sklearn", "onnx", "onnxruntime", "scipy", "tensorboard", "llvmlite",
    "mpi4py", "pandas", "pyarrow", "tensorflow", "IPython",
)  # fmt: skip
LIMIT = 500
NAMES = set(PRIMITIVES) | set(COMPOSITES)


def sources(*folders):
    """Paths of the Python files in folders of the project, each with its syntax tree."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


SOURCES = list(sources("thalweg"))


def where(path, node):
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def part_of(module):
    """The part of the package that holds a module: 'thalweg.ir.node' is in 'ir'."""
    pieces = module.split(".")
    if len(pieces) > 1 and ((PACKAGE / pieces[1]).is_dir() or is_module(pieces[1])):
        return pieces[1]
    return "thalweg"


def is_module(name):
    return (PACKAGE / f"{name}.py").is_file()


def module_of(path):
    pieces = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(pieces[:-1] if pieces[-1] == "__init__" else pieces)


def imports(path, tree):
    """Names of the modules a file imports, with the statements."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                pieces = package.split(".")
                up = ".".join(pieces[: len(pieces) - node.level + 1])
                base = f"{up}.{base}".rstrip(".")
            if base == "thalweg":  # `from thalweg import nn` imports the part, not the root
                for alias in node.names:
                    yield f"thalweg.{alias.name}", node
            else:
                yield base, node


def may_import(source, target):
    if source == target:
        return True
    if source in BELOW:
        return target in BELOW[source]
    return source in TOP or target not in TOP


def test_imports_point_down():
    wrong = []
    for path, tree in SOURCES:
        source = part_of(module_of(path))
        for module, node in imports(path, tree):
            if module.split(".")[0] == "thalweg" and not may_import(source, part_of(module)):
                wrong.append(f"{where(path, node)}: {source} imports {module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        ("core", "ir", False), ("ops", "passes", False), ("passes", "ops", True),
        ("runtime", "ir", False), ("pipeline", "runtime", True), ("tensor", "nn", False),
        ("nn", "tensor", True), ("nn", "thalweg", True), ("ops", "thalweg", False),
        ("tensor", "thalweg", False), ("nn", "app", False), ("app", "nn", True),
        ("optim", "testing", False), ("ir", "ir", True), ("thalweg", "nn", False),
    ],
)  # fmt: skip
def test_the_layers_are_these(source, target, allowed):
    assert may_import(source, target) is allowed


def test_imports_are_found_in_every_form():
    text = """
import thalweg.ir.node as n, os
from thalweg import nn, Tensor
def f():
    from . import graph
    from ..core import flags
    from ..core.errors import GraphError
"""
    found = [m for m, _ in imports(PACKAGE / "ir" / "x.py", ast.parse(text))]
    assert found == [
        "thalweg.ir.node", "os", "thalweg.nn", "thalweg.Tensor",
        "thalweg.ir", "thalweg.core", "thalweg.core.errors",
    ]  # fmt: skip
    assert [part_of(m) for m in found[2:4]] == ["nn", "thalweg"]


def test_torch_is_never_imported_by_the_package():
    wrong = [
        where(path, node)
        for path, tree in SOURCES
        for module, node in imports(path, tree)
        if module.split(".")[0] == "torch"
    ]
    assert not wrong, wrong


def is_op_name(node):
    """Whether an expression reads an op's name: ``op.name`` or ``node.op.name``."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "name"
        and (
            (isinstance(node.value, ast.Name) and node.value.id == "op")
            or (isinstance(node.value, ast.Attribute) and node.value.attr == "op")
        )
    )


def name_tests(tree):
    """Expressions that decide by an op's name: comparisons, look-ups, matches, and the import of
    patterns, which are written in names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            strings = [s.value for side in sides for s in ast.walk(side)
                       if isinstance(s, ast.Constant) and isinstance(s.value, str)]  # fmt: skip
            named = any(isinstance(s, ast.Attribute) and s.attr == "name" for s in sides)
            if any(map(is_op_name, sides)) or (named and NAMES.intersection(strings)):
                yield node
        elif (isinstance(node, ast.Subscript) and is_op_name(node.slice)) or (
            isinstance(node, ast.Match) and is_op_name(node.subject)
        ):
            yield node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            methods = ("get", "startswith", "endswith")
            if node.func.attr in methods and any(map(is_op_name, [node.func.value, *node.args])):
                yield node
        elif isinstance(node, ast.ImportFrom) and (node.module or "").endswith("ir.rewrite"):
            yield node


def test_only_listed_modules_tell_ops_apart_by_name():
    found = {}
    for path, tree in SOURCES:
        name = path.relative_to(PACKAGE).as_posix()
        if name.split("/")[0] not in ("ops", "testing"):
            found[name] = [where(path, node) for node in name_tests(tree)]
    wrong = [place for name in found if name not in BY_NAME for place in found[name]]
    assert not wrong, f"ask the op for a property, or give a reason in BY_NAME: {wrong}"
    stale = [name for name in BY_NAME if not found.get(name)]
    assert not stale, f"no longer need to be in BY_NAME: {stale}"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("if node.op.name == 'add': pass", 1), ("x = op.name in TABLE", 1),
        ("y = TABLE[v.node.op.name]", 1), ("y = TABLE.get(op.name)", 1),
        ("if op.name.startswith('reduce_'): pass", 1), ("if known.name == 'add': pass", 1),
        ("match op.name:\n  case 'add': pass", 1), ("from ..ir.rewrite import op", 1),
        ("print(f'{op.name}')", 0), ("key = (op.name, 1)", 0), ("if flag.name == 'x': pass", 0),
    ],
)  # fmt: skip
def test_decisions_by_name_are_found(text, count):
    assert len(list(name_tests(ast.parse(text)))) == count


def test_files_are_short():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path, _ in sources("thalweg", "tests", "benchmarks", "examples")
    }
    long = {name: count for name, count in lengths.items() if count > LIMIT}
    assert not long, f"more than {LIMIT} lines; split by idea: {long}"


def test_modules_begin_by_saying_what_they_are():
    silent = [
        str(path.relative_to(ROOT))
        for path, tree in SOURCES
        if path.read_text(encoding="utf-8").strip() and not ast.get_docstring(tree)
    ]
    assert not silent, silent


def loaded_by(code):
    """All modules that a fresh interpreter has after running ``code``."""
    result = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(result.stdout.split())


# What importing the package does not wait for: all that compiles, which comes with the first graph
# that is compiled, and slow modules that only rare calls need.
LATER = (
    "thalweg.codegen", "thalweg.lowering", "thalweg.planning", "thalweg.pipeline",
    "thalweg.ir.loops", "thalweg.ir.rewrite", "thalweg.passes.fuse", "thalweg.passes.simplify",
    "thalweg.runtime.native_run", "thalweg.runtime.native_program", "thalweg.runtime.saved",
    "thalweg.runtime.threads", "thalweg.nn", "thalweg.optim", "thalweg.numpy", "thalweg.testing",
    "thalweg.tensor.stubs", "numpy.random", "email", "hashlib", "importlib.metadata", "subprocess",
)  # fmt: skip


def test_import_loads_what_recording_needs_and_no_more():
    loaded = loaded_by("import thalweg")
    assert {"thalweg.tensor.tensor", "thalweg.ops.arithmetic", "numpy"} <= loaded
    assert not set(OPTIONAL) & {name.partition(".")[0] for name in loaded}
    assert not [name for name in loaded if name.startswith(tuple(f"{m}." for m in LATER))]
    assert not set(LATER) & loaded


def test_small_graphs_run_without_a_compiler():
    loaded = loaded_by("import thalweg; assert (thalweg.ones(2) + 1).tolist() == [2, 2]")
    assert "thalweg.pipeline" in loaded
    assert not {"thalweg.planning.native", "thalweg.codegen.emit", "thalweg.lowering"} & loaded
