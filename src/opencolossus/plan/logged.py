"""A run of our own trainer on a CPU, read from its folder and priced again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from opencolossus.plan import here, mode
from opencolossus.plan.facts import Facts
from opencolossus.plan.pricing import Pricing
from opencolossus.specs import catalog, run_log
from opencolossus.specs.cluster import Cluster
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Layout
from opencolossus.specs.run_log import Event
from opencolossus.specs.software import Calibration, Software
from opencolossus.step.layouts import Layouts

WARM_UP = 5
"""First steps, which allocate and compile."""
FEWEST = 3
TOLD = ("processes", "precision", "compiled", "layout", "cpu")
"""What only a run on a CPU tells of its start, beside the facts."""


@dataclass(frozen=True)
class Logged:
    """What a run was, and its usual step."""

    folder: Path
    description: Description
    began: Event
    """Of the log: what the run decided and what the machine reached at its start."""
    seconds: float

    @property
    def processes(self) -> int:
        """Of the run, all on one machine."""
        return int(self.began["processes"])

    @property
    def cpu(self) -> str:
        """Name of the processor."""
        return str(self.began["cpu"])

    @cached_property
    def software(self) -> Software:
        """Our own trainer, in the mode that the run was in."""
        gain = Facts(**self.began["facts"]).gain
        name = mode.trainer(self.began["compiled"], self.began["precision"], gain)
        found: Software = catalog.entry("software", name)
        return found

    @cached_property
    def cluster(self) -> Cluster:
        """The machine, as it was measured when the run began."""
        found = Facts(**self.began["facts"])
        return here.several(self.processes, self.processes, found, self.cpu)

    def priced(self, calibration: Calibration) -> tuple[float, float]:
        """Seconds of a step and bytes of the fullest process, by the law."""
        told = {"precision": self.began["precision"], "document": self.began.get("document")}
        run = self.description.run.model_copy(update=told)
        layout = Layout.model_validate(self.began["layout"])
        layout = mode.whole_micro_batches(run, layout, self.processes)
        pool, model = self.cluster.pools["here"], self.description.model
        pricing = Pricing.of(model, run, self.cluster, pool, self.software, calibration)
        data = self.processes // mode.inner(layout)
        one = Layouts.of(layout, data, run.batch_sequences)
        cost, held = pricing.detail(one, pool.node.gpu.tdp, pool.gpus)
        return float(np.ravel(cost.time)[0]), float(np.ravel(held.total)[0])

    def error(self, calibration: Calibration) -> float:
        """Logarithm of the predicted over the measured step time."""
        return float(np.log(self.priced(calibration)[0] / self.seconds))


def read(folder: Path) -> Logged:
    """A run from its folder.

    Raises:
        UserError: it is none, was not on a CPU, or has too few steps.
    """
    events = run_log.events(folder)
    began = [e for e in events if e["event"] == "start"]
    if not began or not _tells_the_machine(began[-1]):
        raise UserError(
            f"{folder}: its log does not say what the machine reached; only runs on CPUs do, of "
            "this version or later"
        )
    steps = _last_start(events)
    if len(steps) < WARM_UP + FEWEST:
        need = WARM_UP + FEWEST
        raise UserError(
            f"{folder}: {len(steps)} steps are too few to measure; at least {need} are needed"
        )
    return Logged(folder, _described(folder), began[-1], float(np.median(steps[WARM_UP:])))


def _tells_the_machine(began: Event) -> bool:
    try:
        Facts(**began["facts"])
    except (KeyError, TypeError):
        return False
    return all(name in began for name in TOLD)


def _described(folder: Path) -> Description:
    path = folder / "description.json"
    try:
        return Description.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{path} is missing or damaged; give the folder of a whole run, for example runs/tiny"
        ) from None


def _last_start(events: list[Event]) -> list[float]:
    """Seconds of the steps since the run was last started."""
    steps: list[float] = []
    for event in events:
        if event["event"] == "start":
            steps = []
        if event["event"] == "step":
            steps.append(event["seconds"])
    return steps
