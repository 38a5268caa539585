"""The training loop of one replica group among others (see ``replicas``)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from opencolossus.data.batch import Batch as Rows
from opencolossus.specs.errors import UserError
from opencolossus.train.loop import Found, Loop
from opencolossus.train.recorder import Surroundings
from opencolossus.train.replicas import Replicas
from opencolossus.train.setup import Training
from opencolossus.train.state import State, check_model

PATIENCE = 30.0
"""Seconds after which a group that does not answer is given up."""


class ReplicaLoop(Loop):
    """Takes a training to its end together with the groups that are there at each step.

    Raises:
        UserError: the run asks for what replica groups cannot do.
    """

    def __init__(self, training: Training, around: Surroundings) -> None:
        super().__init__(training, around)
        if self.run.time_limit is not None:
            raise UserError("replica groups have no common clock: leave run.time_limit out")
        if training.layout.pipeline_parallel > 1:
            raise UserError("replica groups do not go with pipelines: give a layout with pp=1")
        self.peers = Replicas(self._state, self._take_over, training.position.step, PATIENCE)
        self._groups = 0
        training.engine.peers = self.peers

    def go(self) -> str:
        """Train until something ends it; the other groups go on without this one."""
        try:
            return super().go()
        finally:
            self.peers.close()

    def _gradients(self) -> Found | None:
        self.peers.begin()
        self._tell_groups()
        before = self.training.loader.state()
        found = super()._gradients()
        if self.peers.complete():
            return found
        self.training.engine.discard()
        self._read_from(before)
        return None

    def _rows(self) -> Rows:
        return self.peers.part(super()._rows())

    def _roll_back(self) -> None:
        # A group that came back lacks the older checkpoints, so the groups would part here.
        raise UserError(
            f"the run does not recover: step {self.training.position.step} and those before it had "
            "to be skipped; start all replica groups anew from an earlier checkpoint"
        )

    def _tell_groups(self) -> None:
        if self.peers.count != self._groups:
            step = self.training.position.step
            self.told.event("groups", step=step, groups=self.peers.count)
            self.shown.note(f"step {step}: {self.peers.count} replica groups")
            self._groups = self.peers.count

    def _state(self) -> dict[str, Any]:
        """What a group that fell behind needs; taken between two steps."""
        return {"state": self.training.state().to_json(), "tensors": self._tensors()}

    def _take_over(self, found: dict[str, Any]) -> None:
        training, saved = self.training, State.from_json(found["state"])
        check_model(saved.model, training.description.model, "another replica group")
        training.data.tokenizer.check(saved.tokenizer, "another replica group")
        mine = self._tensors()
        with torch.no_grad():
            for name, tensor in found["tensors"].items():
                mine[name].copy_(tensor)
        training.engine.publish()
        training.guard.restore(saved.guard)
        training.position = saved.position
        self._read_from(saved.loader)
        self.told.event("healed", step=saved.position.step)
        self.shown.note(f"took over step {saved.position.step} from another replica group")

    def _read_from(self, where: dict[str, Any]) -> None:
        training = self.training
        data = training.engine.groups.data
        training.loader = training.data.loader(
            self.run.batch_sequences, self.run.seed, data.index, data.size, where
        )

    def _tensors(self) -> dict[str, Tensor]:
        """This process's part of everything that a checkpoint keeps."""
        return {
            name: tensor.to_local() if isinstance(tensor, DTensor) else tensor
            for name, tensor in self.training.engine.tensors().items()
        }
