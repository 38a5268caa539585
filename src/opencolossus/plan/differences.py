"""What one layout does differently from another, in words."""

from __future__ import annotations

from opencolossus.step.layouts import RECOMPUTE, SCHEDULES, Layouts

WORDS = {
    "tensor": "tensor",
    "context": "context",
    "pipeline": "pipeline",
    "virtual": "chunks a stage",
    "expert": "expert ranks",
    "micro_batch": "micro-batch",
    "zero": "ZeRO",
    "recompute": "recompute",
    "schedule": "schedule",
}
AXES = tuple(WORDS)
PARTS = {
    "compute": "compute is less efficient",
    "recompute": "recomputes",
    "gaps": "more kernels to start",
    "tensor": "tensor-parallel messages",
    "context": "context-parallel messages",
    "expert": "expert dispatch",
    "sends": "pipeline messages",
    "bubble": "pipeline bubble",
    "data": "gradients and weights between replicas",
    "optimiser": "optimiser",
    "stragglers": "waiting for the slowest",
}


def change(axis: str, value: float, both: Layouts) -> str:
    """What differs, in words; dimensions that had to follow stand behind it."""
    here = float(getattr(both, axis)[0])
    text = f"{WORDS[axis]} {_name(axis, value)} instead of {_name(axis, here)}"
    moved = [
        f"{WORDS[other]} {_name(other, float(getattr(both, other)[1]))}"
        for other in AXES
        if other != axis and getattr(both, other)[0] != getattr(both, other)[1]
    ]
    return f"{text} (with {', '.join(moved)})" if moved else text


def reason(gains: dict[str, float], step: float, gpus: int, others: int) -> str:
    """Why a layout is slower: the parts of the step that grew most, as shares of it."""
    grown = sorted(gains.items(), key=lambda item: -item[1])
    text = [f"{PARTS[name]} {gain / step:+.1%}" for name, gain in grown[:2] if gain > 0.003 * step]
    if others < 0.97 * gpus:
        text.insert(0, f"uses {others:,} GPUs only")
    if not text and sum(gains.values()) < -0.003 * step:
        return "faster for this kind of GPU, not for the others"
    return ", ".join(text) or "as fast within 0.3 %"


def _name(axis: str, value: float) -> str:
    table = {"recompute": RECOMPUTE, "schedule": SCHEDULES}.get(axis)
    if table is None:
        return f"{value:.0f}"
    return next(name for name, number in table.items() if number == value)
