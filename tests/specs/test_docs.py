"""The sentences below fields are those that pydantic reads when it builds a class."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from opencolossus.specs import docs


class Told(BaseModel):
    """A class whose fields pydantic reads."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    kind: ClassVar[str] = "told"
    """Not a field."""
    bare: int
    one: int = 1
    """In one sentence."""
    two: dict[str, float]
    """In two lines, of which the second
    is indented."""

    @property
    def both(self) -> int:
        """Not a field either."""
        return 2 * self.one


class Heir(Told):
    """Inherits some, and says of one field something else."""

    one: int = 2
    """In another."""
    last: str = ""


def _as_pydantic(spec: type[BaseModel]) -> dict[str, str | None]:
    return {name: field.description for name, field in spec.model_fields.items()}


def test_sentences_are_those_that_pydantic_reads() -> None:
    for spec in (Told, Heir):
        known = docs.of_fields(spec)
        assert {name: known.get(name) for name in spec.model_fields} == _as_pydantic(spec)


def test_a_schema_tells_them() -> None:
    quiet = type("Quiet", (Heir,), {"model_config": ConfigDict(use_attribute_docstrings=False)})
    for spec in (Heir, quiet):
        properties = spec.model_json_schema(schema_generator=docs.WithDocs)["properties"]
        assert properties["one"]["description"] == "In another."
        assert "description" not in properties["bare"]
