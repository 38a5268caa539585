"""Everything that a run needs before its first step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from opencolossus.data.loader import Loader
from opencolossus.data.prepare import Prepared, open_prepared, prepare
from opencolossus.data.tokenizer import Tokenizer
from opencolossus.grok import fused
from opencolossus.plan.mode import Compiling
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Layout
from opencolossus.train import world
from opencolossus.train.checkpoint import Store
from opencolossus.train.claim import TOKENIZER
from opencolossus.train.console import Progress
from opencolossus.train.engine import Engine
from opencolossus.train.guard import Guard
from opencolossus.train.parallel import start
from opencolossus.train.parallel.groups import Groups
from opencolossus.train.parallel.setting import Setting
from opencolossus.train.precision import compiles, compute_type
from opencolossus.train.state import Position, State, check_model


@dataclass
class Training:
    """A run, ready for its next step."""

    description: Description
    folder: Path
    data: Prepared
    loader: Loader
    engine: Engine
    guard: Guard
    position: Position
    store: Store
    layout: Layout
    dtype: torch.dtype
    device: torch.device
    compiled: Compiling

    @property
    def step_tokens(self) -> int:
        """Tokens of one step, over all processes."""
        run = self.description.run
        return run.batch_sequences * run.sequence

    @property
    def all_tokens(self) -> int:
        """Tokens of the whole run, its last step whole."""
        return self.description.run.steps * self.step_tokens

    @property
    def steps(self) -> int:
        """Steps of the whole run; one that goes on with another batch sees as many tokens."""
        left = max(self.all_tokens - self.position.tokens, 0)
        return self.position.step + math.ceil(left / self.step_tokens)

    def state(self) -> State:
        """What a checkpoint keeps beside the tensors."""
        return State(
            position=self.position,
            loader=self.loader.state(),
            guard=self.guard.state(),
            model=self.description.model.model_dump(mode="json"),
            tokenizer=self.data.tokenizer.fingerprint,
            dtype=str(self.dtype).removeprefix("torch."),
            compiled=self.compiled,
        )


def read_data(description: Description, folder: Path, progress: Progress) -> Prepared:
    """Tokenizer and packed rows; made by the first process, opened by the others."""
    run, where = description.run, folder / "data"

    def make() -> Prepared:
        said = set[str]()

        def tell(stage: str, share: float | None) -> None:
            if stage not in said:
                said.add(stage)
                progress.note(f"data: {stage}")

        # A run that has begun keeps its tokenizer and tokens, even if the corpus has changed since.
        begun, copy = folder / TOKENIZER, where / "tokens" / TOKENIZER
        if not begun.exists() and copy.exists() and Store.any_in(folder):
            progress.note(f"{begun} is missing; the copy {copy} is put in its place")
            Tokenizer.load(copy).save(begun)
        known = Tokenizer.load(begun) if begun.exists() else None
        made = prepare(
            run,
            description.model.vocabulary,
            where,
            tokenizer=known,
            resume=known is not None,
            progress=tell,
        )
        if known is None:
            made.tokenizer.save(begun)
        return made

    made = world.first_does(make)
    data = made if made is not None else open_prepared(run, where)
    for note in data.notes:
        progress.note(f"data: {note}")
    return data


def build(
    description: Description,
    folder: Path,
    data: Prepared,
    layout: Layout,
    groups: Groups,
    progress: Progress,
    patience: float,
) -> Training:
    """The network and all that trains it, at the newest sound checkpoint if there is one.

    Raises:
        UserError: the checkpoint belongs to another model, tokenizer or data.
    """
    model, run = description.model, description.run
    device = start.device()
    store = Store(folder, progress.note, patience)
    newest = store.newest_sound()
    if newest is None and store.steps():
        raise UserError(f"no checkpoint in {store.folder} is sound; start anew with another --out")
    saved = None if newest is None else State.from_json(store.state(newest))
    if saved is not None:
        where = str(store.path(newest or 0))
        check_model(saved.model, model, where)
        data.tokenizer.check(saved.tokenizer, where)
    dtype, compiled = _found_out(description, device, saved)
    fused.switch("on" if compiled == "functions" else "off")
    setting = Setting(
        device,
        dtype,
        layout,
        groups,
        run.seed,
        compiled=compiled == "blocks",
        float8=run.precision == "fp8",
    )
    training = Training(
        description=description,
        folder=folder,
        data=data,
        loader=data.loader(
            run.batch_sequences,
            run.seed,
            groups.data.index,
            groups.data.size,
            saved.loader if saved else None,
        ),
        engine=Engine(model, setting, run.optimiser),
        guard=Guard(),
        position=saved.position if saved else Position(),
        store=store,
        layout=layout,
        dtype=dtype,
        device=device,
        compiled=compiled,
    )
    if saved is not None and newest is not None:
        training.guard.restore(saved.guard)
        load_tensors(training, newest)
    return training


def _found_out(
    description: Description, device: torch.device, saved: State | None
) -> tuple[torch.dtype, Compiling]:
    """What to compute in and what to compile: as described, or found out when the run began."""
    model, run = description.model, description.run
    dtype = getattr(torch, saved.dtype) if saved else compute_type(run.precision, device)
    known = saved is not None and run.compile == "auto"
    compiled = saved.compiled if saved and known else compiles(run, model, device)
    return world.from_first((dtype, compiled))


def load_tensors(training: Training, step: int) -> None:
    """Weights, router biases and optimiser states of a checkpoint."""
    engine = training.engine
    training.store.read_into(step, engine.tensors())
    engine.publish()
