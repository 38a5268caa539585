"""Names that the shell completes, read when it asks for them."""

from __future__ import annotations

from collections.abc import Callable

import typer


def kinds(incomplete: str) -> list[str]:
    """Kinds of the catalog."""
    from opencolossus.specs import catalog

    return [kind for kind in catalog.kinds() if kind.startswith(incomplete)]


def names_of_kind(ctx: typer.Context, incomplete: str) -> list[str]:
    """Entries of the kind that stands before, if it is one."""
    kind = ctx.params.get("kind")
    return entries(kind)(incomplete) if kind in kinds("") else []


def entries(kind: str) -> Callable[[str], list[str]]:
    """What completes the name of an entry of ``kind``."""

    def complete(incomplete: str) -> list[str]:
        from opencolossus.specs import catalog

        return [name for name in catalog.names(kind) if name.startswith(incomplete)]

    return complete


def targets(incomplete: str) -> list[str]:
    """Trainers that a plan can be handed to."""
    from opencolossus.plan.launch import TARGETS

    return [name for name in TARGETS if name.startswith(incomplete)]
