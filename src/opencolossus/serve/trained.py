"""A run folder as what can be talked to: its model, its tokenizer, its newest sound weights."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from opencolossus.data.tokenizer import Tokenizer
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.model import Model
from opencolossus.specs.units import COUNT, show

if TYPE_CHECKING:
    from torch import Tensor

    from opencolossus.grok.model import Grok
    from opencolossus.serve.engine import Engine

DESCRIPTION = "description.json"
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Trained:
    """A run that has been trained, weights not loaded yet."""

    folder: Path
    model: Model
    tokenizer: Tokenizer

    @property
    def name(self) -> str:
        """What the API calls the model."""
        return self.folder.resolve().name

    @property
    def created(self) -> float:
        """When the run began, in seconds since 1970 (UTC)."""
        return (self.folder / DESCRIPTION).stat().st_mtime

    @property
    def title(self) -> str:
        """What people are shown."""
        return f"{self.model.name} ({show(self.model.parameters, COUNT, 3)} parameters)"

    def engine(
        self, slots: int = 32, queue: int = 256, device: str = "cpu", dtype: str | None = None
    ) -> Engine:
        """Load the newest sound checkpoint into an engine, weights in ``dtype``: fp32 or bf16.

        Raises:
            UserError: the run has no checkpoint that can be trusted.
        """
        import torch

        from opencolossus.serve.conversation import token_table
        from opencolossus.serve.engine import Engine

        chosen = dtype or usual_dtype(device)
        return Engine(
            self.network(),
            token_table(self.tokenizer),
            slots=slots,
            queue=queue,
            dtype=torch.bfloat16 if chosen == "bf16" else torch.float32,
            device=device,
        )

    def network(self) -> Grok:
        """The network with the weights of the newest sound checkpoint, in fp32.

        Raises:
            UserError: the run has no checkpoint that can be trusted.
        """
        from opencolossus.grok.model import Grok
        from opencolossus.train.checkpoint import Store, read_weights
        from opencolossus.train.state import State, check_model

        store = Store(self.folder, warn=lambda text: print(f"colossus: {text}", file=sys.stderr))
        step = store.newest_sound()
        if step is None:
            raise UserError(
                f"{self.folder} has no sound checkpoint; train it first, or finish its training "
                "with colossus train --resume"
            )
        checkpoint = store.path(step)
        state = State.from_json(store.state(step))
        check_model(state.model, self.model, str(checkpoint))
        self.tokenizer.check(state.tokenizer, str(checkpoint))
        model = Grok(self.model)
        _fill(model, read_weights(checkpoint), checkpoint)
        return model


def usual_dtype(device: str) -> Literal["fp32", "bf16"]:
    """What weights are kept in: bf16 on a GPU and where the processor has it."""
    import torch

    able = torch.cpu.get_capabilities()
    named = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
    return "bf16" if device.startswith("cuda") or any(able.get(name) for name in named) else "fp32"


def open_run(folder: Path) -> Trained:
    """Read what a run folder says about its model.

    Raises:
        UserError: it is no run folder, or has no checkpoint.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder; give the folder of a run, for example runs/tiny"
        )
    description = folder / DESCRIPTION
    if not description.is_file():
        raise UserError(
            f"{folder} is not the folder of a training run: it has no {DESCRIPTION}; "
            "colossus train makes one"
        )
    if not any((folder / "checkpoints").glob("step-*")):
        raise UserError(f"{folder} has no checkpoint yet; colossus train writes one")
    try:
        found = Description.model_validate_json(description.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{description} is damaged: {place or 'it'}: {first['msg']}") from None
    return Trained(folder, found.model, Tokenizer.load(folder / TOKENIZER))


def _fill(model: Grok, weights: dict[str, Tensor], checkpoint: Path) -> None:
    missing = model.load_state_dict(weights, strict=False)
    tied = {"head.weight"} if model.config.tied_embeddings else set()
    lacking = sorted(set(missing.missing_keys) - tied)
    if lacking or missing.unexpected_keys:
        raise UserError(
            f"{checkpoint} does not fit the model that the run describes: "
            f"{[*lacking, *missing.unexpected_keys][0]} is on one side only"
        )
