"""The catalog: parts, models, places and machines by name, each fact with its source.

Data stands in ``catalog/<kind>.yaml``: a table of ``sources`` and a table of ``entries``.
"""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import ValidationError

from opencolossus.specs import resolve, tree
from opencolossus.specs.base import Spec
from opencolossus.specs.cluster import Cluster
from opencolossus.specs.errors import UserError, did_you_mean
from opencolossus.specs.evidence import Evidence, Fact, Source
from opencolossus.specs.failures import Failures
from opencolossus.specs.hardware import Fabric, Gpu, Node, Rack, Switch
from opencolossus.specs.model import Model
from opencolossus.specs.problems import explain
from opencolossus.specs.run import Run
from opencolossus.specs.site import Climate, Cooling, Site
from opencolossus.specs.software import Software
from opencolossus.specs.tree import Origin

KINDS: dict[str, type[Spec]] = {
    str(spec.catalog_kind): spec
    for spec in (
        Gpu,
        Node,
        Rack,
        Switch,
        Fabric,
        Failures,
        Cluster,
        Model,
        Run,
        Climate,
        Cooling,
        Site,
        Software,
    )
}


def kinds() -> list[str]:
    """The kinds that have entries."""
    return [kind for kind in KINDS if names(kind)]


def names(kind: str) -> list[str]:
    """Names of all entries of a kind, in the order of the file.

    Raises:
        UserError: there is no such kind.
    """
    if kind not in KINDS:
        known = [each for each in KINDS if _entries(each)]
        homes = [each for each in known if kind in _entries(each)]
        guess = did_you_mean(kind, known)
        if homes:
            guess = f"; did you mean 'colossus catalog {homes[0]} {kind}'?"
        raise UserError(f"no kind {kind!r} in the catalog{guess}; kinds: {', '.join(known)}")
    return list(_entries(kind))


def entry(kind: str, name: str) -> Any:
    """The spec of an entry, an instance of ``KINDS[kind]``.

    Raises:
        UserError: there is no such kind or entry.
    """
    return _spec(kind, name)


def facts(kind: str, name: str) -> dict[str, Fact]:
    """Every fact of an entry, parts that it names included, by dotted path.

    Raises:
        UserError: there is no such kind or entry.
    """
    return dict(node(kind, name).facts())


def node(kind: str, name: str, where: Origin | None = None, path: str = "") -> tree.Node:
    """The resolved tree of an entry; ``where`` and ``path`` say who asked, for the error.

    Raises:
        UserError: there is no such kind or entry.
    """
    if name not in names(kind):
        asked = f"{where}: {path}: " if where else ""
        guess = did_you_mean(name, names(kind)) or f"; there are {', '.join(names(kind))}"
        raise UserError(f"{asked}no {name!r} among the {kind} of the catalog{guess}")
    return _node(kind, name)


@cache
def _node(kind: str, name: str) -> tree.Node:
    return resolve.expand(_entries(kind)[name].read(_sources(kind)), KINDS[kind], node)


@cache
def _spec(kind: str, name: str) -> Spec:
    found = node(kind, name)
    try:
        return KINDS[kind].model_validate(found.plain(), context={"units_required": True})
    except ValidationError as error:
        raise UserError(explain(error, found, KINDS[kind], names)) from None


@cache
def _tables(kind: str) -> dict[str, tree.Part]:
    data = files("opencolossus.specs") / "catalog" / f"{kind}.yaml"
    if not data.is_file():
        return {}
    return tree.parts(data.read_text(encoding="utf-8"), f"catalog/{kind}.yaml")


@cache
def _entries(kind: str) -> dict[str, tree.Part]:
    table = _tables(kind).get("entries")
    return table.parts() if table else {}


@cache
def _sources(kind: str) -> dict[str, Source]:
    table = _tables(kind).get("sources")
    found = table.read().value if table else {}
    return {key: _source(key, child) for key, child in found.items()}


def _source(key: str, child: tree.Node) -> Source:
    known = {field.name for field in dataclass_fields(Source)}
    texts = {name: str(value) for name, value in child.plain().items() if name in known}
    return Source(**{"title": key, **texts, "key": key})


def sources(kind: str) -> set[str]:
    """Keys of the sources that a kind's file declares."""
    return set(_sources(kind))


def assumed(known: dict[str, Fact]) -> dict[str, Fact]:
    """The facts that nobody published."""
    return {path: fact for path, fact in known.items() if fact.evidence is Evidence.ASSUMED}
