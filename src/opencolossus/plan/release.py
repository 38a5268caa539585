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
NEWEST = "bridge-2026-eager"
NEWEST_ON_BLACKWELL = "bridge-2026"
"""Its recipes capture CUDA graphs; those for H100 do not."""
ON_AMD = "rocm-2025"


def usual(pools: Iterable[Pool], day: date | None, calibration: Calibration) -> Software:
    """What the year brought for the kind of GPU that most of the work is done on."""
    main = max(pools, key=lambda pool: pool.gpus * max(pool.node.gpu.flops.values()))
    architecture, _, _ = calibrations.reach_of(calibration, main.node.gpu.name)
    found: Software = catalog.entry("software", _name(architecture, day or date.today()))
    return found


def _name(architecture: str, day: date) -> str:
    if architecture == "cdna":
        return ON_AMD
    newest = NEWEST_ON_BLACKWELL if architecture.startswith("blackwell") else NEWEST
    return BY_YEAR.get(max(day.year, min(BY_YEAR)), newest)
