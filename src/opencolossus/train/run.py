"""One training run, from a description to a folder with a trained network."""

from __future__ import annotations

from pathlib import Path

import torch

from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.units import COUNT, show
from opencolossus.train import result, setup
from opencolossus.train.console import Progress
from opencolossus.train.evaluate import bits_per_byte
from opencolossus.train.loop import Loop
from opencolossus.train.memory import peak_memory
from opencolossus.train.precision import matmul_rate
from opencolossus.train.predict import Prediction, predict
from opencolossus.train.result import Result
from opencolossus.train.setup import Training
from opencolossus.train.stop import listening
from opencolossus.train.telemetry import Gauges, Log


def train(
    description: Description,
    folder: Path,
    shown: Progress,
    *,
    resume: bool = False,
    metrics_port: int | None = None,
) -> Result:
    """Train what ``description`` says into ``folder``; go on from its newest checkpoint if asked.

    Raises:
        UserError: anything that the person who asked can change, in one sentence.
    """
    check(description)
    setup.claim(folder, description, resume, shown)
    with listening() as stop, shown:
        data = setup.read_data(description, folder, shown)
        training = setup.build(description, folder, data, shown)
        introduce(training, resume, shown)
        prediction = predict(description)
        log, gauges = Log(folder), Gauges(folder, metrics_port)
        log.write("start", step=training.position.step, dtype=str(training.dtype))
        loop = Loop(training, shown, log, gauges, stop, peak_flops(training, prediction))
        try:
            reason = loop.go()
            found = conclude(loop, reason, prediction)
        finally:
            training.store.close()
            gauges.flush()
        log.write("end", **vars(found))
        log.close()
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
    shown.note(f"computing in {kind} on {where}")
    if resume:
        shown.note(f"resuming at step {training.position.step} of {run.steps}")


def peak_flops(training: Training, prediction: Prediction | None) -> float | None:
    """What MFU is measured against: the device's peak, or on a CPU its best matrix product."""
    if training.device.type == "cpu":
        return matmul_rate(training.dtype)
    return prediction.peak_flops if prediction else None


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
