"""The training loop of one replica group among others (see ``replicas``)."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from opencolossus.specs.errors import UserError
from opencolossus.train import batches, optimiser
from opencolossus.train.console import Progress
from opencolossus.train.loop import Loop
from opencolossus.train.replicas import Replicas
from opencolossus.train.schedule import factor
from opencolossus.train.setup import Training
from opencolossus.train.state import State, check_model
from opencolossus.train.stop import Stop
from opencolossus.train.telemetry import NoGauges, NoLog

PATIENCE = 30.0
"""Seconds after which a group that does not answer is given up."""


class ReplicaLoop(Loop):
    """Takes a training to its end together with the groups that are there at each step.

    Raises:
        UserError: the run asks for what replica groups cannot do.
    """

    def __init__(
        self,
        training: Training,
        shown: Progress,
        log: NoLog,
        gauges: NoGauges,
        stop: Stop,
        peak_flops: float | None,
    ) -> None:
        super().__init__(training, shown, log, gauges, stop, peak_flops)
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

    def _step(self) -> None:
        training, began = self.training, time.perf_counter()
        self.peers.begin()
        self._tell_groups()
        before = training.loader.state()
        rows = self.peers.part(training.loader.next_batch())
        micro = batches.micro_rows(training.layout.micro_batch, len(rows))
        parts = batches.split(batches.to_device(rows, training.device), micro)
        sums = training.engine.gradients(parts)
        load = self._expert_load()
        if not self.peers.complete():
            training.engine.discard()
            self._read_from(before)
            return
        fault = training.guard.fault(sums.loss, sums.norm)
        rate = factor(self.run.schedule, self._share())
        if fault is None:
            training.engine.move(rate)
        else:
            training.engine.discard()
        training.position.step += 1
        training.position.tokens += self.step_tokens
        self._record(sums, rate, load, time.perf_counter() - began)
        if fault is not None:
            self._say_skipped(fault)

    def _roll_back(self) -> None:
        # A group that came back lacks the older checkpoints, so the groups would part here.
        raise UserError(
            f"the run does not recover: step {self.training.position.step} and those before it had "
            "to be skipped; start all replica groups anew from an earlier checkpoint"
        )

    def _tell_groups(self) -> None:
        if self.peers.count != self._groups:
            step = self.training.position.step
            self.log.write("groups", step=step, groups=self.peers.count)
            self.shown.note(f"step {step}: {self.peers.count} replica groups")
            self._groups = self.peers.count

    def _state(self) -> dict[str, Any]:
        """What a group that fell behind needs; taken between two steps."""
        return {"state": self.training.state().to_json(), "tensors": self._tensors()}

    def _take_over(self, found: dict[str, Any]) -> None:
        training, saved = self.training, State.from_json(found["state"])
        check_model(saved.model, training.description.model, "another replica group")
        training.data.tokenizer.check(saved.tokenizer, "another replica group")
        if set(found["tensors"]) > set(self._tensors()):  # optimisers that never took a step
            optimiser.prime(training.engine.optimisers)
        mine = self._tensors()
        with torch.no_grad():
            for name, tensor in found["tensors"].items():
                mine[name].copy_(tensor)
        training.engine.masters.publish()
        training.guard.restore(saved.guard)
        training.position = saved.position
        self._read_from(saved.loader)
        self.log.write("healed", step=saved.position.step)
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
