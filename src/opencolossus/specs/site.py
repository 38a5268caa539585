"""The place: power by date, cooling, weather, halls, prices."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from opencolossus.specs.base import Spec
from opencolossus.specs.quantities import (
    Area,
    Emission,
    Fraction,
    HeatRate,
    Mass,
    NonNegativeDuration,
    NonNegativeMoney,
    NonNegativePower,
    PositiveDuration,
    PositiveEnergy,
    PositivePower,
    PricePerEnergy,
    PricePerVolume,
    Ramp,
    Ratio,
    Temperature,
    WaterUse,
)


class _Source(Spec):
    """What all sources of power share."""

    available: date | None = None
    """First day on which the source delivers; from the beginning if left out."""
    until: date | None = None
    """First day on which it no longer does."""
    ramp: Annotated[Ramp, Field(gt=0)] | None = None
    """Fastest change of output; unlimited if left out."""

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.available and self.until and self.until <= self.available:
            raise ValueError(f"until ({self.until}) must come after available ({self.available})")
        return self

    def delivers_on(self, day: date) -> bool:
        """Whether the source is there on ``day``."""
        started = self.available is None or self.available <= day
        return started and (self.until is None or day < self.until)


class Grid(_Source):
    """A contract with the utility, or a substation with its own."""

    kind: Literal["grid"]
    limit: PositivePower
    tariff: Annotated[PricePerEnergy, Field(ge=0)]
    carbon: Annotated[Emission, Field(ge=0)]
    """CO2 per unit of energy drawn."""


class Permit(Spec):
    """The most that the law lets a plant emit in any twelve months."""

    nox: Annotated[Mass, Field(gt=0)]
    used: Annotated[Mass, Field(ge=0)] = 0.0
    """Emitted in the twelve months before the simulation, evenly."""


class Generators(_Source):
    """Engines or turbines that burn gas on the site."""

    kind: Literal["gensets", "turbines"]
    count: PositiveInt
    rating: PositivePower
    """Of one unit."""
    heat_rate: Annotated[HeatRate, Field(gt=1)]
    """Heat of the fuel (higher heating value) per unit of electricity."""
    fuel_price: Annotated[PricePerEnergy, Field(ge=0)]
    """Per unit of heat."""
    carbon: Annotated[Emission, Field(ge=0)]
    """CO2 per unit of electricity."""
    nox: Annotated[Emission, Field(ge=0)] = 0.0
    """NOx per unit of electricity."""
    availability: Annotated[Fraction, Field(gt=0)] = 1.0
    """Share of units that are able to run at any time."""
    start_time: NonNegativeDuration = 0.0
    rent: NonNegativeMoney = 0.0
    """Per unit and day."""
    permit: Permit | None = None

    @property
    def limit(self) -> float:
        """Power of the units that can be expected to run, in W."""
        return self.count * self.rating * self.availability


class Battery(_Source):
    """Storage that carries peaks and swings; it gives no energy of its own."""

    kind: Literal["battery"]
    energy: PositiveEnergy
    limit: PositivePower
    """Highest power in or out."""
    efficiency: Annotated[Fraction, Field(gt=0)] = 0.9
    """Energy out per energy in, there and back."""
    charge: Fraction = 1.0
    """Share of the energy stored at the start."""


PowerSource = Annotated[Grid | Generators | Battery, Field(discriminator="kind")]


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
    """Water evaporated and blown down per unit of heat rejected in towers."""
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


class Order(Spec):
    """The utility asks for less, for some hours (demand response)."""

    start: datetime
    """Local time."""
    duration: PositiveDuration
    reduction: Annotated[Fraction, Field(gt=0)]
    """Share of the contract to give back."""
    source: str | None = None
    """The grid that asks; all of them if left out."""


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
    """Sources by name; cheaper ones are used first."""
    cooling: Cooling
    climate: Climate
    halls: Hall | None = None
    area: Annotated[Area, Field(gt=0)] | None = None
    water_price: Annotated[PricePerVolume, Field(ge=0)] = 0.0
    orders: tuple[Order, ...] = ()
    heat_waves: tuple[HeatWave, ...] = ()

    @model_validator(mode="after")
    def _something_generates(self) -> Self:
        if all(isinstance(source, Battery) for source in self.power.values()):
            raise ValueError(
                "power has only batteries; add a grid, gensets or turbines to charge them"
            )
        for name, source in self.power.items():
            if isinstance(source, Battery) and not self._can_charge(source):
                raise ValueError(
                    f"power.{name} has no way to charge: no grid, gensets or turbines deliver "
                    f"while it is there"
                )
        return self

    @model_validator(mode="after")
    def _orders_name_a_grid(self) -> Self:
        grids = [name for name, source in self.power.items() if isinstance(source, Grid)]
        for order in self.orders:
            if not grids or (order.source is not None and order.source not in grids):
                known = ", ".join(grids) or "none"
                raise ValueError(f"order names source {order.source!r}; grids of the site: {known}")
        return self

    def _can_charge(self, battery: Battery) -> bool:
        first, last = battery.available or date.min, battery.until or date.max
        return any(
            (source.available or date.min) < last and first < (source.until or date.max)
            for source in self.power.values()
            if not isinstance(source, Battery)
        )

    def power_limit(self, day: date) -> float:
        """Power that all sources but batteries can give on ``day``, in W."""
        return sum(
            source.limit
            for source in self.power.values()
            if not isinstance(source, Battery) and source.delivers_on(day)
        )
