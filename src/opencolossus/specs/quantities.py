"""The field types of specs: annotated floats that people write with units and code reads in SI.

From Python a bare float is SI. In a file a bare number is refused where a unit is needed, because
``limit: 43`` could mean anything; the file loader asks for that with the validation context
``{"units_required": True}``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from opencolossus.specs import units
from opencolossus.specs.units import Dimension
from opencolossus.specs.written import UnitError, article, parse


@dataclass(frozen=True)
class Quantity:
    """Marks a float field as a quantity of one dimension."""

    dimension: Dimension

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_before_validator_function(self._convert, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        text = {
            "type": "string",
            "description": article(self.dimension.name),
            "examples": [self.dimension.example],
        }
        return {"anyOf": [text, {"type": "number"}]} if self.dimension.bare else text

    def _convert(self, value: Any, info: ValidationInfo) -> float:
        if isinstance(value, str):
            try:
                value = parse(value, self.dimension)
            except UnitError as error:
                raise self._refused(str(error)) from None
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise self._refused(f"{value!r} is not {article(self.dimension.name)}")
        elif info.context and info.context.get("units_required") and not self._clear(value):
            raise self._refused(f"{value:g} has no unit")
        if not math.isfinite(value):
            raise self._refused(f"{value} is not a finite {self.dimension.name}")
        return float(value)

    def _clear(self, value: float) -> bool:
        return self.dimension.bare or value == 0

    def _refused(self, why: str) -> PydanticCustomError:
        hint = f"; write it like {self.dimension.example!r}"
        return PydanticCustomError("quantity", "{why}", {"why": why if hint in why else why + hint})


Power = Annotated[float, Quantity(units.POWER)]
Energy = Annotated[float, Quantity(units.ENERGY)]
Size = Annotated[float, Quantity(units.SIZE)]
Bandwidth = Annotated[float, Quantity(units.BANDWIDTH)]
Duration = Annotated[float, Quantity(units.DURATION)]
Frequency = Annotated[float, Quantity(units.FREQUENCY)]
FlopRate = Annotated[float, Quantity(units.FLOPS)]
Count = Annotated[float, Quantity(units.COUNT)]
Money = Annotated[float, Quantity(units.MONEY)]
PricePerEnergy = Annotated[float, Quantity(units.PRICE_PER_ENERGY)]
PricePerPower = Annotated[float, Quantity(units.PRICE_PER_POWER)]
PricePerTime = Annotated[float, Quantity(units.PRICE_PER_TIME)]
PricePerVolume = Annotated[float, Quantity(units.PRICE_PER_VOLUME)]
Fraction = Annotated[float, Quantity(units.FRACTION), Field(ge=0, le=1)]
Ratio = Annotated[float, Quantity(units.FRACTION), Field(ge=0)]
Temperature = Annotated[float, Quantity(units.TEMPERATURE), Field(ge=-273.15)]
Mass = Annotated[float, Quantity(units.MASS)]
Emission = Annotated[float, Quantity(units.EMISSION)]
Volume = Annotated[float, Quantity(units.VOLUME)]
Flow = Annotated[float, Quantity(units.FLOW)]
WaterUse = Annotated[float, Quantity(units.WATER_USE)]
Ramp = Annotated[float, Quantity(units.RAMP)]
HeatRate = Annotated[float, Quantity(units.HEAT_RATE)]
Length = Annotated[float, Quantity(units.LENGTH)]
Area = Annotated[float, Quantity(units.AREA)]
Rate = Annotated[float, Quantity(units.RATE)]

PositivePower = Annotated[Power, Field(gt=0)]
PositiveSize = Annotated[Size, Field(gt=0)]
PositiveBandwidth = Annotated[Bandwidth, Field(gt=0)]
PositiveDuration = Annotated[Duration, Field(gt=0)]
PositiveFlopRate = Annotated[FlopRate, Field(gt=0)]
PositiveEnergy = Annotated[Energy, Field(gt=0)]
PositiveCount = Annotated[Count, Field(gt=0)]
NonNegativePower = Annotated[Power, Field(ge=0)]
NonNegativeMoney = Annotated[Money, Field(ge=0)]
NonNegativeDuration = Annotated[Duration, Field(ge=0)]
