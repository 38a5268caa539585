"""The place: power by date, cooling, weather, halls, prices."""

from __future__ import annotations

from datetime import date
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from opencolossus.specs.base import Spec
from opencolossus.specs.quantities import (
    Area,
    Fraction,
    NonNegativePower,
    PricePerVolume,
    Ratio,
    Temperature,
    WaterUse,
)
from opencolossus.specs.sources import Battery, Grid, Order, Outage, PowerSource, Solar


class Month(Spec):
    """Weather of one month: means, with the daily swing."""

    dry_bulb: Temperature
    """Mean air temperature."""
    wet_bulb: Temperature
    """Mean wet-bulb temperature."""
    swing: Annotated[float, Field(ge=0)]
    """Difference between the mean daily maximum and minimum air temperature, in K."""

    @model_validator(mode="after")
    def _wet_below_dry(self) -> Self:
        if self.wet_bulb > self.dry_bulb:
            raise ValueError(
                f"wet_bulb ({self.wet_bulb:g}) must not exceed dry_bulb ({self.dry_bulb:g})"
            )
        return self


class Climate(Spec):
    """The weather of a typical year."""

    catalog_kind: ClassVar[str | None] = "climates"

    name: str = "unnamed climate"
    months: tuple[Month, ...] = Field(min_length=12, max_length=12)
    """January to December."""


class Cooling(Spec):
    """How heat leaves the halls."""

    catalog_kind: ClassVar[str | None] = "coolings"

    name: str = "unnamed cooling"
    liquid_share: Fraction
    """Share of the heat that cold plates take; the rest goes to air."""
    supply_temperature: Temperature
    """Of the facility water."""
    tower_approach: Annotated[float, Field(gt=0)]
    """Cooling water above the wet bulb, in K."""
    exchanger_approach: Annotated[float, Field(gt=0)]
    """Facility water above the cooling water, in K."""
    chiller_cop: Annotated[float, Field(gt=1)]
    """Heat moved per work when chillers run."""
    pump_share: Ratio
    """Pump power per heat moved by water."""
    fan_share: Ratio
    """Fan power of towers and air handlers per heat moved."""
    loss_share: Ratio = 0.0
    """Transformers, UPS, lights: power lost per IT power."""
    water_use: Annotated[WaterUse, Field(ge=0)] = 0.0
    """Water evaporated and blown down per unit of heat rejected in towers, in weather in which 85 %
    of the heat evaporates."""
    heat_sink: Literal["towers", "dry"] = "towers"
    """``dry``: coolers against the dry bulb, which evaporate nothing."""
    air_supply_temperature: Temperature = 20.0
    """Of the water that cools the air (rear doors, air handlers)."""
    chiller_limit: NonNegativePower | None = None
    """Heat that all chillers together can move; as much as needed if left out."""
    loop_rise: Annotated[float, Field(gt=0)] = 10.0
    """Facility water returning above the water supplied, in K."""
    throttle_temperature: Temperature = 45.0
    """Supply water above which GPUs must slow down."""
    throttle_per_kelvin: Fraction = 0.02
    """Clock that GPUs give up per K above that."""
    recycled_share: Fraction = 0.0
    """Share of the water that is reclaimed waste water, not drinking water."""


class HeatWave(Spec):
    """Days that are warmer than the climate's."""

    start: date
    days: Annotated[float, Field(gt=0)]
    dry_bulb: Annotated[float, Field(ge=0)]
    """Warmer air, in K."""
    wet_bulb: Annotated[float, Field(ge=0)] = 0.0
    """Rise of the wet bulb, in K."""


class Hall(Spec):
    """Rooms with GPUs."""

    count: PositiveInt = 1
    gpus: PositiveInt
    """Places in one hall."""


class Site(Spec):
    """Where the cluster stands."""

    catalog_kind: ClassVar[str | None] = "sites"

    name: str = "unnamed site"
    power: dict[str, PowerSource] = Field(min_length=1)
    """Sources by name."""
    dispatch: Literal["cost", "grid-first", "own-first"] = "cost"
    """Who delivers first: the cheapest (tariff, or fuel and maintenance), the grid, the site's own
    plants; the cheaper of each kind first."""
    cooling: Cooling
    climate: Climate
    halls: Hall | None = None
    area: Annotated[Area, Field(gt=0)] | None = None
    water_price: Annotated[PricePerVolume, Field(ge=0)] = 0.0
    orders: tuple[Order, ...] = ()
    outages: tuple[Outage, ...] = ()
    heat_waves: tuple[HeatWave, ...] = ()

    @model_validator(mode="after")
    def _something_generates(self) -> Self:
        if all(isinstance(source, Battery | Solar) for source in self.power.values()):
            raise ValueError(
                "power has nothing that also delivers at night; add a grid, gensets or turbines"
                if any(isinstance(source, Solar) for source in self.power.values())
                else "power has only batteries; add a grid, gensets or turbines to charge them"
            )
        for name, source in self.power.items():
            if isinstance(source, Battery) and not self._can_charge(source):
                raise ValueError(
                    f"power.{name} has no way to charge: no grid, gensets or turbines deliver "
                    f"while it is there"
                )
        return self

    @model_validator(mode="after")
    def _orders_and_outages_name_sources(self) -> Self:
        grids = [name for name, source in self.power.items() if isinstance(source, Grid)]
        for order in self.orders:
            if not grids or (order.source is not None and order.source not in grids):
                known = ", ".join(grids) or "none"
                raise ValueError(f"order names source {order.source!r}; grids of the site: {known}")
        for outage in self.outages:
            if outage.source not in self.power:
                known = ", ".join(self.power)
                raise ValueError(f"outage names source {outage.source!r}; sources: {known}")
        return self

    def _can_charge(self, battery: Battery) -> bool:
        first, last = battery.available or date.min, battery.until or date.max
        return any(
            (source.available or date.min) < last and first < (source.until or date.max)
            for source in self.power.values()
            if not isinstance(source, Battery)
        )

    def power_limit(self, day: date) -> float:
        """Power in W that can be counted on all ``day``: of all sources but sun and batteries."""
        return sum(
            source.limit
            for source in self.power.values()
            if not isinstance(source, Battery | Solar) and source.delivers_on(day)
        )
