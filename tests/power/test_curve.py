"""Calibrating a power curve, on a GPU that is made up."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import yaml

from opencolossus.power import meter
from opencolossus.power.calibrate import calibrate
from opencolossus.power.caps import clock_at_cap, gpu_power, speed_at_cap
from opencolossus.power.curve import fit
from opencolossus.power.meter import Reading
from opencolossus.specs import catalog
from opencolossus.specs.errors import UserError
from opencolossus.specs.hardware import Gpu, PowerCurve

H100: Gpu = catalog.entry("gpus", "h100-sxm")
TRUE = H100.model_copy(
    update={"power_curve": PowerCurve(full_power=1.4, voltage_floor=0.7, voltage_knee=0.5)}
)


class Pretended:
    """An H100 that multiplies matrices, with noise; perhaps without the right to limit it."""

    def __init__(self, may: bool) -> None:
        self.may, self.watts = may, 650.0
        self.noise = np.random.default_rng(0)

    def read(self) -> Reading:
        clock = float(clock_at_cap(TRUE, self.watts))
        power = float(gpu_power(TRUE, clock, 1.0)) + self.noise.normal(0, 3)
        return Reading(power, clock * 1980e6, self.watts)

    def allowed(self) -> tuple[float, float]:
        return 200.0, 700.0

    def limit(self, watts: float) -> None:
        if not self.may:
            raise PermissionError("insufficient permissions")
        self.watts = watts

    @contextmanager
    def kept(self) -> Iterator[None]:
        before = self.watts
        try:
            yield
        finally:
            self.watts = before


def test_a_sweep_recovers_the_curve_and_gives_the_limit_back() -> None:
    gpu = Pretended(may=True)
    readings, swept = meter.sweep(gpu, 80.0, sleep=lambda _: None)
    assert swept
    assert gpu.watts == 650.0
    curve, error = fit(H100, *meter.busy(readings, 1980e6))
    assert error == pytest.approx(3, rel=0.3)
    found = H100.model_copy(update={"power_curve": curve})
    caps = np.array([300.0, 400, 500, 600])
    np.testing.assert_allclose(speed_at_cap(found, caps), speed_at_cap(TRUE, caps), rtol=0.02)


def test_without_rights_the_gpu_is_only_observed() -> None:
    gpu = Pretended(may=False)
    readings, swept = meter.sweep(gpu, 10.0, sleep=lambda _: None)
    assert not swept
    assert len(readings) == 100
    assert gpu.watts == 650.0


def test_calibration_ends_in_lines_for_a_description(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter.time, "sleep", lambda _: None)
    found = calibrate(H100, Pretended(may=True), 0.8 * 8)
    read = yaml.safe_load(found.as_yaml())["power_curve"]
    assert read["full_power"]["value"] == pytest.approx(1.4, rel=0.1)
    assert read["full_power"]["evidence"] == "measured"


def test_an_idle_gpu_is_told_from_a_busy_one() -> None:
    readings = [Reading(70.0, 345e6, 700.0)] * 10 + [Reading(690.0, 1600e6, 700.0)] * 5
    clock, power = meter.busy(readings, 1980e6)
    assert clock.size == 5
    assert power.min() == 690.0


def test_one_clock_is_no_curve() -> None:
    with pytest.raises(UserError, match="do not show a curve"):
        fit(H100, np.full(20, 0.8), np.full(20, 650.0))


def test_an_interrupted_sweep_gives_the_limit_back() -> None:
    gpu = Pretended(may=True)
    naps = iter(range(30))

    def sleep(_: float) -> None:
        if next(naps, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        meter.sweep(gpu, 80.0, sleep=sleep)
    assert gpu.watts == 650.0


def test_no_gpu_is_one_sentence() -> None:
    pytest.importorskip("pynvml")
    with pytest.raises(UserError, match="GPU 99 cannot be read"):
        meter.Nvml(99)


def test_at_one_limit_the_height_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter.time, "sleep", lambda _: None)
    found = calibrate(H100, Pretended(may=False), 5.0)
    assert set(yaml.safe_load(found.as_yaml())["power_curve"]) == {"full_power"}
    # Whatever shape is assumed, the curve goes through what was seen.
    seen = float(clock_at_cap(TRUE, 650.0))
    made = H100.model_copy(update={"power_curve": found.curve})
    assert float(gpu_power(made, seen, 1.0)) == pytest.approx(650.0, rel=0.005)
