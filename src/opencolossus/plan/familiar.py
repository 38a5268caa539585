"""What of a run was measured before, and what was not: the more is new, the wider its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from opencolossus.specs.software import Calibration

KINDS = DENSE, EXPERTS, ADAPTERS = "dense", "experts", "adapters"
WORDS = {DENSE: "dense models", EXPERTS: "experts", ADAPTERS: "adapters"}
WITHIN = 2.0
"""Sequences up to so many times longer or shorter than a measured one are no news."""
ELSEWHERE = "elsewhere"
"""Name of what each new aspect adds, among the intervals of a calibration."""
WIDEST = 2.0
"""Where a calibration tells no interval."""


class Aspects(NamedTuple):
    """What an interval depends on."""

    architecture: str
    software: str
    era: str
    kind: str
    """``dense``, ``experts`` or ``adapters``."""
    precision: str
    sequence: float
    experts: float
    chosen: float
    """Experts of a token."""
    expert_size: float
    """Inner size of one; as these two, 0 without experts."""


@dataclass
class Known:
    """Aspects of the runs that were measured."""

    software: set[str] = field(default_factory=set)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    """Era and kind, architecture and era, architecture and precision."""
    experts: set[tuple[float, float]] = field(default_factory=set)
    """How many there are and how many a token meets."""
    sizes: set[float] = field(default_factory=set)
    sequences: dict[tuple[str, str], set[float]] = field(default_factory=dict)
    """By era and kind of model."""

    @staticmethod
    def of(runs: Iterable[Aspects]) -> Known:
        """The aspects that ``runs`` have."""
        known = Known()
        for run in runs:
            known.software.add(run.software)
            known.pairs |= {(run.era, run.kind), (run.architecture, run.era)}
            known.pairs.add((run.architecture, run.precision))
            known.experts.add((run.experts, run.chosen))
            known.sizes.add(run.expert_size)
            known.sequences.setdefault((run.era, run.kind), set()).add(run.sequence)
        return known

    def news(self, run: Aspects) -> tuple[str, ...]:
        """The aspects of a run that were never measured, in words."""
        lengths = self.sequences.get((run.era, run.kind), set())
        found = {
            "this software": run.software in self.software,
            f"{WORDS[run.kind]} with its like": (run.era, run.kind) in self.pairs,
            "its like on this GPU": (run.architecture, run.era) in self.pairs,
            f"{run.precision} on this GPU": (run.architecture, run.precision) in self.pairs,
            "so many experts, so many of a token": (run.experts, run.chosen) in self.experts,
            "experts of this size": run.expert_size in self.sizes,
            "sequences of such length": any(
                run.sequence / WITHIN <= s <= run.sequence * WITHIN for s in lengths
            ),
        }
        return tuple(what for what, known in found.items() if not known)

    def new(self, run: Aspects) -> int:
        """How many aspects of a run were never measured."""
        return len(self.news(run))


def measured_before(calibration: Calibration) -> Known:
    """Aspects of the runs that a calibration was fitted to."""
    return Known.of(
        Aspects(*(getattr(run, name) for name in Aspects._fields)) for run in calibration.measured
    )


def width(intervals: Mapping[str, float], kind: str, new: float) -> float:
    """Logarithm of the half-width of a 90 % interval, ``new`` of whose aspects were not measured.

    The errors of rows left out of the fit, whose like is in the table, those of another document
    and those of each new aspect are taken to be independent: their squares add up.
    """
    base = math.log(intervals.get(kind, WIDEST))
    each = math.log(intervals.get(ELSEWHERE, 1.0))
    return math.sqrt(base**2 + (1 + new) * each**2)
