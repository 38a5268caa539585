"""The law against published runs: tables in the terminal, a page in docs/ with a scatter plot."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from opencolossus.plan import accuracy, constants
from opencolossus.plan.accuracy import Summary
from opencolossus.plan.constants import Constant
from opencolossus.plan.familiar import ADAPTERS, DENSE, EXPERTS, width
from opencolossus.plan.measured import Measured
from opencolossus.plan.memory_cases import MemoryFindings
from opencolossus.plan.plan import StepParts
from opencolossus.plan.unseen import FRESH, KEPT_BACK, LATE, LOOKED_AT, Unseen
from opencolossus.specs.software import Calibration
from opencolossus.step.columns import Array

WORST = 12
GROUPS = (LOOKED_AT, KEPT_BACK, FRESH, LATE)
UNSEEN = "Rows never used in fitting"


@dataclass(frozen=True)
class Findings:
    """Everything that a report on accuracy shows."""

    measured: Measured
    calibration: Calibration
    errors: Array
    """Logarithms, with the constants as shipped."""
    left_out: Array | None
    """The same with each source left out of the fit."""
    collections_out: Array | None
    memory: MemoryFindings | None = None
    """Runs whose memory is known."""
    unseen: Unseen | None = None
    """Runs that no constant was fitted to."""


def sections(found: Findings) -> list[tuple[str, list[Summary]]]:
    """Tables of errors: overall, by source, GPU, precision, model kind."""
    measured = found.measured
    errors = found.errors if found.left_out is None else found.left_out
    overall = [accuracy.summary("as shipped (fitted to the shipped table)", found.errors)]
    if found.left_out is not None:
        overall.append(accuracy.summary("each source left out", found.left_out))
    if found.collections_out is not None:
        overall.append(accuracy.summary("each collection left out", found.collections_out))
    kind = [str(k) for k in accuracy.kinds(measured)]
    result = [
        ("All rows", overall),
        ("By source", accuracy.grouped(errors, measured.sources)),
        ("By GPU", accuracy.grouped(errors, measured.architectures)),
        ("By precision", accuracy.grouped(errors, measured.precisions)),
        ("By kind of model", accuracy.grouped(errors, kind)),
        ("By era of software", accuracy.grouped(errors, measured.eras)),
    ]
    if found.collections_out is not None:
        families = accuracy.grouped(found.collections_out, measured.families())
        result.append(("By collection, each left out", families))
    if found.unseen is not None:
        result.insert(1, (UNSEEN, unseen_rows(found.unseen)))
    return result


def unseen_rows(unseen: Unseen) -> list[Summary]:
    """Errors of rows that no constant was fitted to: by how they were kept apart, by source."""
    by_group = [accuracy.summary(g, unseen.errors[unseen.of(g)]) for g in GROUPS]
    return by_group + accuracy.grouped(unseen.errors, unseen.measured.sources)


def facts(found: Findings) -> list[str]:
    """What is said beside the tables."""
    measured, calibration = found.measured, found.calibration
    share, over = accuracy.memory_fit(measured, calibration)
    lines = [
        f"{len(measured)} rows of {len(set(measured.sources))} sources were priced; "
        f"{len(measured.unusable)} do not say enough.",
        f"Constants: {len(fitted(found))} fitted on {calibration.date} to {calibration.rows} "
        f"rows ({calibration.table}).",
        f"Memory: {share:.1%} of the rows that say what they recompute fit by the law"
        + (f"; over: {', '.join(over)}." if over else "."),
    ]
    if found.memory is not None:
        lines += _memory(found.memory)
    if found.left_out is not None:
        covered = accuracy.coverage(measured, found.left_out, measured.sources)
        lines.append(
            f"90 % intervals set by other sources cover {covered:.1%} of the rows left out."
        )
    if found.collections_out is not None:
        covered = accuracy.coverage(measured, found.collections_out, measured.families())
        lines.append(
            f"Set by other collections, they cover {covered:.1%} of a collection left out."
        )
    if found.unseen is not None:
        lines += _intervals(found.unseen, calibration.interval)
    biased = biased_sources(found)
    if biased:
        lines.append("Sources with a mean bias beyond 10 %: " + "; ".join(biased) + ".")
    return lines


def _intervals(unseen: Unseen, intervals: dict[str, float]) -> list[str]:
    """What is said of plans' intervals: how wide they are, and what they cover."""
    wide = [
        f"{np.expm1(width(intervals, DENSE, new)):.0%} and "
        f"{np.expm1(width(intervals, EXPERTS, new)):.0%} with {new}"
        for new in range(4)
    ]
    half = np.expm1(np.mean(unseen.widths(intervals)))
    covered = [unseen.covered(intervals, group) for group in GROUPS]
    rows = [int(np.sum(unseen.of(group))) for group in GROUPS]
    parts = zip(GROUPS, covered, rows, strict=True)
    shares = [f"{share:.0%} of {count} ({group})" for group, share, count in parts]
    return [
        "Plans' 90 % intervals are wider by what they lean on: a release, a kind of model, a GPU "
        "or a precision with it, a length of sequences, a choice or a size of experts that the "
        "table does not have. For dense "
        f"models and for experts: {', '.join(wide)} of these; {intervals[ADAPTERS] - 1:.0%} and "
        "more for adapters.",
        f"They cover {', '.join(shares)} of the rows that no constant was ever fitted to, with "
        f"{half:.0%} in the mean. What each new aspect adds was set on all of these rows but those "
        "kept back.",
    ]


def _memory(memory: MemoryFindings) -> list[str]:
    """What is said of runs whose memory is known."""
    errors, died = memory.errors, memory.died
    short = [key for key, share in died.items() if share <= 1]
    return [
        f"Memory of {errors.size} runs that print it: median error "
        f"{np.median(np.abs(errors)):.1%}, bias {np.mean(errors):+.1%}.",
        f"Runs that died for want of memory: {len(died) - len(short)} of {len(died)} do not fit by "
        "the law" + (f"; but {', '.join(short)}." if short else "."),
    ]


def fitted(found: Findings) -> list[Constant]:
    """The fitted constants."""
    return constants.constants(found.measured)


def biased_sources(found: Findings) -> list[str]:
    """Sources whose mean signed error exceeds 10 %."""
    errors = found.errors if found.left_out is None else found.left_out
    groups = accuracy.grouped(errors, found.measured.sources)
    return [f"{g.name[:60]} ({g.bias:+.0%}, {g.rows} rows)" for g in groups if abs(g.bias) > 0.10]


def show(console: Console, found: Findings) -> None:
    """Print the tables."""
    for title, rows in sections(found):
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        table.add_column("")
        for name in ("rows", "median", "mean", "p90", "bias"):
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(
                escape(row.name[:64]),
                str(row.rows),
                f"{row.median:.1%}",
                f"{row.mean:.1%}",
                f"{row.p90:.1%}",
                f"{row.bias:+.1%}",
            )
        console.print(table)
        console.print()
    console.print("[bold]Worst rows[/]")
    for line in worst_lines(found):
        console.print("  " + escape(line))
    console.print()
    for line in facts(found):
        console.print(escape(line))


def as_json(found: Findings) -> str:
    """Everything as JSON: tables, facts and the error of every row."""
    measured = found.measured
    data = {
        "sections": {title: [vars(row) for row in rows] for title, rows in sections(found)},
        "facts": facts(found),
        "rows": [
            {
                "id": key,
                "measured_s": float(measured.seconds[i]),
                "predicted_s": float(measured.seconds[i] * np.exp(found.errors[i])),
            }
            for i, key in enumerate(measured.keys)
        ],
        "unusable": [{"id": key, "why": why} for key, why in measured.unusable],
    }
    return json.dumps(data, indent=1)


def worst_lines(found: Findings) -> list[str]:
    """The rows that are furthest off, with what the law thinks that their step consists of."""
    measured = found.measured
    errors = found.errors if found.left_out is None else found.left_out
    cost = measured.predict(found.calibration)
    lines = []
    for index in accuracy.worst(errors, WORST):
        i = int(index)
        parts = {name: float(getattr(cost, name)[i]) for name in StepParts.model_fields}
        top = sorted(parts.items(), key=lambda item: -item[1])[:4]
        text = ", ".join(f"{name} {value / cost.time[i]:.0%}" for name, value in top)
        lines.append(
            f"{measured.keys[i]} {measured.models[i]}, {measured.layouts.gpus[i]:.0f} "
            f"{measured.architectures[i]}, {measured.precisions[i]}: {np.expm1(errors[i]):+.0%} of "
            f"{measured.seconds[i]:.3g} s ({text})"
        )
    return lines
