"""Fit a GPU's power curve to what was observed of its clock and power."""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

from opencolossus.power.caps import Array, gpu_power
from opencolossus.specs.errors import UserError
from opencolossus.specs.hardware import Gpu, PowerCurve

LOWEST, HIGHEST = np.array([0.3, 0.3, 0.1]), np.array([4.0, 0.999, 0.95])
ENOUGH = 5
NARROW = 0.05
"""Clocks that differ by less show the height of a curve, and not its shape."""


def fit(gpu: Gpu, clock: Array, power: Array) -> tuple[PowerCurve, float]:
    """The curve that explains ``power`` [N] (W) of matrix products at relative ``clock`` [N].

    Returns the curve and the root mean square error in W. Least squares in full power, voltage
    floor and knee of the law in ``power.caps``; the knee moves only where clocks reach below it.

    Raises:
        UserError: too few observations, or all at one clock.
    """
    if clock.size < ENOUGH or np.ptp(clock) < NARROW:
        raise UserError(
            f"{clock.size} observations between {clock.min(initial=1):.2f} and "
            f"{clock.max(initial=0):.2f} of the top clock do not show a curve; observe at "
            f"{ENOUGH} power limits or more"
        )
    known = gpu.power_curve
    start = np.array([known.full_power, known.voltage_floor, known.voltage_knee])

    def error(values: Array) -> Array:
        return np.asarray(gpu_power(_with(gpu, values), clock, 1.0) - power)

    found = least_squares(error, start, bounds=(LOWEST, HIGHEST), x_scale=start)
    return _curve(known, found.x), float(np.sqrt(np.mean(found.fun**2)))


def fit_height(gpu: Gpu, clock: Array, power: Array) -> tuple[PowerCurve, float]:
    """The same where all clocks are alike: the full power, the voltage's shape as it was assumed.

    Linear in the full power, so least squares have a closed form.
    """
    idle, factor = gpu.idle_power, gpu_power(gpu, clock, 1.0) - gpu.idle_power
    factor /= gpu.power_curve.full_power * gpu.tdp - idle
    full = (idle + float(factor @ (power - idle) / (factor @ factor))) / gpu.tdp
    curve = gpu.power_curve.model_copy(update={"full_power": full})
    found = gpu_power(gpu.model_copy(update={"power_curve": curve}), clock, 1.0)
    return curve, float(np.sqrt(np.mean((found - power) ** 2)))


def _curve(known: PowerCurve, values: Array) -> PowerCurve:
    full, floor, knee = (float(v) for v in values)
    return known.model_copy(
        update={"full_power": full, "voltage_floor": floor, "voltage_knee": knee}
    )


def _with(gpu: Gpu, values: Array) -> Gpu:
    return gpu.model_copy(update={"power_curve": _curve(gpu.power_curve, values)})
