"""A scatter plot of predicted against measured step times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from opencolossus.report.plan_accuracy import Findings

COLOURS = ("#1f6feb", "#d1570c", "#2da44e", "#8250df", "#bf3989", "#57606a", "#9a6700", "#0a7ea4")


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


def _axes(
    low: float, high: float, size: float, margin: float, at: Callable[[float], float]
) -> list[str]:
    """Frame, decades, the diagonal, and 10 % to its sides."""
    ends = (10.0**low, 10.0**high)
    lines = []
    end = size - margin
    for power in range(int(low), int(high) + 1):
        p, label = at(10.0**power), f"{10.0**power:g}"
        q = size - p
        lines += [
            f'<line x1="{p:.1f}" y1="{margin}" x2="{p:.1f}" y2="{end}" stroke="#ddd"/>',
            f'<line x1="{margin}" y1="{q:.1f}" x2="{end}" y2="{q:.1f}" stroke="#ddd"/>',
            f'<text x="{p:.1f}" y="{end + 18:.0f}" text-anchor="middle">{label}</text>',
            f'<text x="{margin - 8:.0f}" y="{q + 4:.1f}" text-anchor="end">{label}</text>',
        ]
    for factor, dash in ((1.0, ""), (1.1, "4 4"), (1 / 1.1, "4 4")):
        x1, x2 = (at(v) for v in ends)
        shift = at(ends[0] * factor) - at(ends[0])
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
