"""What machines draw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencolossus.power import capacity, demand
from opencolossus.specs import catalog
from opencolossus.specs.hardware import Node

NODES = catalog.names("nodes")
H100: Node = catalog.entry("nodes", "hgx-h100")


@pytest.mark.parametrize("name", NODES)
@given(share=st.floats(0.3, 1.0), load=st.floats(0, 1))
def test_no_server_draws_more_than_is_provisioned(name: str, share: float, load: float) -> None:
    node = catalog.entry("nodes", name)
    cap = max(share * node.gpu.tdp, node.gpu.idle_power)
    drawn = demand.node_power(node, demand.gpu_power_at_cap(node.gpu, cap, 1.0), load)
    assert drawn <= demand.provisioned_node_power(node, cap) * (1 + 1e-9)
    assert drawn >= 0


@given(
    parts=st.tuples(*[st.floats(0.01, 1)] * 4),
    cap=st.floats(200, 700),
)
def test_mean_power_lies_between_idle_and_the_cap(
    parts: tuple[float, float, float, float], cap: float
) -> None:
    compute, memory, communication, _ = np.array(parts) / sum(parts)
    mean = demand.mean_gpu_power(H100.gpu, cap, compute, memory, communication)
    assert H100.gpu.idle_power <= mean <= cap


def test_power_supplies_lose_what_their_efficiency_says() -> None:
    inside = 8 * 500.0 + H100.host_power + H100.fan_power * (500 / 700) ** 3
    assert demand.node_power(H100, 500.0) * H100.psu_efficiency == pytest.approx(inside)


def test_it_power_adds_storage_and_switches() -> None:
    cluster = catalog.entry("clusters", "colossus-100k")
    (name,) = cluster.pools
    plain = demand.it_power(cluster, {name: 800}, {name: 10e3})
    assert plain == pytest.approx(100 * 10e3 * (1 + cluster.storage_share))
    more = demand.it_power(cluster, {name: 800}, {name: 10e3}, switches=10)
    assert more - plain == pytest.approx(10 * cluster.fabric.switch.power)


def test_racks_arrays_and_halls_add_up() -> None:
    # 8 servers a rack, 8 racks an array, 25,000 GPUs a hall (ServeTheHome's tour of Colossus).
    pool = next(iter(catalog.entry("clusters", "colossus-100k").pools.values()))
    hall = catalog.entry("sites", "memphis-2024-07").halls
    found = demand.nameplates(pool, hall)
    assert found.server == pool.node.rated_power
    assert found.rack == pytest.approx(8 * found.server)
    assert found.array == pytest.approx(64 * found.server)
    assert hall.count * found.hall == pytest.approx(12_500 * found.server)


@given(limit=st.floats(1e5, 5e8), cap=st.floats(250, 700), pue=st.floats(1.05, 1.6))
def test_capacity_fits_its_limit_and_one_server_more_does_not(
    limit: float, cap: float, pue: float
) -> None:
    cluster = catalog.entry("clusters", "colossus-100k")
    pool = next(iter(cluster.pools.values()))
    gpus = float(capacity.gpus_carried(cluster, pool, limit, cap, pue))
    each = float(capacity.provisioned_gpu_power(cluster, pool, cap)) * pue
    assert gpus * each <= limit * (1 + 1e-9)
    assert (gpus + pool.node.gpus) * each > limit * (1 - 1e-6)
