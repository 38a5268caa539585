"""The law against published runs: tables in the terminal, a page in docs/ with a scatter plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from opencolossus.plan import accuracy
from opencolossus.plan.accuracy import Summary
from opencolossus.plan.measured import Measured
from opencolossus.plan.plan import StepParts
from opencolossus.specs.software import Calibration
from opencolossus.step.columns import Array

WORST = 12
COLOURS = ("#1f6feb", "#d1570c", "#2da44e", "#8250df", "#bf3989", "#57606a", "#9a6700", "#0a7ea4")


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
    return result


def facts(found: Findings) -> list[str]:
    """What is said beside the tables."""
    measured, calibration = found.measured, found.calibration
    share, over = accuracy.memory_fit(measured, calibration)
    lines = [
        f"{len(measured)} rows of {len(set(measured.sources))} sources were priced; "
        f"{len(measured.unusable)} do not say enough.",
        f"Constants: {len(constants(found))} fitted on {calibration.date} to {calibration.rows} "
        f"rows ({calibration.table}).",
        f"Memory: {share:.1%} of the rows that say what they recompute fit by the law"
        + (f"; over: {', '.join(over)}." if over else "."),
    ]
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
    biased = biased_sources(found)
    if biased:
        lines.append("Sources with a mean bias beyond 10 %: " + "; ".join(biased) + ".")
    return lines


def constants(found: Findings) -> list[str]:
    """Names of the fitted constants."""
    from opencolossus.plan import calibrate

    return [".".join(c.path) for c in calibrate.constants(found.measured)]


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


def markdown(found: Findings, plot: str) -> str:
    """The page ``docs/accuracy.md``; ``plot`` is the file name of the scatter plot."""
    lines = [
        "# Accuracy",
        "",
        "Generated by `colossus validate`; do not edit. Errors are predicted over measured step",
        "time, less one. *Left out* means that all constants were fitted again without the source",
        "(one document) or the collection (all documents of one origin) and then predicted it;",
        "refits start from the constants with all rows and take eight iterations. The form of the",
        "law and the facts about software were written with all these rows in view, so that no",
        "number here stands for runs that nobody had seen; tables of such runs can be priced with",
        "`colossus validate --table`.",
        "",
        f"![predicted against measured]({plot})",
        "",
        *[f"- {line}" for line in facts(found)],
        "",
    ]
    for title, rows in sections(found):
        lines += [
            f"## {title}",
            "",
            "| | rows | median | mean | p90 | bias |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        lines += [
            f"| {row.name.replace('|', '/')} | {row.rows} | {row.median:.1%} | {row.mean:.1%} "
            f"| {row.p90:.1%} | {row.bias:+.1%} |"
            for row in rows
        ]
        lines.append("")
    lines += ["## Worst rows", "", *[f"- {line}" for line in worst_lines(found)], ""]
    lines += ["## Rows that cannot be priced", "", *_unusable(found.measured.unusable), ""]
    return "\n".join(lines)


def _unusable(left: Sequence[tuple[str, str]]) -> list[str]:
    reasons = sorted({why for _, why in left})
    return [f"- {why}: {sum(w == why for _, w in left)} rows" for why in reasons]


def scatter(found: Findings) -> str:
    """An SVG of predicted against measured step times, by collection, on logarithmic axes."""
    measured = found.measured
    errors = found.errors if found.left_out is None else found.left_out
    seconds = measured.seconds
    predicted = seconds * np.exp(errors)
    low = np.floor(np.log10(min(seconds.min(), predicted.min())))
    high = np.ceil(np.log10(max(seconds.max(), predicted.max())))
    size, margin = 560.0, 60.0

    def place(value: float) -> float:
        return float(margin + (np.log10(value) - low) / (high - low) * (size - 2 * margin))

    families = sorted(set(measured.families()))
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(families)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size + 150:.0f} {size:.0f}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{size + 150:.0f}" height="{size:.0f}" fill="white"/>',
        *_axes(low, high, size, margin, place),
    ]
    for i, family in enumerate(measured.families()):
        x, y = place(float(seconds[i])), size - place(float(predicted[i]))
        dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour[family]}"'
        parts.append(f'{dot} fill-opacity="0.6"/>')
    for i, family in enumerate(families):
        y = margin + 18 * i
        parts.append(f'<circle cx="{size:.0f}" cy="{y}" r="4" fill="{colour[family]}"/>')
        parts.append(f'<text x="{size + 10:.0f}" y="{y + 4}">{family}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _axes(low: float, high: float, size: float, margin: float, place: object) -> list[str]:
    """Frame, decades, the diagonal, and 10 % to its sides."""
    at = place
    ends = (10.0**low, 10.0**high)
    lines = []
    end = size - margin
    for power in range(int(low), int(high) + 1):
        p, label = at(10.0**power), f"{10.0**power:g}"  # type: ignore[operator]
        q = size - p
        lines += [
            f'<line x1="{p:.1f}" y1="{margin}" x2="{p:.1f}" y2="{end}" stroke="#ddd"/>',
            f'<line x1="{margin}" y1="{q:.1f}" x2="{end}" y2="{q:.1f}" stroke="#ddd"/>',
            f'<text x="{p:.1f}" y="{end + 18:.0f}" text-anchor="middle">{label}</text>',
            f'<text x="{margin - 8:.0f}" y="{q + 4:.1f}" text-anchor="end">{label}</text>',
        ]
    for factor, dash in ((1.0, ""), (1.1, "4 4"), (1 / 1.1, "4 4")):
        x1, x2 = (at(v) for v in ends)  # type: ignore[operator]
        shift = at(ends[0] * factor) - at(ends[0])  # type: ignore[operator]
        lines.append(
            f'<line x1="{x1:.1f}" y1="{size - x1 - shift:.1f}" x2="{x2:.1f}" '
            f'y2="{size - x2 - shift:.1f}" stroke="#888" stroke-dasharray="{dash}"/>'
        )
    middle = size / 2
    lines.append(
        f'<text x="{middle}" y="{size - 12}" text-anchor="middle">measured step time, s</text>'
    )
    lines.append(
        f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">'
        "predicted step time, s</text>"
    )
    return lines
