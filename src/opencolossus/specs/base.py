"""What every spec shares: frozen, nothing unknown, no number that is none."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """Base of everything that people write.

    Validators are built when a class is first used: a command needs few of them. The strings below
    fields are read by ``specs.docs``.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        defer_build=True,
        allow_inf_nan=False,
    )

    catalog_kind: ClassVar[str | None] = None
    """The catalog that a name written in place of this spec is looked up in, if any."""
