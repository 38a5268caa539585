"""One training run, from a description to a folder with a trained network."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from opencolossus.grok import fused
from opencolossus.specs.document import Description
from opencolossus.train import opening, replicas, result, setup, silent, world
from opencolossus.train.claim import claim, describe
from opencolossus.train.console import Progress, Silent
from opencolossus.train.evaluate import bits_per_byte
from opencolossus.train.hold import held
from opencolossus.train.loop import Loop
from opencolossus.train.memory import peak_memory
from opencolossus.train.opening import Listeners
from opencolossus.train.parallel import start
from opencolossus.train.predict import Prediction
from opencolossus.train.recorder import Surroundings
from opencolossus.train.replica_loop import ReplicaLoop
from opencolossus.train.result import Result
from opencolossus.train.stop import listening


def train(
    description: Description,
    folder: Path,
    shown: Progress,
    *,
    resume: bool = False,
    layout: str | None = None,
    listeners: Listeners = Listeners(),  # noqa: B008 - frozen
    patience: float = start.PATIENCE,
) -> Result:
    """Train what ``description`` says into ``folder``; go on from its newest checkpoint if asked.

    Every process of a run calls this alike. ``layout`` is what ``--layout`` takes;
    a process that does not answer for ``patience`` s is given up.

    Raises:
        UserError: anything that the person who asked can change, in one sentence.
    """
    description.run.told_data()
    with ExitStack() as stack:
        stack.enter_context(world.leaving())
        with silent.meeting():
            start.connect(patience)
        shown = shown if world.rank() == 0 else Silent()
        with silent.named(lambda: "before the first step"):
            chosen, groups = start.start(description, layout, patience, shown.note)
            hold = held(folder, world.restarted(), shown.note)
            world.first_does(lambda: stack.enter_context(hold))
            world.first_does(lambda: claim(folder, description, resume, shown))
            stack.enter_context(shown)
            data = setup.read_data(description, folder, shown)
            training = setup.build(description, folder, data, chosen, groups, shown, patience)
            world.first_does(lambda: describe(folder, description))
            stack.callback(fused.switch, "off")
            stack.callback(training.store.close)
            opening.introduce(training, resume, shown)
            prediction, peak = opening.expect(training, shown)
            told = opening.telemetry(training, listeners)
            stack.callback(told.close)
            energy = opening.energy(training, shown)
        told.event("start", **opening.beginning(training))
        # Before this there is nothing to save: a signal ends the program as usual.
        with listening() as stop, silent.named(lambda: f"after step {training.position.step}"):
            kind = ReplicaLoop if replicas.wanted() else Loop
            loop = kind(training, Surroundings(shown, told, stop, energy, peak))
            found = conclude(loop, loop.go(), prediction)
        told.event("end", **vars(found))
        if world.rank() == 0:
            found.save(folder)
        for sentence in found.sentences():
            shown.note(sentence)
    return found


def conclude(loop: Loop, reason: str, prediction: Prediction | None) -> Result:
    """Evaluate what was trained and sum up."""
    training, position = loop.training, loop.training.position
    finished = reason in ("tokens", "time limit")
    step_time = result.usual_step_time(loop.recorder.times)
    predicted_time, predicted_memory = result.expected(prediction)
    held_out = bits_per_byte(training) if finished else None
    if held_out is not None:
        loop.told.event("evaluation", step=position.step, bits_per_byte=held_out)
    joules = loop.around.energy.total or None
    tokens = len(loop.recorder.times) * loop.recorder.step_tokens
    return Result(
        reason=reason,
        finished=finished,
        step=position.step,
        tokens=position.tokens,
        elapsed=position.elapsed,
        skipped=training.guard.skipped,
        rollbacks=position.rollbacks,
        bits_per_byte=held_out,
        step_time=step_time,
        tokens_per_second=loop.recorder.step_tokens / step_time if step_time else None,
        memory=int(world.most([float(peak_memory(training.device))])[0]),
        predicted_step_time=predicted_time,
        predicted_memory=predicted_memory,
        joules=joules,
        joules_per_token=joules / tokens if joules else None,
    )
