"""What a client is told of a body that does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from opencolossus.serve.api.refusals import NOT_SUPPORTED


class Misfit(NamedTuple):
    """What is wrong, in which field, under which of OpenAI's codes."""

    message: str
    param: str | None = None
    code: str | None = None


def describe(errors: Sequence[Any]) -> Misfit:
    """The one of pydantic's errors that says most."""
    first = _telling(errors)
    place, kind, message = _place(first["loc"]), first["type"], _sentence(first)
    if kind == "json_invalid":
        return Misfit(f"the body is not valid JSON: {message}")
    if kind == "missing" and not place:
        return Misfit("the body is missing; send JSON with Content-Type: application/json")
    if kind == NOT_SUPPORTED:
        param = ".".join([*place, first["ctx"]["param"]])
        return Misfit(".".join([*place, message]), param, "unsupported_parameter")
    param = ".".join(place)
    return Misfit(f"{param}: {message}", param) if param else Misfit(message)


def _telling(errors: Sequence[Any]) -> Any:
    """A value that is none of several types fails for each of them."""
    known = (e for e in errors if e["loc"][:2] == errors[0]["loc"][:2])
    return next((e for e in known if not e["type"].endswith("_type")), errors[0])


def _place(loc: Sequence[int | str]) -> list[str]:
    # Names of the branches of a union stand between the names of fields; nobody sent those.
    return [
        str(part)
        for part in loc[1:]
        if isinstance(part, int) or (part.isidentifier() and part not in ("str", "int", "list"))
    ]


def _sentence(error: Any) -> str:
    if error["type"] == "json_invalid":
        return str(error.get("ctx", {}).get("error", error["msg"]))
    if error["type"] in ("model_attributes_type", "dict_type"):
        return 'Input should be a JSON object, {"name": ...}'
    return str(error["msg"]).removeprefix("Value error, ")
