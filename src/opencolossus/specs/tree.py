"""YAML text as a tree whose every node knows the line and column that it was written on.

Scalars are read by the core schema of YAML 1.2, so that ``3e-4`` is a number and ``no`` is text.
A mapping with ``value`` and ``evidence`` is a fact: it stands for its value and keeps its source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from opencolossus.specs.errors import UserError, did_you_mean
from opencolossus.specs.evidence import Evidence, Fact, Source

Loc = tuple[str | int, ...]
_INT = re.compile(r"[-+]?\d+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\d+\.\d*|\.?\d+)([eE][-+]?\d+)?")
_CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_CONSTANTS |= {"true": True, "True": True, "false": False, "False": False}  # type: ignore[dict-item]
_FACT_KEYS = {"value", "evidence", "source", "note"}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Leaves out the tags of YAML 1.1, which nobody asks for: ``scalar`` reads what is written."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        return ""


@dataclass(frozen=True)
class Origin:
    """Where something was written."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True)
class Node:
    """A scalar, a mapping or a list, and where it stands."""

    value: Any
    """A scalar, ``dict[str, Node]`` or ``list[Node]``."""
    origin: Origin
    key: Origin | None = None
    """Where the key of this value stands, if it has one."""
    fact: Fact | None = None
    whole: bool = False
    """Named in the catalog: replaces what it is laid over instead of being merged into it."""

    def plain(self) -> Any:
        """The values alone."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, step: str | int) -> Node | None:
        """The node one step below, if there is one."""
        if isinstance(self.value, dict):
            found = self.value.get(step)
            return found if isinstance(found, Node) else None
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            item = self.value[step]
            return item if isinstance(item, Node) else None
        return None

    def facts(self, path: str = "") -> Iterator[tuple[str, Fact]]:
        """Every fact below this node with its dotted path."""
        if self.fact is not None:
            yield path, self.fact
        children = self.value.items() if isinstance(self.value, dict) else ()
        if isinstance(self.value, list):
            children = enumerate(self.value)  # type: ignore[assignment]
        for step, child in children:
            yield from child.facts(f"{path}.{step}" if path else str(step))


def read(path: Path) -> str:
    """Read a text file.

    Raises:
        UserError: it is missing, a folder, unreadable or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise UserError(f"{path}: no such file{did_you_mean(path.name, near)}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text: byte {error.start} is not UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None


@dataclass(frozen=True)
class Part:
    """A part of a YAML document that becomes a tree when it is asked for."""

    node: yaml.Node
    file: str
    key: Origin | None = None

    def parts(self) -> dict[str, Part]:
        """The values of a mapping by their keys.

        Raises:
            UserError: a key stands there twice.
        """
        found: dict[str, Part] = {}
        for key_node, value in self.node.value:
            key, where = str(key_node.value), _origin(key_node, self.file)
            if key in found:
                raise UserError(f"{where}: {key!r} stands here a second time; keep one of them")
            found[key] = Part(value, self.file, where)
        return found

    def read(self, sources: Mapping[str, Source] | None = None) -> Node:
        """The tree, with the facts whose sources are among ``sources``.

        Raises:
            UserError: a fact is none, a key stands somewhere twice.
        """
        origin = _origin(self.node, self.file)
        if isinstance(self.node, yaml.ScalarNode):
            text = self.node.value
            return Node(text if self.node.style else scalar(text), origin, self.key)
        if isinstance(self.node, yaml.SequenceNode):
            items = [Part(item, self.file).read(sources) for item in self.node.value]
            return Node(items, origin, self.key)
        found = {key: part.read(sources) for key, part in self.parts().items()}
        if "value" in found and "evidence" in found:
            return _fact(found, self.key, sources or {})
        return Node(found, origin, self.key)


def parse(text: str, file: str) -> Node:
    """Parse one YAML document.

    Raises:
        UserError: the text is not YAML, with the place and the reason.
    """
    try:
        return _composed(text, file).read()
    except RecursionError:
        raise UserError(f"{file}: an alias (*) stands inside of what it names (&)") from None


def parts(text: str, file: str) -> dict[str, Part]:
    """The parts of one YAML document that is a mapping, by their keys.

    Raises:
        UserError: the text is not YAML, or a key stands there twice.
    """
    return _composed(text, file).parts()


def _composed(text: str, file: str) -> Part:
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise UserError(_syntax(error, file, text)) from None
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not YAML: {error}") from None
    if node is None:
        raise UserError(f"{file} is empty; a description needs at least name, model and run")
    return Part(node, file)


def _syntax(error: yaml.MarkedYAMLError, file: str, text: str) -> str:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return f"{file}: not YAML: {error}"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    place = f"{file}:{mark.line + 1}:{mark.column + 1}"
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"{place}: the line starts with a tab; YAML is indented with spaces"
    if error.problem == "but found another document":
        return f"{place}: a second document starts here; keep one description in a file"
    return f"{place}: not YAML: {error.problem}"


def _origin(node: yaml.Node, file: str) -> Origin:
    return Origin(file, node.start_mark.line + 1, node.start_mark.column + 1)


def _fact(found: dict[str, Node], key: Origin | None, sources: Mapping[str, Source]) -> Node:
    for name, node in found.items():
        if name not in _FACT_KEYS:
            raise UserError(
                f"{node.key}: unknown key {name!r} of a fact{did_you_mean(name, _FACT_KEYS)}"
            )
    grade, named = found["evidence"].value, found.get("source")
    if grade not in list(Evidence):
        known = ", ".join(Evidence)
        raise UserError(f"{found['evidence'].origin}: evidence {grade!r} is not one of {known}")
    source = None
    if named is not None:
        source = sources.get(str(named.value), Source(str(named.value), str(named.value)))
    note = str(found["note"].value) if "note" in found else ""
    fact = Fact(found["value"].value, Evidence(grade), source, note)
    return replace(found["value"], key=key, fact=fact)


def scalar(text: str) -> str | int | float | bool | None:
    """A plain scalar by the core schema of YAML 1.2."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
