"""Bytes against runs that print how much they held, and against runs that died for want of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opencolossus.plan import measured, resolve, rows
from opencolossus.plan.measured import Measured
from opencolossus.specs.software import Calibration
from opencolossus.step.columns import Array

TABLE = "memory.csv"


@dataclass(frozen=True)
class MemoryFindings:
    """What the law says of runs whose memory is known."""

    cases: Measured
    used: Array
    """Bytes on the fullest GPU, by the law."""

    @property
    def errors(self) -> Array:
        """Of runs that print their memory: predicted over printed, less one."""
        told = np.array([metric == resolve.MEMORY for metric in self.cases.metrics])
        relative: Array = self.used / self.cases.told_bytes - 1
        return np.asarray(relative[told], dtype=np.float64)

    @property
    def died(self) -> dict[str, float]:
        """Runs that ran out of memory, and the share of their GPU that the law says they need."""
        share = self.used / self.cases.base_machine.memory
        return {
            key: float(share[i])
            for i, key in enumerate(self.cases.keys)
            if self.cases.metrics[i] == resolve.OUT_OF_MEMORY
        }


def findings(calibration: Calibration) -> MemoryFindings:
    """Price the shipped table of published memory.

    Raises:
        UserError: the table or the rules cannot be read.
    """
    folder = rows.folder()
    cases = measured.load(folder / TABLE, folder / "platforms.yaml", calibration, memory=True)
    return MemoryFindings(cases, cases.memory(calibration).total)
