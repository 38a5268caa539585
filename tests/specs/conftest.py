"""A whole description in one text, with nothing from the catalog."""

from __future__ import annotations

import pytest

WHOLE = """\
name: a small site
site:
  name: test
  water_price: $1/m3
  power:
    grid: {kind: grid, limit: 8 MW, tariff: $0.078/kWh, carbon: 365 g/kWh}
    engines:
      kind: gensets
      count: 14
      rating: 2.5 MW
      available: 2024-07-01
      heat_rate: 9500 Btu/kWh
      fuel_price: $3/MMBtu
      carbon: {value: 500 g/kWh, evidence: assumed, note: an engine of middling age}
  cooling:
    liquid_share: 80 %
    supply_temperature: 32 °C
    tower_approach: 4
    exchanger_approach: 3
    chiller_cop: 5
    pump_share: 2 %
    fan_share: 3 %
  climate:
    months:
MONTHS
cluster:
  fabric:
    kind: ethernet
    efficiency: 95 %
    latency: 5 µs
    switch: {ports: 64, port_bandwidth: 400 Gbit/s, power: 1 kW}
  pools:
    h100:
      gpus: 1024
      deliveries: [{date: 2024-07-01, gpus: 512}, {date: 2024-08-01, gpus: 512}]
      node:
        gpus: 8
        scale_up_domain: 8
        scale_up_bandwidth: 450 GB/s
        nics: 8
        nic_bandwidth: 400 Gbit/s
        host_power: 3 kW
        host_idle_power: 1 kW
        rated_power: 10.2 kW
        gpu:
          memory: 80 GB
          memory_bandwidth: 3.35 TB/s
          flops: {bf16: 989 TFLOP/s}
          tdp: 700 W
          idle_power: 70 W
model:
  layers: 2
  width: 64
  heads: 4
  kv_heads: 2
  head_size: 16
  feed_forward: 128
  vocabulary: 256
  context: 128
run:
  tokens: 1M tokens
  batch: 1024 tokens
  sequence: 128
  optimiser: {learning_rate: 3e-4}
""".replace("MONTHS", "\n".join(["      - {dry_bulb: 20 °C, wet_bulb: 15 °C, swing: 10}"] * 12))


@pytest.fixture
def whole() -> str:
    return WHOLE
