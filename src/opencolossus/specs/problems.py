"""pydantic's errors as sentences that say where, what, and what would be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from opencolossus.specs import docs, types
from opencolossus.specs.errors import did_you_mean
from opencolossus.specs.tree import Loc, Node

SHOWN = 8
NAMED = 6
_COMPARE = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_WANTED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "dict_type": "a mapping (name: value)",
    "model_type": "a mapping (name: value)",
    "model_attributes_type": "a mapping (name: value)",
    "tuple_type": "a list",
    "list_type": "a list",
    "date_type": "a date like 2024-07-01",
    "date_parsing": "a date like 2024-07-01",
    "date_from_datetime_parsing": "a date like 2024-07-01",
    "date_from_datetime_inexact": "a date like 2024-07-01",
    "datetime_type": "a moment like 2025-07-15 15:00",
    "datetime_parsing": "a moment like 2025-07-15 15:00",
    "datetime_from_date_parsing": "a moment like 2025-07-15 15:00",
    "timezone_naive": "a moment of local time like 2025-07-15 15:00, without a time zone",
    "path_type": "a path",
}


Names = Callable[[str], list[str]]
"""The names of a kind of catalog entries."""


def explain(error: ValidationError, root: Node, spec: Any, names: Names) -> str:
    """All problems of a document, one line each: ``file:line:column: path: what is wrong``."""
    lines = list(dict.fromkeys(_line(detail, root, spec, names) for detail in error.errors()))
    more = len(lines) - SHOWN
    return "\n".join(lines[:SHOWN] + ([f"... and {more} more"] if more > 0 else []))


def _line(detail: ErrorDetails, root: Node, spec: Any, names: Names) -> str:
    path, node, last = _locate(detail["loc"], root)
    name = ".".join(str(step) for step in path)
    place = node.origin if detail["type"] != "extra_forbidden" else (node.key or node.origin)
    if detail["type"] == "missing":
        text = "is missing" + _purpose(spec, path, names)
    else:
        text = _sentence(detail, node, last, spec, path)
    return f"{place}: {name}: {text}" if name else f"{place}: {text}"


def _locate(loc: Loc, root: Node) -> tuple[Loc, Node, str]:
    """The path as it was written, without the tags of unions, and the nearest node."""
    node, path = root, []
    for i, step in enumerate(loc):
        child = node.child(step)
        if child is not None:
            node = child
            path.append(step)
        elif i == len(loc) - 1:
            path.append(step) if not _is_tag(node, step) else None
    return tuple(path), node, str(loc[-1]) if loc else ""


def _is_tag(node: Node, step: str | int) -> bool:
    kind = node.child("kind")
    return step == "[key]" or (kind is not None and kind.value == step)


def _sentence(detail: ErrorDetails, node: Node, last: str, spec: Any, path: Loc) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(last, spec, path, node)
    if kind in _COMPARE:
        key, words = _COMPARE[kind]
        return f"is {_shown(node)}, but must be {words} {context[key]:g}"
    if kind in _WANTED:
        return f"{_shown(node)} is not {_WANTED[kind]}"
    if kind == "literal_error":
        choices = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        guess = did_you_mean(str(detail["input"]), choices)
        return f"{_shown(node)} is not one of {', '.join(choices)}{guess}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_kind(node, context)
    if kind == "too_short":
        return f"has {context['actual_length']} entries, but needs at least {context['min_length']}"
    if kind == "too_long":
        return f"has {context['actual_length']} entries, but may have {context['max_length']}"
    message = detail["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:] if kind not in ("quantity", "value_error") else message


def _wrong_kind(node: Node, context: dict[str, Any]) -> str:
    known = ["grid", "gensets", "turbines", "solar", "battery"]
    expected = str(context.get("expected_tags", "")).replace("'", "")
    choices = expected.split(", ") if expected else known
    kind = node.child("kind")
    if kind is None:
        return f"kind is missing; it is one of {', '.join(choices)}"
    guess = did_you_mean(str(kind.value), choices)
    return f"kind {kind.value!r} is not one of {', '.join(choices)}{guess}"


def _shown(node: Node) -> str:
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return "a list"
    if node.value is None:
        return "an empty value"
    return repr(node.value) if isinstance(node.value, str) else str(node.plain())


def _unknown(last: str, spec: Any, path: Loc, node: Node) -> str:
    known = types.fields(_type_at(spec, path[:-1]))
    guess = did_you_mean(last, known)
    listed = "" if guess or not known else f"; known: {', '.join(known)}"
    return f"no such field{guess}{listed}"


def _type_at(spec: Any, path: Loc) -> Any:
    hint: Any = spec
    for step in path:
        hint = types.below(hint, step)
    return hint


def _purpose(spec: Any, path: Loc, names: Names) -> str:
    """Where the missing field could come from, or what it is for by its documentation."""
    hint = _type_at(spec, path[:-1])
    for option in types.options(hint):
        field = getattr(option, "model_fields", {}).get(str(path[-1]))
        if field is None:
            continue
        wanted = types.catalog_spec(field.annotation)
        if wanted is not None and (known := _listed(names(str(wanted.catalog_kind)))):
            return f"; the catalog has {known}"
        text = docs.of_fields(option).get(str(path[-1]))
        if text is not None:
            return f": {text.splitlines()[0]}"
    return ""


def _listed(names: list[str]) -> str:
    """The first names, as a list in a sentence."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
