"""How far a run is: what a checkpoint keeps beside the tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from opencolossus.plan.mode import Compiling
from opencolossus.specs.errors import UserError
from opencolossus.specs.model import Model
from opencolossus.version import __version__


@dataclass
class Position:
    """Counters of a run."""

    step: int = 0
    """Steps done, skipped ones included."""
    tokens: int = 0
    """Tokens seen."""
    elapsed: float = 0.0
    """Seconds of training, over all restarts."""
    rollbacks: int = 0


@dataclass
class State:
    """Everything but the tensors."""

    position: Position
    loader: dict[str, Any]
    guard: dict[str, Any]
    model: dict[str, Any]
    tokenizer: str
    """Fingerprint."""
    dtype: str
    """What the network computed in: another type would not repeat the run."""
    compiled: Compiling = "none"
    """What was compiled: it rounds differently from what is not."""
    version: str = __version__

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> State:
        """The state in a checkpoint.

        Raises:
            UserError: it is not one of ours.
        """
        try:
            return cls(**{**found, "position": Position(**found["position"])})
        except (TypeError, KeyError) as error:
            raise UserError(f"the checkpoint's state.json is of another version: {error}") from None


def check_model(found: dict[str, Any], model: Model, where: str) -> None:
    """Refuse a checkpoint of another network.

    Raises:
        UserError: a field that decides the weights differs; the text names it.
    """
    mine = model.model_dump(mode="json")
    for name, value in mine.items():
        if name not in ("name", "context") and found.get(name) != value:
            raise UserError(
                f"{where} holds another model: its model.{name} is {found.get(name)}, that of the "
                f"description is {value}; set it to {found.get(name)}, or give a new --out"
            )
