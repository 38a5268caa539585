"""Nested values by the path of their leaves, to say in which field two of them differ."""

from __future__ import annotations

from typing import Any


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their path."""
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, Any] = {}
    for name, part in value.items():
        found |= flat(part, f"{path}.{name}" if path else name)
    return found


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Path and both values of each leaf that differs; None where one side lacks it."""
    old, new = flat(before), flat(now)
    return [
        (path, old.get(path), new.get(path))
        for path in {**old, **new}
        if old.get(path) != new.get(path)
    ]
