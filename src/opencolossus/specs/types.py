"""Walking the types of specs beside the text that they describe."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from opencolossus.specs.base import Spec


def options(hint: Any) -> list[Any]:
    """The members of a union, with annotations and ``None`` stripped."""
    origin = get_origin(hint)
    if origin is Annotated:
        return options(get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return [o for member in get_args(hint) for o in options(member)]
    return [] if hint is type(None) else [hint]


def catalog_spec(hint: Any) -> type[Spec] | None:
    """The spec among ``hint``'s options that the catalog has entries of, if any."""
    for option in options(hint):
        if isinstance(option, type) and issubclass(option, Spec) and option.catalog_kind:
            return option
    return None


def below(hint: Any, step: str | int, tag: str | None = None) -> Any:
    """The type one step below ``hint``, or ``None`` where there is none."""
    for option in options(hint):
        origin, args = get_origin(option), get_args(option)
        if origin in (dict, Mapping):
            return args[1]
        if origin in (list, tuple):
            return args[0]
        if isinstance(option, type) and issubclass(option, BaseModel) and _tagged(option, tag):
            field = option.model_fields.get(str(step))
            if field is not None:
                return field.annotation
    return None


def fields(hint: Any, tag: str | None = None) -> list[str]:
    """Names of the fields that a mapping of this type may have."""
    return [
        name
        for option in options(hint)
        if isinstance(option, type) and issubclass(option, BaseModel) and _tagged(option, tag)
        for name in option.model_fields
    ]


def _tagged(option: type[BaseModel], tag: str | None) -> bool:
    """Whether a member of a union told apart by ``kind`` is the one that ``tag`` names."""
    kind = option.model_fields.get("kind")
    if tag is None or kind is None:
        return True
    return tag in get_args(kind.annotation)
