"""Published runs that no constant was ever fitted to, kept apart to see what the law is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opencolossus.plan import accuracy, measured, rows
from opencolossus.plan.measured import Measured
from opencolossus.specs.software import Calibration
from opencolossus.step.columns import Array

TABLE = "unseen.csv"


@dataclass(frozen=True)
class Unseen:
    """Rows that no fit knows, and how far the law is off."""

    measured: Measured
    addresses: dict[str, str]
    """Where each source was read."""
    errors: Array
    """Logarithms of predicted over measured step time."""

    def covered(self, intervals: dict[str, float]) -> float:
        """Share of the rows inside the intervals of rows left out of the fit."""
        kinds = accuracy.kinds(self.measured)
        width = np.log([intervals.get(kind, np.inf) for kind in kinds])
        return float(np.mean(np.abs(self.errors) <= width))

    def widened(self, intervals: dict[str, float]) -> dict[str, float]:
        """The intervals, with those far from measurements at least as wide as here."""
        return intervals | {
            f"{kind} far": max(width, intervals.get(f"{kind} far", 1.0))
            for kind, width in accuracy.widths(self.measured, self.errors).items()
        }


def findings(calibration: Calibration) -> Unseen:
    """Price the shipped table of runs that are kept apart.

    Raises:
        UserError: the table or the rules cannot be read.
    """
    folder = rows.folder()
    table = rows.read_table(folder / TABLE)
    known = rows.read_rules(folder / "platforms.yaml")
    found = measured.resolve(table, known, calibration)
    addresses = {row.text("source"): row.text("url_or_repo_path") for row in reversed(table)}
    return Unseen(found, addresses, accuracy.log_errors(found, calibration))
