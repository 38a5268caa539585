"""Plan, simulate, train and serve large language models where GPUs are short of something.

``from opencolossus import load, search, simulate``: what each brings is imported when it is asked
for, so that importing the package costs nothing. docs/python.md shows them at work.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from opencolossus.version import __version__

if TYPE_CHECKING:
    from opencolossus.plan.plan import Plan
    from opencolossus.plan.search import search
    from opencolossus.specs.document import Description
    from opencolossus.specs.errors import UserError
    from opencolossus.specs.load import load
    from opencolossus.twin.record import Record
    from opencolossus.twin.simulate import simulate

__all__ = [
    "Description",
    "Plan",
    "Record",
    "UserError",
    "__version__",
    "load",
    "search",
    "simulate",
]

_HOMES = {
    "Description": "specs.document",
    "Plan": "plan.plan",
    "Record": "twin.record",
    "UserError": "specs.errors",
    "load": "specs.load",
    "search": "plan.search",
    "simulate": "twin.simulate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
