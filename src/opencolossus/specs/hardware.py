"""Parts that a cluster is built of: GPUs, nodes, racks, switches, fabrics."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from opencolossus.specs.base import Spec
from opencolossus.specs.quantities import (
    Fraction,
    Frequency,
    NonNegativeDuration,
    NonNegativeMoney,
    NonNegativePower,
    PositiveBandwidth,
    PositiveFlopRate,
    PositivePower,
    PositiveSize,
)

Precision = Literal["fp32", "tf32", "bf16", "fp16", "fp8", "fp4"]


class PowerCurve(Spec):
    """How the power of a GPU follows its clock and its work (see ``power.caps``).

    What is left out is an H100's, whose full power, floor and knee were measured.
    """

    full_power: Annotated[float, Field(gt=0)] = 1.58
    """Power that dense matrix products would draw at the top clock, as a multiple of ``tdp``."""
    ready_share: Fraction = 0.19
    """Power of a GPU that is ready and does nothing, its clock at the top, as a share of ``tdp``.
    What of it exceeds the idle power follows the clock."""
    voltage_floor: Annotated[Fraction, Field(gt=0)] = 0.64
    """Lowest supply voltage, as a share of the voltage at the top clock."""
    voltage_knee: Annotated[Fraction, Field(gt=0, lt=1)] = 0.46
    """Relative clock below which the voltage stays at its floor."""
    memory_activity: Fraction = 0.3
    """Dynamic power of memory-bound work, as a share of that of matrix products."""
    communication_activity: Fraction = 0.3
    """The same for waiting in collectives."""
    memory_knee: Annotated[Fraction, Field(gt=0)] = 0.6
    """Relative clock below which memory-bound work slows down too."""

    @model_validator(mode="after")
    def _work_takes_power(self) -> Self:
        if self.ready_share >= self.full_power:
            raise ValueError(
                f"ready_share ({self.ready_share:g}) must be below full_power ({self.full_power:g})"
            )
        return self


def is_cpu(name: str) -> bool:
    """Whether a device so named is the CPU of the machine at hand."""
    return name.startswith("CPU")


class Gpu(Spec):
    """One accelerator (or the CPU of one machine, as the thing that multiplies matrices)."""

    catalog_kind: ClassVar[str | None] = "gpus"

    name: str = "unnamed GPU"
    memory: PositiveSize
    memory_bandwidth: PositiveBandwidth
    flops: dict[Precision, PositiveFlopRate] = Field(min_length=1)
    """Dense peak of matrix products by precision."""
    tdp: PositivePower
    """Rated power, the highest cap."""
    idle_power: NonNegativePower
    min_cap: NonNegativePower = 0.0
    """Lowest power cap that the driver accepts."""
    clock: Annotated[Frequency, Field(gt=0)] | None = None
    """Highest clock of the compute units."""
    multiprocessors: PositiveInt | None = None
    """Units that tiles of a matrix product are spread over (SMs or CUs)."""
    price: NonNegativeMoney | None = None
    power_curve: PowerCurve = PowerCurve()
    """Assumed where the catalog has none, until ``colossus calibrate power`` has measured it."""

    @property
    def ready_power(self) -> float:
        """Power in W with a process loaded, clocks up and nothing to do."""
        return max(self.idle_power, self.power_curve.ready_share * self.tdp)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.idle_power >= self.tdp:
            raise ValueError(
                f"idle_power ({self.idle_power:g} W) must be below tdp ({self.tdp:g} W)"
            )
        if self.min_cap > self.tdp:
            raise ValueError(f"min_cap ({self.min_cap:g} W) must not exceed tdp ({self.tdp:g} W)")
        return self

    def peak_flops(self, precision: Precision) -> float:
        """Dense peak in FLOP/s.

        Raises:
            ValueError: the GPU has no figure for this precision.
        """
        if precision not in self.flops:
            known = ", ".join(self.flops)
            raise ValueError(f"{self.name} has no {precision} peak; known: {known}")
        return self.flops[precision]


class Node(Spec):
    """A server: GPUs on one scale-up network, with what surrounds them."""

    catalog_kind: ClassVar[str | None] = "nodes"

    name: str = "unnamed node"
    gpu: Gpu
    gpus: PositiveInt
    """GPUs in one server chassis."""
    scale_up_domain: PositiveInt
    """GPUs that reach each other at ``scale_up_bandwidth`` (8 for HGX, 72 for NVL72)."""
    scale_up_bandwidth: PositiveBandwidth
    """Per GPU and direction (H100: 450 GB/s)."""
    message_start: NonNegativeDuration = 36e-6
    """To start a collective and meet the other ranks: a 32 KiB all-reduce on 8 H200 takes 41 us in
    all (stas00/ml-engineering, network/README.md)."""
    in_network_reduction: bool = False
    """Whether the scale-up switch adds up in the network (NVLink SHARP)."""
    nics: PositiveInt
    """Network ports for training traffic, in one server."""
    nic_bandwidth: PositiveBandwidth
    """Per port and direction."""
    host_power: NonNegativePower
    """CPUs, memory, NICs, scale-up switches and disks of one server under load, without GPUs."""
    host_idle_power: NonNegativePower
    fan_power: NonNegativePower = 0.0
    """Fans and pumps inside the chassis at full load."""
    psu_efficiency: Annotated[Fraction, Field(gt=0)] = 0.94
    rated_power: PositivePower
    """Nameplate of the server."""
    price: NonNegativeMoney | None = None


class Rack(Spec):
    """How many GPUs stand in one rack, and how many racks share one network array."""

    catalog_kind: ClassVar[str | None] = "racks"

    name: str = "unnamed rack"
    gpus: PositiveInt
    racks_per_array: PositiveInt = 1
    liquid_share: Fraction = 0.0
    """Share of the rack's heat that goes to cold plates."""


class Switch(Spec):
    """A packet switch."""

    catalog_kind: ClassVar[str | None] = "switches"

    name: str = "unnamed switch"
    ports: PositiveInt
    port_bandwidth: PositiveBandwidth
    power: PositivePower
    """With the transceivers that it needs."""
    latency: NonNegativeDuration = 0.0
    """Through one switch."""
    in_network_reduction: bool = False
    price: NonNegativeMoney | None = None


class Fabric(Spec):
    """The scale-out network between servers."""

    catalog_kind: ClassVar[str | None] = "fabrics"

    name: str = "unnamed fabric"
    kind: Literal["ethernet", "infiniband", "none"]
    switch: Switch | None = None
    rail_optimised: bool = True
    """Whether GPU i of every server hangs on leaf i."""
    oversubscription: Annotated[float, Field(ge=1)] = 1.0
    """Ratio of bandwidth below to above the spine."""
    efficiency: Annotated[Fraction, Field(gt=0)]
    """Share of line rate that large messages reach."""
    latency: NonNegativeDuration
    """Of a small message between two servers on one leaf."""

    @model_validator(mode="after")
    def _has_switch(self) -> Self:
        if self.kind != "none" and self.switch is None:
            raise ValueError("switch must be given unless kind is 'none'")
        return self
