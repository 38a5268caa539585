"""Names become catalog entries, and later words override earlier ones.

Three rules: a name where a catalog spec is wanted stands for its entry; ``base: name`` starts from
an entry and overrides parts of it; ``null`` takes away what a base brought.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from opencolossus.specs import types
from opencolossus.specs.base import Spec
from opencolossus.specs.errors import UserError
from opencolossus.specs.tree import Node, Origin, parse, scalar


class Lookup(Protocol):
    """Gives the resolved tree of a catalog entry, and the names that there are."""

    def __call__(self, kind: str, name: str, where: Origin, path: str) -> Node: ...


def expand(node: Node, hint: Any, lookup: Lookup, path: str = "") -> Node:
    """Replace every catalog name below ``node`` by its entry.

    Raises:
        UserError: a name that the catalog does not have.
    """
    spec = types.catalog_spec(hint)
    if spec is not None and isinstance(node.value, str):
        return _named(node, spec, node.value, lookup, path)
    if isinstance(node.value, list):
        inner = types.below(hint, 0)
        items = [expand(item, inner, lookup, f"{path}.{i}") for i, item in enumerate(node.value)]
        return replace(node, value=items)
    if not isinstance(node.value, dict):
        return node
    return _mapping(node, hint, spec, lookup, path)


def _named(node: Node, spec: type[Spec], name: str, lookup: Lookup, path: str) -> Node:
    entry = lookup(str(spec.catalog_kind), name, node.origin, path)
    return replace(entry, key=node.key, origin=node.origin, whole=True)


def _mapping(node: Node, hint: Any, spec: type[Spec] | None, lookup: Lookup, path: str) -> Node:
    tag_node = node.child("kind")
    tag = str(tag_node.value) if tag_node else None
    found = {
        key: expand(child, types.below(hint, key, tag), lookup, f"{path}.{key}" if path else key)
        for key, child in node.value.items()
        if not (spec is not None and key == "base")
    }
    over = replace(node, value=found)
    base = node.child("base") if spec is not None else None
    if spec is None or base is None:
        return over
    if not isinstance(base.value, str):
        raise UserError(f"{base.origin}: base must be the name of an entry in the catalog")
    return replace(merge(_named(base, spec, base.value, lookup, path), over), whole=True)


def merge(under: Node, over: Node) -> Node:
    """Lay ``over`` on ``under``: mappings key by key, anything else replaced."""
    if not isinstance(under.value, dict) or not isinstance(over.value, dict) or over.whole:
        return over
    if _changes_kind(under, over):
        return over
    merged = dict(under.value)
    for key, child in over.value.items():
        if child.value is None and child.fact is None:
            merged.pop(key, None)
        elif key in merged:
            merged[key] = merge(merged[key], child)
        else:
            merged[key] = child
    return replace(under, value=merged, origin=over.origin, key=over.key or under.key)


def _changes_kind(under: Node, over: Node) -> bool:
    old, new = under.child("kind"), over.child("kind")
    return old is not None and new is not None and old.value != new.value


def override(assignment: str) -> Node:
    """Turn ``site.power.grid.limit=8 MW`` into the tree that it stands for.

    Raises:
        UserError: no ``=``, or an empty part in the path.
    """
    path, equals, text = assignment.partition("=")
    steps = path.strip().split(".")
    if not equals or not all(steps):
        raise UserError(f"--set {assignment!r}: write it like --set site.power.grid.limit='8 MW'")
    origin = Origin("--set")
    node = replace(_value(text.strip(), origin), key=origin)
    for step in reversed(steps):
        node = Node({step: node}, origin, origin)
    return node


def _value(text: str, origin: Origin) -> Node:
    if text[:1] in ("[", "{"):
        return parse(text, origin.file)
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return Node(text[1:-1] if quoted else scalar(text), origin)
