"""What a run says and sets up before its first step."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from opencolossus.plan.facts import cpu_name
from opencolossus.specs.hardware import is_cpu
from opencolossus.specs.units import COUNT, DURATION, SIZE, show
from opencolossus.train import probe, world
from opencolossus.train.board import Board
from opencolossus.train.console import Progress
from opencolossus.train.energy import Energy, meter
from opencolossus.train.gauges import Gauges
from opencolossus.train.log import Log
from opencolossus.train.machine import measure
from opencolossus.train.parallel.layout import describe
from opencolossus.train.precision import gpu_flops, planned
from opencolossus.train.predict import Prediction, predict
from opencolossus.train.setup import Training
from opencolossus.train.telemetry import Sink, Telemetry


@dataclass(frozen=True)
class Listeners:
    """Where a run's figures go beside its log and ``metrics.prom``."""

    metrics_port: int | None = None
    tensorboard: bool = False


def telemetry(training: Training, asked: Listeners) -> Telemetry:
    """Everything that listens to the first process; nothing listens to the others.

    Raises:
        UserError: one of them cannot be had, told at every process.
    """

    def make() -> Telemetry:
        folder = training.folder
        sinks: list[Sink] = [Log(folder), Gauges(folder, asked.metrics_port)]
        if asked.tensorboard:
            sinks.append(Board(folder, training.position.step))
        return Telemetry(sinks)

    return world.first_does(make) or Telemetry()


def energy(training: Training, shown: Progress) -> Energy:
    """What counts the energy of the GPUs, where there are any; says why if they cannot be read."""
    found = meter(training.device)
    if isinstance(found, str):
        shown.note(found)
        found = None
    return Energy(found, training.engine.groups.world, training.device)


def introduce(training: Training, resume: bool, shown: Progress) -> None:
    """Say what is about to be trained, on what."""
    model = training.description.model
    kind = str(training.dtype).removeprefix("torch.")
    shown.note(
        f"model: {model.name}, {show(model.parameters, COUNT, 3)} parameters, "
        f"{show(model.active_parameters, COUNT, 3)} active per token"
    )
    manifest = training.data.shards.manifest
    shown.note(
        f"data: {manifest.corpus}, {show(manifest.tokens, COUNT, 3)} tokens of "
        f"{manifest.bytes_per_token:.2f} bytes in {manifest.documents:,} documents"
    )
    threads = torch.get_num_threads()
    where = f"{threads} CPU thread{'s' if threads > 1 else ''}"
    if training.device.type == "cuda":
        where = torch.cuda.get_device_name(training.device)
    if world.size() > 1:
        where = f"{world.size()} processes ({describe(training.layout)}), each on {where}"
    shown.note(f"computing in {kind} on {where}")
    if training.compiled != "none":
        what = {"functions": "the functions between matrix products", "blocks": "each block"}
        shown.note(f"the first steps compile {what[training.compiled]}")
    if training.position.step or resume:
        shown.note(f"resuming at step {training.position.step} of {training.steps}")


def beginning(training: Training) -> dict[str, Any]:
    """What the log tells of the start: enough to price the run again (`plan.own_run`)."""
    found = {"step": training.position.step, "dtype": str(training.dtype)}
    if training.device.type != "cpu":
        return found
    run = training.description.run
    return found | {
        "document": training.loader.rows.packing.document,
        "processes": world.size(),
        "precision": planned(run, training.dtype),
        "compiled": training.compiled,
        "layout": training.layout.model_dump(),
        "cpu": cpu_name(),
        "facts": asdict(probe.found()),
    }


def expect(training: Training, shown: Progress) -> tuple[Prediction | None, float | None]:
    """What the planner expects here, and the FLOP/s that MFU is measured against.

    On a CPU that is its best matrix product, measured now; on a GPU the catalog's figure.
    """
    precision = planned(training.description.run, training.dtype)
    machine = measure(training.device)
    gpu = next(iter(machine.pools.values())).node.gpu
    on_cpu = training.device.type == "cpu"
    peak = gpu.flops[precision] if on_cpu else gpu_flops(training.device, training.dtype)
    if not on_cpu and is_cpu(gpu.name):
        name = torch.cuda.get_device_name(training.device)
        shown.note(f"no prediction: the catalog does not know the GPU {name}")
        return None, peak
    run = training.description.run.model_copy(
        update={"document": training.loader.rows.packing.document}
    )
    counted = training.description.model_copy(update={"run": run})
    found = predict(counted, precision, training.compiled, machine, training.layout)
    if isinstance(found, str):
        shown.note(f"no prediction: {found}")
        return None, peak
    low, high = (show(t, DURATION, 3) for t in (found.interval.low, found.interval.high))
    shown.note(
        f"predicted: {show(found.step_time, DURATION, 3)} per step ({low} to {high}), "
        f"{show(found.memory, SIZE, 3)} (assumed: {'; '.join(found.assumptions) or 'nothing'})"
    )
    return found, peak
