"""Rented GPUs cost their hours, also those that failures take."""

from __future__ import annotations

import pytest

from opencolossus.plan.search import search
from opencolossus.specs.load import loads

OWN = """
name: rented
model: llama3-8b
run: {tokens: 100B tokens, batch: 4M tokens, sequence: 8192}
cluster:
  fabric: quantum-2-ndr
  pools: POOLS
"""
ONE = "{all: {node: hgx-h100, gpus: 64, gpu_hour: $2.50}}"
TWO = "{all: {node: hgx-h100, gpus: 64, gpu_hour: $2}, more: {node: hgx-h200, gpus: 64MORE}}"


def rent(pools: str) -> tuple[float | None, float]:
    """Of a plan, and its GPU hours."""
    plan = search(loads(OWN.replace("POOLS", pools)).description, detail=False)
    assert plan.gpus in (64, 128)
    return plan.rent_dollars, plan.gpus * plan.days * 24


def test_rent_is_the_price_of_an_hour_times_hours() -> None:
    dollars, hours = rent(ONE)
    assert dollars == pytest.approx(2.5 * hours)


def test_kinds_have_prices_of_their_own() -> None:
    dollars, hours = rent(TWO.replace("MORE", ", gpu_hour: $4"))
    assert dollars == pytest.approx(3.0 * hours), "half at 2, half at 4"
    assert rent(TWO.replace("MORE", ""))[0] is None, "not known of all"
    assert rent(ONE.replace(", gpu_hour: $2.50", ""))[0] is None
