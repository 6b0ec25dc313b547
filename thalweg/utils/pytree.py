"""`torch.utils._pytree`: nests of containers as lists of leaves, and back.

Dictionaries, lists, tuples, named tuples, deques and registered classes are nodes; all else, None
too, is a leaf.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Flatten = Callable[[Any], tuple[Iterable[Any], Any]]
Unflatten = Callable[[Iterable[Any], Any], Any]


@dataclass(frozen=True)
class NodeDef:
    """How instances of a class are taken apart and put together."""

    flatten: Flatten
    unflatten: Unflatten


def _flatten_dict(value: Any) -> tuple[list[Any], Any]:
    return list(value.values()), list(value)


SUPPORTED_NODES: dict[type, NodeDef] = {
    dict: NodeDef(_flatten_dict, lambda values, keys: dict(zip(keys, values))),
    collections.OrderedDict: NodeDef(
        _flatten_dict, lambda values, keys: collections.OrderedDict(zip(keys, values))
    ),
    collections.defaultdict: NodeDef(
        lambda d: (list(d.values()), (d.default_factory, list(d))),
        lambda values, kept: collections.defaultdict(kept[0], zip(kept[1], values)),
    ),
    list: NodeDef(lambda value: (value, None), lambda values, _: list(values)),
    tuple: NodeDef(lambda value: (list(value), None), lambda values, _: tuple(values)),
    collections.deque: NodeDef(
        lambda value: (list(value), value.maxlen), lambda values, n: collections.deque(values, n)
    ),
}
_NAMED_TUPLE = NodeDef(lambda value: (list(value), type(value)), lambda values, kind: kind(*values))


@dataclass(frozen=True)
class TreeSpec:
    """The structure around the leaves: a node's class, what it keeps, and its children's specs."""

    type: Any
    context: Any = None
    children_specs: tuple[TreeSpec, ...] = ()

    @property
    def num_leaves(self) -> int:
        return 1 if self.type is None else sum(c.num_leaves for c in self.children_specs)

    def is_leaf(self) -> bool:
        """Whether this stands for a single leaf."""
        return self.type is None

    def __hash__(self) -> int:
        return hash((self.type, repr(self.context), self.children_specs))


LeafSpec = TreeSpec
_LEAF = TreeSpec(None)


def register_pytree_node(cls: type, flatten_fn: Flatten, unflatten_fn: Unflatten,
                         **kwargs: Any) -> None:  # fmt: skip
    """Make instances of ``cls`` nodes. ``flatten_fn`` gives children and context; ValueError if
    the class is registered already."""
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node")
    SUPPORTED_NODES[cls] = NodeDef(flatten_fn, unflatten_fn)


_register_pytree_node = register_pytree_node


def _node(tree: Any) -> tuple[Any, NodeDef] | None:
    kind = type(tree)
    definition = SUPPORTED_NODES.get(kind)
    if definition is not None:
        return kind, definition
    return (
        ("namedtuple", _NAMED_TUPLE)
        if isinstance(tree, tuple) and hasattr(tree, "_fields")
        else None
    )


def tree_flatten(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> tuple[list[Any], TreeSpec]:
    """The leaves in order, and the structure around them."""
    found = None if is_leaf is not None and is_leaf(tree) else _node(tree)
    if found is None:
        return [tree], _LEAF
    children, context = found[1].flatten(tree)
    leaves: list[Any] = []
    specs = []
    for child in children:
        below, spec = tree_flatten(child, is_leaf)
        leaves += below
        specs.append(spec)
    return leaves, TreeSpec(found[0], context, tuple(specs))


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> Any:
    """The nest with these leaves. ValueError if their number does not fit."""
    given = list(leaves)
    if len(given) != treespec.num_leaves:
        raise ValueError(f"tree_unflatten: expected {treespec.num_leaves} leaves, got {len(given)}")
    return _build(treespec, iter(given))


def _build(spec: TreeSpec, leaves: Any) -> Any:
    if spec.type is None:
        return next(leaves)
    definition = _NAMED_TUPLE if spec.type == "namedtuple" else SUPPORTED_NODES[spec.type]
    return definition.unflatten([_build(c, leaves) for c in spec.children_specs], spec.context)


def tree_leaves(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """The leaves in order."""
    return tree_flatten(tree, is_leaf)[0]


tree_iter = tree_leaves


def tree_structure(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> TreeSpec:
    """The structure around the leaves."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func: Callable[..., Any], tree: Any, *rests: Any,
             is_leaf: Callable[[Any], bool] | None = None) -> Any:  # fmt: skip
    """The nest with ``func`` of each leaf, and of the leaves of further nests of its structure."""
    leaves, spec = tree_flatten(tree, is_leaf)
    others = [_leaves_like(rest, spec) for rest in rests]
    return tree_unflatten([func(*row) for row in zip(leaves, *others)], spec)


def _leaves_like(tree: Any, spec: TreeSpec) -> list[Any]:
    if spec.type is None:
        return [tree]
    found = _node(tree)
    children = list(found[1].flatten(tree)[0]) if found is not None else []
    if found is None or found[0] != spec.type or len(children) != len(spec.children_specs):
        raise ValueError(f"expected a nest of {spec.type} as the first, got {type(tree)}")
    return [leaf for c, s in zip(children, spec.children_specs) for leaf in _leaves_like(c, s)]


def tree_map_(func: Callable[..., Any], tree: Any, *rests: Any, **kwargs: Any) -> Any:
    """``tree`` itself, after ``func`` was called on each leaf."""
    tree_map(func, tree, *rests, **kwargs)
    return tree


def tree_map_only(kinds: Any, func: Callable[[Any], Any], tree: Any, **kwargs: Any) -> Any:
    """As `tree_map`, for leaves of a class, or for which a function is true; others stay."""
    chosen = kinds if not isinstance(kinds, (type, tuple)) else lambda leaf: isinstance(leaf, kinds)
    return tree_map(lambda leaf: func(leaf) if chosen(leaf) else leaf, tree, **kwargs)


def tree_all(pred: Callable[[Any], bool], tree: Any, **kwargs: Any) -> bool:
    """Whether ``pred`` is true for every leaf."""
    return all(map(pred, tree_leaves(tree, **kwargs)))


def tree_any(pred: Callable[[Any], bool], tree: Any, **kwargs: Any) -> bool:
    """Whether ``pred`` is true for some leaf."""
    return any(map(pred, tree_leaves(tree, **kwargs)))


def _dict_flatten(d: dict[Any, Any]) -> tuple[list[Any], list[Any]]:
    return list(d.values()), list(d)


def _dict_unflatten(values: Iterable[Any], context: list[Any]) -> dict[Any, Any]:
    return dict(zip(context, values))


def _list_flatten(d: list[Any]) -> tuple[list[Any], None]:
    return d, None


def _list_unflatten(values: Iterable[Any], context: None) -> list[Any]:
    return list(values)


def _is_leaf(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    return _node(tree) is None or (is_leaf is not None and is_leaf(tree))


Context, PyTree, KeyPath = Any, Any, tuple
