"""``colossus calibrate power`` as a user runs it, through pynvml and a driver that is simulated.

What the simulated card does is written in ``simulated_gpu/nvml.c``: the truth to be found.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from opencolossus.power.caps import clock_at_cap
from opencolossus.specs import catalog
from opencolossus.specs.hardware import Gpu, PowerCurve

H100: Gpu = catalog.entry("gpus", "h100-sxm")
PATIENCE = 60.0


def calibration(driver, folder: Path, seconds: float) -> subprocess.Popen[str]:
    """Running, in a process group of its own."""
    command = [sys.executable, "-m", "opencolossus", "calibrate", "power", "--out", "power.yaml"]
    return subprocess.Popen(
        [*command, "--seconds", str(seconds)],
        cwd=folder,
        env=driver.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Status, output and errors."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def measured(folder: Path) -> PowerCurve:
    """What the calibration wrote, in place of the catalog's."""
    found = yaml.safe_load((folder / "power.yaml").read_text())["power_curve"]
    values = {name: entry["value"] for name, entry in found.items()}
    return H100.power_curve.model_copy(update=values)


def true_clock(watts: float) -> float:
    """Highest relative clock under a limit by the card's own law, found by trying all steps."""
    for megahertz in range(1980, 200, -15):
        clock = megahertz / 1980
        v = max(0.7, 1 - 0.3 / 0.5 * (1 - clock))
        power = (70 + (980 - 70) * clock * v * v - 0.15 * 30) / (1 - 0.15 * 0.06)
        if power <= watts:
            return clock
    raise AssertionError(watts)


def test_a_sweep_finds_the_cards_curve_and_leaves_its_limit(driver, tmp_path):
    status, out, err = end(calibration(driver, tmp_path, 8))
    assert status == 0, err
    assert "power.yaml" in out
    assert driver.limit == 650.0
    gpu = H100.model_copy(update={"power_curve": measured(tmp_path)})
    for watts in (250, 300, 400, 500, 600, 700):
        assert float(clock_at_cap(gpu, watts)) == pytest.approx(true_clock(watts), rel=0.03), watts


@pytest.mark.parametrize("why", ["forbidden", "fixed"])
def test_who_may_not_set_limits_observes(driver, tmp_path, why):
    driver.turn(why)
    status, out, err = end(calibration(driver, tmp_path, 3))
    assert status == 0, err
    assert "only full_power was measured" in out
    assert driver.limit == 650.0
    gpu = H100.model_copy(update={"power_curve": measured(tmp_path)})
    assert float(clock_at_cap(gpu, 650.0)) == pytest.approx(true_clock(650.0), rel=0.02)


@pytest.mark.parametrize(
    ("sent", "to_all"),
    [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGKILL, False)],
    ids=["Ctrl-C", "SIGTERM", "kill -9"],
)
def test_the_limit_comes_back_however_it_is_ended(driver, tmp_path, sent, to_all):
    process = calibration(driver, tmp_path, 60)
    wait_for(lambda: driver.limit != 650.0)
    (os.killpg if to_all else os.kill)(process.pid, sent)
    status, _, err = end(process)
    assert status != 0
    assert "Traceback" not in err
    wait_for(lambda: driver.limit == 650.0)
    assert not (tmp_path / "power.yaml").exists()


def test_a_workload_that_ends_is_one_sentence_and_the_limit_comes_back(driver, tmp_path):
    process = calibration(driver, tmp_path, 4)
    wait_for(lambda: driver.limit != 650.0)
    driver.turn("idle")
    status, _, err = end(process)
    assert status == 2
    assert "start a job that multiplies large matrices" in err
    assert driver.limit == 650.0


def test_a_card_that_falls_off_the_bus_is_one_sentence(driver, tmp_path):
    process = calibration(driver, tmp_path, 60)
    wait_for(lambda: driver.limit != 650.0)
    driver.turn("lost")
    status, _, err = end(process)
    assert status == 2
    assert err.count("\n") == 1
    assert "GPU 0 did not get its power limit of 650 W back" in err
    assert "nvidia-smi -i 0 -pl 650" in err


def test_a_card_that_is_lost_from_the_start_is_one_sentence(driver, tmp_path):
    driver.turn("lost")
    status, _, err = end(calibration(driver, tmp_path, 4))
    assert status == 2
    assert err == "colossus: GPU 0 cannot be read: NVML says GPU is lost\n"
