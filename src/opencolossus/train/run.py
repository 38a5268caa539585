"""One training run, from a description to a folder with a trained network."""

from __future__ import annotations

from pathlib import Path

import torch

from opencolossus.grok import fused
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.hardware import Precision
from opencolossus.specs.units import COUNT, DURATION, SIZE, show
from opencolossus.train import replicas, result, setup, world
from opencolossus.train.console import Progress, Silent
from opencolossus.train.evaluate import bits_per_byte
from opencolossus.train.loop import Loop
from opencolossus.train.memory import peak_memory
from opencolossus.train.parallel import start
from opencolossus.train.parallel.choose import choose
from opencolossus.train.parallel.layout import describe
from opencolossus.train.precision import gpu_flops, matmul_rate
from opencolossus.train.predict import Prediction, predict
from opencolossus.train.replica_loop import ReplicaLoop
from opencolossus.train.result import Result
from opencolossus.train.setup import Training
from opencolossus.train.stop import listening
from opencolossus.train.telemetry import Gauges, Log, NoGauges, NoLog


def train(
    description: Description,
    folder: Path,
    shown: Progress,
    *,
    resume: bool = False,
    layout: str | None = None,
    metrics_port: int | None = None,
    patience: float = start.PATIENCE,
) -> Result:
    """Train what ``description`` says into ``folder``; go on from its newest checkpoint if asked.

    Every process of a run calls this alike. ``layout`` is what ``--layout`` takes;
    a process that does not answer for ``patience`` s is given up.

    Raises:
        UserError: anything that the person who asked can change, in one sentence.
    """
    check(description)
    run = description.run
    chosen = choose(run, layout, world.expected())
    groups = start.start(chosen, description.model, run, patience)
    world.agree_on(description.model_dump_json(), "the description")
    first = world.rank() == 0
    shown = shown if first else Silent()
    world.first_does(lambda: setup.claim(folder, description, resume, shown))
    with shown:
        data = setup.read_data(description, folder, shown)
        training = setup.build(description, folder, data, chosen, groups, shown)
        introduce(training, resume, shown)
        prediction, peak = expect(training, shown)
        log = Log(folder) if first else NoLog()
        gauges = Gauges(folder, metrics_port) if first else NoGauges()
        log.write("start", step=training.position.step, dtype=str(training.dtype))
        try:
            # Before this there is nothing to save: a signal ends the program as usual.
            with listening() as stop:
                kind = ReplicaLoop if replicas.wanted() else Loop
                loop = kind(training, shown, log, gauges, stop, peak)
                reason = loop.go()
            found = conclude(loop, reason, prediction)
        finally:
            training.store.close()
            gauges.flush()
            fused.switch("off")
        log.write("end", **vars(found))
        log.close()
        if first:
            found.save(folder)
        for sentence in found.sentences():
            shown.note(sentence)
    return found


def check(description: Description) -> None:
    """Refuse what can be planned but not trained.

    Raises:
        UserError: the description names no data.
    """
    if description.run.data is None:
        raise UserError(
            "run.data is missing: give run.data.corpus (chitchat), or run.data.path (a folder of "
            ".txt, .jsonl or .parquet)"
        )


def introduce(training: Training, resume: bool, shown: Progress) -> None:
    """Say what is about to be trained, on what."""
    model, run = training.description.model, training.description.run
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
    where = f"{torch.get_num_threads()} CPU threads"
    if training.device.type == "cuda":
        where = torch.cuda.get_device_name(training.device)
    if world.size() > 1:
        where = f"{world.size()} processes ({describe(training.layout)}), each on {where}"
    shown.note(f"computing in {kind} on {where}")
    if fused.is_on():
        shown.note("the first steps compile the functions between matrix products")
    if training.position.step or resume:
        shown.note(f"resuming at step {training.position.step} of {run.steps}")


def expect(training: Training, shown: Progress) -> tuple[Prediction | None, float | None]:
    """What the planner expects here, and the FLOP/s that MFU is measured against.

    On a CPU that is its best matrix product, measured now; on a GPU the catalog's figure.
    """
    on_cpu = training.device.type == "cpu"
    peak = matmul_rate(training.dtype) if on_cpu else gpu_flops(training.device, training.dtype)
    if world.size() > 1:
        return None, peak
    precision: Precision = "bf16" if training.dtype == torch.bfloat16 else "fp32"
    found = predict(training.description, precision, peak if on_cpu else None)
    if isinstance(found, str):
        shown.note(f"no prediction: {found}")
        return None, peak
    shown.note(
        f"predicted: {show(found.step_time, DURATION, 3)} per step, "
        f"{show(found.memory, SIZE, 3)} (assumed: {'; '.join(found.assumptions) or 'nothing'})"
    )
    return found, peak


def conclude(loop: Loop, reason: str, prediction: Prediction | None) -> Result:
    """Evaluate what was trained and sum up."""
    training, position = loop.training, loop.training.position
    finished = reason in ("tokens", "time limit")
    step_time = result.usual_step_time(loop.times)
    predicted_time, predicted_memory = result.expected(prediction)
    memory = peak_memory(training.device)
    return Result(
        reason=reason,
        finished=finished,
        step=position.step,
        tokens=position.tokens,
        elapsed=position.elapsed,
        skipped=training.guard.skipped,
        rollbacks=position.rollbacks,
        bits_per_byte=bits_per_byte(training) if finished else None,
        step_time=step_time,
        tokens_per_second=loop.step_tokens / step_time if step_time else None,
        memory=memory,
        predicted_step_time=predicted_time,
        predicted_memory=predicted_memory,
    )
