"""Swings of a synchronous job."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.power import swings
from opencolossus.power.demand import gpu_power_at_cap, node_power
from opencolossus.specs import catalog

NODE = catalog.entry("nodes", "hgx-h100")
STEP = swings.Step(compute=3.0, communication=0.6, idle=0.4)


def test_a_16k_job_moves_tens_of_megawatts() -> None:
    # Llama 3's 16,384 GPUs made the power of the site swing by tens of megawatts when they
    # started, stopped or wrote a checkpoint together (arXiv 2407.21783, section 3.3.4).
    trace = swings.trace(NODE, 16_384 / 8, 700.0, STEP, 20.0, stops=((8.0, 12.0),))
    assert 10e6 <= swings.swing(trace) <= 40e6


def test_mean_power_does_not_depend_on_the_resolution() -> None:
    coarse = swings.trace(NODE, 1, 600.0, STEP, 40.0, resolution=1e-2)
    fine = swings.trace(NODE, 1, 600.0, STEP, 40.0, resolution=1e-3)
    assert coarse.mean() == pytest.approx(fine.mean(), rel=1e-3)


@given(compute=st.floats(0.1, 5), idle=st.floats(0, 5), talk=st.floats(0, 2))
def test_a_filling_pipeline_keeps_the_mean_power(compute: float, idle: float, talk: float) -> None:
    step = swings.Step(compute, talk, idle)
    trace = swings.trace(NODE, 1, 600.0, step, 50 * sum(step), sum(step) / 500)
    level = {
        activity: float(node_power(NODE, gpu_power_at_cap(NODE.gpu, 600.0, activity)))
        for activity in (1.0, NODE.gpu.power_curve.communication_activity, 0.0)
    }
    shares = np.array([compute, talk, idle]) / sum(step)
    assert trace.mean() == pytest.approx(float(shares @ list(level.values())), rel=0.01)


def test_stages_start_one_after_another() -> None:
    bubble = swings.trace(NODE, 1000, 700.0, swings.Step(3.0, 0.6, 0.6), 4.2)
    assert swings.steepest(bubble[:3500], 1e-3, 0.1) < 0.3 * swings.swing(bubble) / 0.1
    # Without a pipeline all begin at once.
    flat = swings.trace(NODE, 1000, 700.0, swings.Step(3.0, 0.6), 7.2)
    assert swings.steepest(flat, 1e-3, 0.1) == pytest.approx(swings.swing(flat) / 0.1)


def test_dummy_work_flattens_the_trace_and_burns_energy() -> None:
    plain = swings.trace(NODE, 100, 700.0, STEP, 20.0)
    smooth = swings.trace(NODE, 100, 700.0, STEP, 20.0, floor=0.8)
    assert swings.swing(smooth) < 0.4 * swings.swing(plain)
    assert swings.dummy_energy(smooth, plain, 1e-3) == pytest.approx(
        (smooth.sum() - plain.sum()) * 1e-3
    )


def test_the_beat_of_a_wave_is_found() -> None:
    time = np.arange(0, 10, 1e-3)
    wave = 5e6 + 2e6 * np.sin(2 * np.pi * 0.8 * time) + 1e6 * np.sin(2 * np.pi * 50 * time)
    found = swings.oscillation(wave, 1e-3)
    assert found.frequency == pytest.approx(0.8)
    assert found.amplitude == pytest.approx(2e6)
    assert found.share == pytest.approx(4 / 5)  # 50 Hz lies above the band
    assert swings.oscillation(np.ones(100), 1e-3) == (0.0, 0.0, 0.0)


def test_training_beats_where_grids_are_sensitive() -> None:
    # Microsoft, OpenAI and NVIDIA saw the energy of the swings mostly between 0.2 and 3 Hz
    # (arXiv 2508.14318); steps of large models take one to some seconds.
    for compute in (0.5, 1.0, 3.0):
        step = swings.Step(compute, 0.3 * compute, 0.1 * compute)
        trace = swings.trace(NODE, 1000, 700.0, step, 8 * sum(step), sum(step) / 2000)
        found = swings.oscillation(trace, sum(step) / 2000)
        assert found.frequency == pytest.approx(1 / sum(step))
        assert 0.2 <= found.frequency <= 3
        assert found.share > 0.9


def test_storage_takes_what_the_grid_cannot_follow() -> None:
    trace = swings.trace(NODE, 1000, 700.0, STEP, 20.0)
    ramp = 1e6
    grid = swings.ramp_limited(trace, 1e-3, ramp)
    assert np.abs(np.diff(grid)).max() <= ramp * 1e-3 * (1 + 1e-9)
    taken = swings.absorbed(trace, grid, 1e-3)
    assert taken.power <= swings.swing(trace)
    assert taken.energy > 0
    free = swings.ramp_limited(trace, 1e-3, 1e12)
    assert swings.absorbed(trace, free, 1e-3).energy == 0
