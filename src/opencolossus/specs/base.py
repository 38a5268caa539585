"""What every spec shares: frozen, nothing unknown, doc-strings of fields as schema descriptions."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """Base of everything that people write."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    catalog_kind: ClassVar[str | None] = None
    """The catalog that a name written in place of this spec is looked up in, if any."""
