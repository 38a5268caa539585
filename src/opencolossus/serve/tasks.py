"""Tasks of lm-eval on a trained run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import lm_eval
from lm_eval.tasks import TaskManager

from opencolossus.serve import devices
from opencolossus.serve.harness import Colossus
from opencolossus.specs.errors import UserError, did_you_mean


def evaluate(
    run: Path,
    tasks: Sequence[str],
    *,
    include: Path | None = None,
    shots: int | None = None,
    limit: int | None = None,
    batch: int = 16,
    device: str | None = None,
) -> dict[str, dict[str, float]]:
    """What lm-eval finds, by task and measure.

    Args:
        run: folder of a training run.
        tasks: names that lm-eval knows, or that ``include`` describes.
        include: folder with YAML files of further tasks.
        shots: examples before each question.
        limit: questions of each task.
        batch: texts that are scored together.
        device: cpu, cuda or cuda:N; a GPU where there is one if left out.

    Raises:
        UserError: a task is unknown or its data cannot be loaded, the folder holds no run, or the
            device is not there.
    """
    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    manager = TaskManager(include_path=None if include is None else str(include))
    if not tasks:
        raise UserError("--tasks names no task; give some of lm-eval, for example lambada_openai")
    known = manager.all_tasks
    for name in tasks:
        if name not in known:
            raise UserError(
                f"--tasks {name} is unknown{did_you_mean(name, known)}; give a task of lm-eval, "
                "or the folder of your own by --include"
            )
    place = devices.find(device)
    model = Colossus(str(run), batch_size=batch, device=place)
    print(devices.told(place, "fp32"), file=sys.stderr)
    try:
        found = lm_eval.simple_evaluate(
            model,
            tasks=list(tasks),
            task_manager=manager,
            num_fewshot=shots,
            limit=limit,
            bootstrap_iters=0,
        )
    except (OSError, ConnectionError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"the data of {', '.join(tasks)} cannot be loaded: {first}") from None
    return {task: _numbers(measures) for task, measures in found["results"].items()}


def _numbers(measures: dict[str, object]) -> dict[str, float]:
    return {
        name.removesuffix(",none"): float(value)
        for name, value in measures.items()
        if isinstance(value, int | float) and "stderr" not in name and name != "sample_len"
    }
