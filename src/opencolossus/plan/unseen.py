"""Published runs that no constant was ever fitted to, kept apart to see what the law is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opencolossus.plan import accuracy, measured, rows
from opencolossus.plan.familiar import ADAPTERS, ELSEWHERE, measured_before, width
from opencolossus.plan.measured import Measured
from opencolossus.specs.software import Calibration
from opencolossus.step.columns import Array

TABLES = ("unseen.csv", "fresh.csv", "late.csv")
LOOKED_AT, KEPT_BACK, FRESH, LATE = "looked at", "kept back", "fresh", "late"
"""Half of the first rows, drawn by lot, in whose view the law was changed; the other half; rows
that were entered before any of them was priced, whose recipes were read again afterwards; and
rows that came last, with their software told from their recipes before any was priced."""


@dataclass(frozen=True)
class Unseen:
    """Rows that no fit knows, and how far the law is off."""

    measured: Measured
    addresses: dict[str, str]
    """Where each source was read."""
    groups: NDArray[np.str_]
    """Of each row: looked at, kept back, fresh, or late."""
    errors: Array
    """Logarithms of predicted over measured step time."""
    new: Array
    """Aspects of each row that the table does not have."""

    def of(self, group: str) -> NDArray[np.bool_]:
        """Which rows belong to a group."""
        return np.asarray(self.groups == group)

    def widths(self, intervals: dict[str, float]) -> Array:
        """Logarithm of the half-width of each row's interval."""
        kinds = accuracy.kinds(self.measured)
        found = [width(intervals, str(k), n) for k, n in zip(kinds, self.new, strict=True)]
        return np.array(found)

    def covered(self, intervals: dict[str, float], group: str) -> float:
        """Share of the rows of a group inside their intervals."""
        inside = np.abs(self.errors) <= self.widths(intervals)
        return float(np.mean(inside[self.of(group)]))

    def widened(self, intervals: dict[str, float], adapters: Array) -> dict[str, float]:
        """The intervals of rows left out, completed by all rows here but those kept back.

        What every new aspect adds is what nine of ten of those rows need. The table has adapters
        from one framework only, so that the class takes the rows looked at to those ``adapters``
        left out.
        """
        kinds = accuracy.kinds(self.measured)
        tuned = kinds == ADAPTERS
        both = np.concatenate([adapters, self.errors[tuned & self.of(LOOKED_AT)]])
        chosen = ~self.of(KEPT_BACK) & ~tuned
        base = np.log([intervals[str(kind)] for kind in kinds[chosen]])
        beyond = np.maximum(self.errors[chosen] ** 2 - base**2, 0.0)
        needed = np.sqrt(beyond / (1 + self.new[chosen]))
        return intervals | {
            ADAPTERS: accuracy.half_width(both),
            ELSEWHERE: accuracy.half_width(needed),
        }


def findings(calibration: Calibration) -> Unseen:
    """Price the shipped tables of runs that are kept apart.

    Raises:
        UserError: a table or the rules cannot be read.
    """
    folder = rows.folder()
    table = [row for name in TABLES for row in rows.read_table(folder / name)]
    known = rows.read_rules(folder / "platforms.yaml")
    found = measured.resolve(table, known, calibration)
    addresses = {row.text("source"): row.text("url_or_repo_path") for row in reversed(table)}
    group = {row.key: row.text("half") or FRESH for row in table}
    before = measured_before(calibration)
    return Unseen(
        found,
        addresses,
        np.array([group[key] for key in found.keys]),
        accuracy.log_errors(found, calibration),
        np.array([float(before.new(one)) for one in accuracy.aspects(found)]),
    )
