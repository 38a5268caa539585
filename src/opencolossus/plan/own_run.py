"""One constant from one's own run: how fast this machine really is.

Every run logs the step time that the planner predicted and the one that it took. Their ratio scales
what the machine's matrix products and memory reach; nothing else is touched.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from opencolossus.specs import calibration as calibrations
from opencolossus.specs.errors import UserError
from opencolossus.specs.software import Calibration

WARM_UP = 2
"""First steps, which allocate and compile."""
FEWEST = 3
MOST = 4.0
"""Largest correction that is believed; more than that is a wrong model or a shared machine."""


def from_run(base: Calibration, run: Path, gpu: str = "CPU") -> Calibration:
    """``base`` with the reach of ``gpu``'s architecture scaled to what ``run`` took.

    Raises:
        UserError: the folder is no run, has too few steps or no prediction, or is far off.
    """
    events = _events(run / "log.jsonl")
    steps = [e["seconds"] for e in events if e.get("event") == "step" and "seconds" in e]
    predicted = [e["predicted_step_time"] for e in events if e.get("predicted_step_time")]
    if not predicted:
        raise UserError(f"{run}: its log has no predicted step time; was it planned at the start?")
    if len(steps) < WARM_UP + FEWEST:
        need = WARM_UP + FEWEST
        raise UserError(
            f"{run}: {len(steps)} steps are too few to measure; at least {need} are needed"
        )
    measured = float(np.median(steps[WARM_UP:]))
    ratio = float(predicted[-1]) / measured
    if not 1 / MOST <= ratio <= MOST:
        raise UserError(
            f"{run}: predicted {predicted[-1]:.3g} s and measured {measured:.3g} s a step differ "
            f"more than {MOST:g} times; was the machine shared?"
        )
    name, reach, known = calibrations.reach_of(base, gpu)
    if not known:
        raise UserError(f"no architecture of the calibration holds for {gpu!r}")
    scaled = reach.model_copy(
        update={
            field: min(getattr(reach, field) * ratio, 1.0)
            for field in ("matrix16", "matrix8", "matrix4", "memory")
        }
    )
    return base.model_copy(update={"gpus": {**base.gpus, name: scaled}})


def _events(log: Path) -> list[dict[str, Any]]:
    """Lines of a run's log; a torn last line is left out."""
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{log} cannot be read: {error.strerror or error}") from None
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found
