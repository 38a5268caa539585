"""Which software a run is trained with, where nobody says."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from opencolossus.specs import calibration as calibrations
from opencolossus.specs import catalog
from opencolossus.specs.cluster import Pool
from opencolossus.specs.software import Calibration, Software

BY_YEAR = {
    2021: "megatron-2020",
    2022: "megatron-deepspeed-2022",
    2023: "megatron-2023",
    2024: "nemo-2024",
    2025: "nemo-2025",
}
NEWEST = "bridge-2026-hopper"
NEWEST_ON_BLACKWELL = "bridge-2026"
"""Its recipes capture CUDA graphs; those for H100 do not."""
ON_AMD = "rocm-2025"


def usual(pools: Iterable[Pool], day: date | None, calibration: Calibration) -> Software:
    """What the year brought for GPUs of these kinds."""
    names = [pool.node.gpu.name for pool in pools]
    architectures = {calibrations.reach_of(calibration, name)[0] for name in names}
    found: Software = catalog.entry("software", _name(architectures, day or date.today()))
    return found


def _name(architectures: set[str], day: date) -> str:
    if architectures == {"cdna"}:
        return ON_AMD
    year = max(day.year, min(BY_YEAR))
    blackwell = all(name.startswith("blackwell") for name in architectures)
    return BY_YEAR.get(year, NEWEST_ON_BLACKWELL if blackwell else NEWEST)
