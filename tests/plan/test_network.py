"""The report on a cluster's network, and its command."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from opencolossus.cli import app
from opencolossus.plan.network import report
from opencolossus.specs import catalog
from opencolossus.specs.errors import UserError


def test_memphis_in_order_needs_no_spine_and_hashes_cost_scattered_rings_most() -> None:
    found = report(catalog.entry("clusters", "colossus-100k"))
    assert (found.tiers, found.leaves, found.ports) == (3, 1563, 100_000)
    reach = {(row.placement, row.routing, row.dead_cables): row.slowest for row in found.reach}
    assert reach["in order", "adaptive", 0] == pytest.approx(1.0)
    assert reach["scattered", "adaptive", 0] == pytest.approx(1.0)
    one = reach["scattered", "hashed, 1 flow per port", 0]
    four = reach["scattered", "hashed, 4 flows per port", 0]
    assert one < four < 0.5
    assert reach["scattered", "adaptive", 4] == pytest.approx(60 / 64, rel=0.01)
    times = [row.seconds for row in found.all_reduce]
    assert times == sorted(times)


def test_one_server_and_no_cluster_are_refused_in_a_sentence() -> None:
    cluster = catalog.entry("clusters", "h100-1024")
    pool = next(iter(cluster.pools.values())).model_copy(update={"gpus": 8})
    with pytest.raises(UserError, match="16 GPUs or more"):
        report(cluster.model_copy(update={"pools": {"h100": pool}}))
    with pytest.raises(UserError, match="name a cluster"):
        report(None)


def test_the_command_prints_tables_and_json() -> None:
    spec = ["plan", "examples/july.yaml", "--network"]
    shown = CliRunner().invoke(app, spec)
    assert shown.exit_code == 0
    assert "scattered" in shown.output
    assert "step law" in shown.output
    found = json.loads(CliRunner().invoke(app, [*spec, "--json"]).output)
    assert found["tiers"] == 3
    assert found["bisection"] > 1e14
