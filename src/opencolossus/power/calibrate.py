"""Measure the power curve of the GPU at hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opencolossus.power.curve import NARROW, fit, fit_height
from opencolossus.power.meter import Meter, busy, sweep
from opencolossus.specs.errors import UserError
from opencolossus.specs.hardware import Gpu, PowerCurve

ENOUGH = 20


@dataclass(frozen=True)
class Calibrated:
    """A power curve, and what it was fitted to."""

    curve: PowerCurve
    error: float
    """Root mean square, W."""
    readings: int
    swept: bool
    """Whether power limits were changed; else the GPU was observed as it ran."""
    shape: bool = True
    """Whether the clocks differed enough to show how voltage follows them."""

    def as_yaml(self) -> str:
        """Lines for a description, below the GPU that was measured."""
        how = "over several power limits" if self.swept else "at the limit in force"
        note = f"{self.readings} readings {how}, error {self.error:.1f} W"
        measured = ["full_power", *(("voltage_floor", "voltage_knee") if self.shape else ())]
        rows = (
            f"  {name}: {{value: {getattr(self.curve, name):.4g}, evidence: measured, "
            f"note: {note!r}}}"
            for name in measured
        )
        return "\n".join(["power_curve:", *rows]) + "\n"


def calibrate(gpu: Gpu, meter: Meter, seconds: float) -> Calibrated:
    """Observe ``meter`` for ``seconds`` s and fit the power curve of ``gpu``.

    Something else must keep the GPU busy with matrix products meanwhile.

    Raises:
        UserError: the catalog does not know the top clock, or the GPU was not busy.
    """
    if gpu.clock is None:
        raise UserError(f"{gpu.name} has no clock in the catalog; name a GPU that has one")
    readings, swept = sweep(meter, seconds)
    clock, power = busy(readings, gpu.clock)
    if clock.size < ENOUGH:
        raise UserError(
            f"the GPU was at its power limit in {clock.size} of {len(readings)} readings; start a "
            f"job that multiplies large matrices and try again"
        )
    # At one limit clocks are alike. Under several they differ, or the readings are worth nothing.
    shape = swept or bool(np.ptp(clock) >= NARROW)
    curve, error = (fit if shape else fit_height)(gpu, clock, power)
    return Calibrated(curve, error, clock.size, swept, shape)
