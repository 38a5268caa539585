"""Intervals: the more of a run was never measured, the wider."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.plan import accuracy, measured, rows, trust
from opencolossus.plan.familiar import DENSE, EXPERTS, KINDS, Aspects, measured_before, width
from opencolossus.specs import calibration

GROK = Aspects(
    architecture="hopper",
    software="NeMo and Megatron-Core of 2024",
    era="nemo-2024",
    kind=EXPERTS,
    precision="bf16",
    sequence=8192,
    experts=8,
    chosen=2,
    expert_size=32768,
)
"""Grok-1 on H100, which the table has."""


def test_rows_of_the_table_are_no_news() -> None:
    folder = rows.folder()
    table = measured.load(folder / "throughput.csv", folder / "platforms.yaml")
    known = measured_before(calibration.shipped())
    assert {known.new(one) for one in accuracy.aspects(table)} == {0}


@pytest.mark.parametrize(
    ("change", "news"),
    [
        ({"sequence": 16384.0}, 0),
        ({"sequence": 131072.0}, 1),
        ({"precision": "fp4"}, 1),
        ({"software": "something else"}, 1),
        ({"experts": 128.0, "chosen": 4.0, "expert_size": 2880.0}, 2),
        ({"software": "something else", "era": "of which nothing is known"}, 4),
    ],
)
def test_each_aspect_counts_once(change: dict[str, float | str], news: int) -> None:
    known = measured_before(calibration.shipped())
    assert known.new(GROK) == 0
    assert known.new(GROK._replace(**change)) == news


@given(st.integers(0, 8), st.integers(0, 8), st.sampled_from(KINDS))
def test_news_never_make_an_interval_narrower(few: int, more: int, kind: str) -> None:
    intervals = calibration.shipped().interval
    few, more = sorted((few, more))
    narrow, wide = (width(intervals, kind, new) for new in (few, more))
    assert math.log(intervals[kind]) <= narrow <= wide


def test_a_gpu_and_a_size_that_nobody_measured_widen() -> None:
    base = calibration.shipped()
    step = 10.0

    def half(gpu: str, run: Aspects, gpus: int) -> float:
        return trust.interval(base, gpu, run, gpus, 16384.0, step).high / step

    near = half("NVIDIA H100 SXM5 80 GB", GROK, 2048)
    assert near == pytest.approx(math.exp(width(base.interval, EXPERTS, 0)))
    assert near < half("NVIDIA H100 SXM5 80 GB", GROK, 200_000)
    assert near < half("Something of 2030", GROK._replace(architecture="hopper"), 2048)
    dense = GROK._replace(kind=DENSE, experts=0.0, chosen=0.0, expert_size=0.0)
    assert half("NVIDIA H100 SXM5 80 GB", dense, 2048) < near
