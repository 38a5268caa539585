"""Energy from a driver that is made up here; no GPU is needed."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from opencolossus.train import energy
from opencolossus.train.energy import Counter, Energy, Integral, of_gpu
from opencolossus.train.parallel.groups import Group

ALONE = Group((0,), 0, None)
CPU = torch.device("cpu")


class NVMLError(Exception):
    """What NVML raises."""


class NotSupportedError(NVMLError):
    """By an older GPU."""


class Driver(ModuleType):
    """NVML with one GPU that draws 500 W for ever."""

    NVMLError, NVMLError_NotSupported = NVMLError, NotSupportedError

    def __init__(self, counts: bool = True) -> None:
        super().__init__("pynvml")
        self.counts, self.lost, self.now = counts, False, 0.0

    def nvmlInit(self) -> None:  # noqa: N802
        """Nothing to start."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid != "GPU-1":
            raise NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: str) -> int:  # noqa: N802
        if not self.counts:
            raise NotSupportedError("Not Supported")
        if self.lost:
            raise NVMLError("GPU is lost")
        return round(500e3 * self.now)  # mJ

    def nvmlDeviceGetPowerUsage(self, gpu: str) -> int:  # noqa: N802
        if self.lost:
            raise NVMLError("GPU is lost")
        return 500_000  # mW


@pytest.fixture(params=[True, False], ids=["counts energy", "knows only its power"])
def driver(request, monkeypatch) -> Driver:
    found = Driver(counts=request.param)
    monkeypatch.setitem(sys.modules, "pynvml", found)
    monkeypatch.setattr(energy.time, "monotonic", lambda: found.now)
    return found


def test_energy_is_power_times_time_however_the_gpu_tells_it(driver):
    meter = of_gpu("GPU-1")
    assert isinstance(meter, Counter if driver.counts else Integral)
    counted = Energy(meter, ALONE, CPU)
    spent = []
    for seconds in (2.0, 0.5, 4.0):
        driver.now += seconds
        spent.append(counted.spent())
    assert spent == pytest.approx([1000.0, 250.0, 2000.0])
    assert counted.total == pytest.approx(3250.0)


def test_a_gpu_that_falls_silent_costs_its_figures_and_not_the_run(driver):
    counted = Energy(of_gpu("GPU-1"), ALONE, CPU)
    driver.now, driver.lost = 2.0, True
    assert counted.spent() is None
    # The rest would be taken for the energy of all steps.
    assert counted.total is None


def test_what_cannot_be_read_is_said(driver, monkeypatch):
    assert of_gpu("GPU-2") == "power is not read: NVML says Not Found"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install 'opencolossus[gpu]'" in str(of_gpu("GPU-1"))


def test_a_cpu_has_no_meter():
    assert energy.meter(CPU) is None
    assert Energy(None, ALONE, CPU).spent() is None
