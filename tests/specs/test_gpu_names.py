"""Which GPU of the catalog a driver means."""

from __future__ import annotations

import pytest

from opencolossus.specs import catalog
from opencolossus.specs.gpu_names import NAMES, by_driver_name


def test_every_gpu_of_the_catalog_is_known_to_its_driver():
    cards = {n for n in catalog.names("gpus") if catalog.entry("gpus", n).name.split()[0].isupper()}
    assert cards <= set(NAMES.values())


@pytest.mark.parametrize(
    ("said", "memory"),
    [
        ("NVIDIA A100-SXM4-80GB", 80e9),
        ("NVIDIA A100-SXM4-40GB", 40e9),
        ("NVIDIA H200", 141e9),
        ("NVIDIA H100 80GB HBM3\n", 80e9),
    ],
)
def test_the_memory_is_that_of_the_card(said, memory):
    found = by_driver_name(said)
    assert found is not None
    assert found.memory == pytest.approx(memory, rel=0.08)


def test_the_pcie_card_is_not_taken_for_its_faster_sister():
    pcie, sxm = by_driver_name("NVIDIA H100 PCIe"), by_driver_name("NVIDIA H100 80GB HBM3")
    assert pcie is not None
    assert sxm is not None
    assert pcie.flops["bf16"] < 0.8 * sxm.flops["bf16"]


@pytest.mark.parametrize(
    "said",
    [
        "NVIDIA RTX PRO 6000 Blackwell Server Edition",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA GeForce RTX 4090",
        "NVIDIA GH200 480GB",
        "",
    ],
)
def test_what_the_catalog_does_not_have_is_no_other(said):
    assert by_driver_name(said) is None
