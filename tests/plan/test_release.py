"""The software that a plan takes where nobody names one suits the GPUs and the day."""

from __future__ import annotations

from datetime import date

import pytest

from opencolossus.plan.release import BY_YEAR, usual
from opencolossus.specs import calibration, catalog
from opencolossus.specs.cluster import Pool


def taken(day: date, *nodes: str) -> str:
    pools = [
        Pool(node=catalog.entry("nodes", n), gpus=n.startswith("nvl72") * 64 + 8) for n in nodes
    ]
    return usual(pools, day, calibration.shipped()).name


@pytest.mark.parametrize(
    ("day", "nodes", "name"),
    [
        (date(2019, 1, 1), ["hgx-a100-80"], "megatron-2020"),
        (date(2023, 5, 1), ["hgx-h100"], "megatron-2023"),
        (date(2024, 7, 1), ["hgx-h100"], "nemo-2024"),
        (date(2026, 7, 1), ["hgx-h100"], "bridge-2026-eager"),
        (date(2026, 7, 1), ["hgx-b200"], "bridge-2026"),
        (date(2026, 7, 1), ["nvl72-gb200", "nvl72-gb300"], "bridge-2026"),
        (date(2026, 7, 1), ["hgx-h100", "nvl72-gb200"], "bridge-2026"),
        (date(2026, 7, 1), ["hgx-h100", "hgx-h200", "hgx-a100-80"], "bridge-2026-eager"),
        (date(2024, 7, 1), ["mi300x-8"], "rocm-2025"),
    ],
)
def test_the_year_and_the_kinds_of_gpu_decide(day: date, nodes: list[str], name: str) -> None:
    assert taken(day, *nodes) == catalog.entry("software", name).name


def test_no_graphs_are_captured_where_the_recipes_capture_none() -> None:
    hopper = usual(
        [Pool(node=catalog.entry("nodes", "hgx-h200"), gpus=8)],
        date(2030, 1, 1),
        calibration.shipped(),
    )
    assert not hopper.compiled


def test_every_year_has_software_of_the_catalog() -> None:
    assert {*BY_YEAR.values()} <= {*catalog.names("software")}
