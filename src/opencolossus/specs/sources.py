"""Sources of power: grid, generators, sun, batteries; orders and outages."""

from __future__ import annotations

from datetime import date, time
from typing import Annotated, Literal, Self

from pydantic import Field, NaiveDatetime, NonNegativeInt, PositiveInt, model_validator

from opencolossus.specs.base import Spec
from opencolossus.specs.quantities import (
    Emission,
    Fraction,
    HeatRate,
    Mass,
    NonNegativeDuration,
    NonNegativeMoney,
    PositiveDuration,
    PositiveEnergy,
    PositivePower,
    PricePerEnergy,
    PricePerPower,
    Ramp,
)


class _Source(Spec):
    """What all sources of power share."""

    available: date | None = None
    """First day on which the source delivers; from the beginning if left out."""
    until: date | None = None
    """First day on which it no longer does."""
    ramp: Annotated[Ramp, Field(gt=0)] | None = None
    """Fastest change of output; unlimited if left out."""
    mtbf: PositiveDuration | None = None
    """Mean time between trips of one unit (of a grid or battery: of all of it); nothing trips by
    chance if left out."""
    mttr: PositiveDuration | None = None
    """Mean time until what tripped is back."""

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.available and self.until and self.until <= self.available:
            raise ValueError(f"until ({self.until}) must come after available ({self.available})")
        if (self.mtbf is None) != (self.mttr is None):
            missing, there = ("mttr", "mtbf") if self.mttr is None else ("mtbf", "mttr")
            raise ValueError(f"{there} needs {missing} beside it, like {missing}: 30 h")
        return self

    @property
    def units(self) -> int:
        """Parts that trip one by one."""
        return 1

    def delivers_on(self, day: date) -> bool:
        """Whether the source is there on ``day``."""
        started = self.available is None or self.available <= day
        return started and (self.until is None or day < self.until)


class Period(Spec):
    """Hours of the day with a tariff of their own."""

    tariff: Annotated[PricePerEnergy, Field(ge=0)]
    """Per unit of energy."""
    start: time
    """Local time, on the hour."""
    end: time
    """First hour that is no longer in it; before ``start``, it is the next day's."""
    days: Literal["all", "weekdays", "weekends"] = "all"
    """By the day on which the hour lies."""

    @model_validator(mode="after")
    def _whole_hours(self) -> Self:
        for name, moment in (("start", self.start), ("end", self.end)):
            if moment != time(moment.hour):
                raise ValueError(f"{name} ({moment:%H:%M}) must be on the hour, like 22:00")
        return self


class Grid(_Source):
    """A contract with the utility, or a substation with its own."""

    kind: Literal["grid"]
    limit: PositivePower
    tariff: Annotated[PricePerEnergy, Field(ge=0)]
    """Per unit of energy."""
    periods: tuple[Period, ...] = ()
    """Hours with another tariff (nights, peaks); where two meet, the later one counts."""
    demand_charge: Annotated[PricePerPower, Field(ge=0)] = 0.0
    """Per month, for the highest power of the month."""
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
    standby: NonNegativeInt = 0
    """Units that no plan counts on, ready to replace one that trips: 1 is N+1."""
    start_time: NonNegativeDuration = 0.0
    """From the order to start until the unit can take load."""
    min_load: Fraction = 0.0
    """Share of its rating below which a unit must not run."""
    black_start: bool | None = None
    """Whether it starts on a dark site; gensets do, turbines do not, if left out."""
    rent: NonNegativeMoney = 0.0
    """Per unit and day."""
    maintenance: Annotated[PricePerEnergy, Field(ge=0)] = 0.0
    """Parts and service per unit of electricity."""
    permit: Permit | None = None

    @model_validator(mode="after")
    def _something_is_counted_on(self) -> Self:
        if self.standby >= self.count:
            raise ValueError(f"standby ({self.standby}) must be less than count ({self.count})")
        return self

    @property
    def units(self) -> int:
        """Parts that trip one by one."""
        return self.count

    @property
    def starts_dark(self) -> bool:
        """Whether a unit starts while the site has no power."""
        return self.kind == "gensets" if self.black_start is None else self.black_start

    @property
    def limit(self) -> float:
        """Power of the units that can be counted on, in W."""
        return (self.count - self.standby) * self.unit

    @property
    def unit(self) -> float:
        """Power of one unit, its share of unavailable time taken off, in W."""
        return self.rating * self.availability


class Solar(_Source):
    """Panels on the site; what the sun gives comes first and costs nothing more."""

    kind: Literal["solar"]
    rating: PositivePower
    """Under full sun."""
    latitude: Annotated[float, Field(ge=-66, le=66)]
    """Degrees, south negative."""
    full_hours: PositiveDuration
    """Hours of full sun in a mean year that would give as much as the year does: kWh per kW."""
    carbon: Annotated[Emission, Field(ge=0)] = 0.0
    """CO2 per unit of electricity."""

    @model_validator(mode="after")
    def _the_sun_also_sets(self) -> Self:
        if self.full_hours > 3500 * 3600.0:
            raise ValueError(
                f"full_hours ({self.full_hours / 3600:g} h) must be those of a year, 3,500 h at "
                f"most; Germany has 1,000 h, Arizona 2,000"
            )
        return self

    @property
    def limit(self) -> float:
        """Most that the panels give, in W."""
        return self.rating


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


PowerSource = Annotated[Grid | Generators | Solar | Battery, Field(discriminator="kind")]


class Order(Spec):
    """The utility asks for less, for some hours (demand response)."""

    start: NaiveDatetime
    """Local time."""
    duration: PositiveDuration
    reduction: Annotated[Fraction, Field(gt=0)]
    """Share to give back."""
    of: Literal["contract", "draw"] = "contract"
    """Of the contract, whatever is drawn (a firm level); or of what the site draws while it works
    (a customer's baseline)."""
    source: str | None = None
    """The grid that asks; all of them if left out."""
    notice: NonNegativeDuration = 0.0
    """Time from the call until the order is in force; TVA offers contracts of 5 and 30 min."""


class Outage(Spec):
    """A source fails at once, without notice."""

    source: str
    start: NaiveDatetime
    """Local time."""
    duration: PositiveDuration
