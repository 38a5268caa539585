"""The sentences that stand below the fields of a class, for the schema and for errors.

pydantic would read them while it builds the classes (``use_attribute_docstrings``). Read when
somebody asks, they cost the start of a command nothing.
"""

from __future__ import annotations

import ast
import inspect
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue


def of_fields(spec: type[BaseModel]) -> dict[str, str]:
    """What the source of a class and of its bases says of each field, by the field's name."""
    bases = [base for base in reversed(spec.__mro__) if issubclass(base, BaseModel)]
    return {name: text for base in bases[1:] for name, text in _own(base).items()}


@cache
def _own(spec: type[BaseModel]) -> dict[str, str]:
    try:
        source = inspect.getsource(spec)
    except OSError:  # installed without sources
        return {}
    (found,) = ast.parse(dedent(source)).body
    assert isinstance(found, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(found.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(text.value.value, str)
    }


class WithDocs(GenerateJsonSchema):
    """JSON schemas whose properties are described by these sentences."""

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        """The schema of a class."""
        found = super().model_schema(schema)
        texts = of_fields(schema["cls"])
        for name, field in found.get("properties", {}).items():
            if name in texts:
                field["description"] = texts[name]
        return found
