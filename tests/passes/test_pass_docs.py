"""What the docstring of a pass promises is what the pass does.

A module of passes that defines a function from a graph to a graph shows, in its docstring, the
text of a graph before, the word 'becomes', and the text after.
"""

import importlib
import inspect
import pkgutil
import re
import textwrap
import typing

import pytest

import thalweg.passes
from thalweg.ir.graph import Graph
from thalweg.ir.text import parse_graph, print_graph
from thalweg.ir.verify import verify
from thalweg.ops import COMPOSITES, PRIMITIVES

OPS = {**COMPOSITES, **PRIMITIVES}


def passes_of(module):
    """The functions of a module whose only required parameter and whose result are graphs."""
    for name, function in vars(module).items():
        if not inspect.isfunction(function) or function.__module__ != module.__name__:
            continue
        hints = typing.get_type_hints(function)
        required = [
            p for p in inspect.signature(function).parameters.values() if p.default is p.empty
        ]
        if not name.startswith("_") and hints.get("return") is Graph and len(required) == 1:
            yield function


def find_passes():
    for info in pkgutil.iter_modules(thalweg.passes.__path__):
        module = importlib.import_module(f"thalweg.passes.{info.name}")
        for function in passes_of(module):
            yield pytest.param(module, function, id=function.__name__)


def examples(doc):
    """The pairs of graph texts, each indented, with 'becomes' alone on a line between."""
    graph = r"((?:    .*\n)+)"
    found = re.findall(graph + r"\nbecomes\n\n" + graph, inspect.cleandoc(doc) + "\n")
    return [tuple(map(textwrap.dedent, pair)) for pair in found]


def test_the_known_passes_are_found():
    names = {p.values[1].__name__ for p in find_passes()}
    assert names >= {"decompose", "simplify", "eliminate_common", "prune_scans"}


@pytest.mark.parametrize(("module", "function"), find_passes())
def test_before_becomes_after(module, function):
    pairs = examples(module.__doc__)
    assert pairs, f"{module.__name__} shows no graph before and after"
    for before, after in pairs:
        graph = parse_graph(before, OPS)
        text = print_graph(graph)
        result = function(graph)
        verify(result)
        assert print_graph(result) == print_graph(parse_graph(after, OPS))
        assert print_graph(graph) == text, "a pass must leave the graph it is given as it was"
        assert print_graph(result) != text, "the example shows nothing"
