"""Fabrics against published counts and the arithmetic of fat trees."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencolossus.fabric.clos import size
from opencolossus.specs import catalog
from opencolossus.specs.errors import UserError


def test_colossus_needs_three_tiers_and_3900_switches() -> None:
    """100k on 128-port switches: 1,563 leaves, 1,563 spines, 782 cores (SemiAnalysis)."""
    node, fabric = (
        catalog.entry("nodes", "hgx-h100-bf3"),
        catalog.entry("fabrics", "spectrum-x-400"),
    )
    found = size(node, fabric, 100_000)
    assert found.tiers == 3
    assert found.leaves == 1563
    assert found.spines == pytest.approx(1563, abs=1)
    assert found.cores == pytest.approx(782, abs=1)


def test_64_ports_carry_65536_hosts_in_three_tiers() -> None:
    """Quantum-2 with 64 ports of 400 Gbit/s ends at 65,536; 100k need a fourth tier."""
    node, fabric = catalog.entry("nodes", "hgx-h100"), catalog.entry("fabrics", "quantum-2-ndr")
    assert size(node, fabric, 65_536).tiers == 3
    assert size(node, fabric, 65_544).tiers == 4


@settings(max_examples=50, deadline=None)
@given(servers=st.integers(1, 60_000))
def test_every_host_has_a_port_and_bisection_is_whole(servers: int) -> None:
    node, fabric = (
        catalog.entry("nodes", "hgx-h100-bf3"),
        catalog.entry("fabrics", "spectrum-x-400"),
    )
    found = size(node, fabric, 8 * servers)
    assert found.host_links == 8 * servers
    assert found.leaves * found.radix >= found.host_links
    if found.tiers > 1:  # without oversubscription as many links go up as come down
        assert found.switch_links >= found.host_links
        assert found.spines * found.radix >= found.leaves
    assert found.bisection == pytest.approx(4 * servers * 50e9 * fabric.efficiency)


def test_oversubscription_saves_switches_and_halves_the_bisection() -> None:
    node, fabric = catalog.entry("nodes", "hgx-h100"), catalog.entry("fabrics", "quantum-2-ndr")
    thin = fabric.model_copy(update={"oversubscription": 3.0})
    full, less = size(node, fabric, 16_384), size(node, thin, 16_384)
    assert less.switches < full.switches
    assert less.bisection == pytest.approx(full.bisection / 3)


def test_more_than_four_tiers_is_refused_in_one_sentence() -> None:
    node, fabric = catalog.entry("nodes", "hgx-h100"), catalog.entry("fabrics", "quantum-2-ndr")
    switch = fabric.switch.model_copy(update={"ports": 8})
    with pytest.raises(UserError, match="choose a switch with more ports"):
        size(node, fabric.model_copy(update={"switch": switch}), 100_000)
