"""From a file to a description, and to the sources of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from opencolossus.specs import catalog, public_config, resolve, tree
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.evidence import Fact
from opencolossus.specs.model import Model
from opencolossus.specs.problems import explain


@dataclass(frozen=True)
class Loaded:
    """A description, and what is known about where its numbers come from."""

    description: Description
    facts: dict[str, Fact]
    """By dotted path of the field, for the numbers that came with their evidence."""

    def assumed(self) -> dict[str, Fact]:
        """The facts that nobody published."""
        return catalog.assumed(self.facts)


def load(path: str | Path, sets: Sequence[str] = ()) -> Loaded:
    """Read a description from a YAML file; ``sets`` are overrides like ``site.water_price=$1/m3``.

    Raises:
        UserError: the file or one of its fields is wrong; the text names place, field and value.
    """
    file = Path(path)
    return loads(tree.read(file), str(path), sets, folder=file.parent)


def loads(
    text: str, file: str = "description", sets: Sequence[str] = (), folder: Path | None = None
) -> Loaded:
    """Read a description from YAML text.

    A relative path in the text (``run.data.path``, a model's ``config.json``) starts from
    ``folder``; one in ``sets`` from where the program was started.

    Raises:
        UserError: one of its fields is wrong.
    """
    node = tree.parse(text, file)
    if not isinstance(node.value, dict):
        raise UserError(f"{node.origin}: a description is a mapping with name, model and run")
    node = resolve.expand(node, Description, _lookup(folder or Path()))
    for assignment in sets:
        over = resolve.override(assignment)
        node = resolve.merge(node, resolve.expand(over, Description, _lookup(Path())))
    return _validate(node, folder)


def _lookup(folder: Path) -> resolve.Lookup:
    """The catalog, and beside it ``config.json`` files of models, relative to ``folder``."""

    def find(kind: str, name: str, where: tree.Origin, path: str) -> tree.Node:
        if kind == Model.catalog_kind and name.endswith(".json"):
            return public_config.node(folder / name, where, path)
        return catalog.node(kind, name, where, path)

    return find


def _validate(node: tree.Node, folder: Path | None) -> Loaded:
    try:
        description = Description.model_validate(node.plain(), context={"units_required": True})
    except ValidationError as error:
        raise UserError(explain(error, node, Description, catalog.names)) from None
    if folder is not None and not _was_set(node, "run", "data", "path"):
        description = _anchored(description, folder)
    return Loaded(description, dict(node.facts()))


def _was_set(node: tree.Node, *path: str) -> bool:
    """Whether the field at ``path`` came from ``--set``, where paths are those of the shell."""
    found: tree.Node | None = node
    for step in path:
        found = found.child(step) if found else None
    return found is not None and found.origin.file == "--set"


def _anchored(description: Description, folder: Path) -> Description:
    """Paths that a file names are relative to that file."""
    data = description.run.data
    if data is None or data.path is None:
        return description
    data = data.model_copy(update={"path": folder / data.path})
    run = description.run.model_copy(update={"data": data})
    return description.model_copy(update={"run": run})
