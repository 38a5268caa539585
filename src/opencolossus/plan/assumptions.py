"""What a plan leans on that nobody measured."""

from __future__ import annotations

from opencolossus.plan import here, mode
from opencolossus.plan.pricing import HEADROOM, IMBALANCE, Pricing
from opencolossus.power.caps import ASSUMED as POWER_ASSUMED
from opencolossus.specs import calibration as calibrations
from opencolossus.specs import catalog
from opencolossus.specs.document import Description
from opencolossus.specs.evidence import Evidence, Fact
from opencolossus.specs.hardware import is_cpu
from opencolossus.specs.software import Calibration, Software


def assumptions(
    description: Description,
    pricing: Pricing,
    calibration: Calibration,
    facts: dict[str, Fact],
) -> tuple[str, ...]:
    """What the plan leans on that nobody measured."""
    gpu = pricing.pool.node.gpu.name
    found = list(POWER_ASSUMED.values()) if description.site else []
    _, _, known = calibrations.reach_of(calibration, gpu)
    if not known:
        found.append(f"no training run on {gpu} was ever measured: it is priced like an H100")
    if description.model.experts:
        found.append(
            f"the fullest expert rank gets {IMBALANCE:g} times the mean (routing imbalance)"
        )
    if is_cpu(gpu):
        found.append(f"a core of this machine draws {here.WATTS_PER_CORE:g} W at work")
    found += _of_the_trainer(pricing)
    found.append(
        f"{1 - HEADROOM:.0%} of {'CPU' if is_cpu(gpu) else 'GPU'} memory is lost to fragmentation"
    )
    if pricing.cluster.failures is None and description.site is not None:
        found.append("failures and restarts come as in Llama 3's cluster of 2024")
    for path, fact in sorted(facts.items()):
        if fact.evidence is Evidence.ASSUMED and _matters(path):
            note = f" ({fact.note})" if fact.note else ""
            found.append(f"{path} = {fact.value}{note}")
    return tuple(found)


def _of_the_trainer(pricing: Pricing) -> list[str]:
    """Modes of our own trainer whose constants no run was fitted to, or a single one."""
    software = pricing.software
    if pricing.cluster.name != here.NAME:
        return []
    if not is_cpu(pricing.pool.node.gpu.name):
        return [f"our trainer was not measured on GPUs: it is priced as {software.name}"]
    blocks: Software = catalog.entry("software", mode.ON_CPU["blocks"])
    thin = software.era.startswith(blocks.era)
    return [f"{software.name}: fitted to a single run"] if thin else []


def _matters(path: str) -> bool:
    """Whether a planned number depends on a field."""
    ignored = ("price", "acceptance", "halls", "area", "infant", "ramp", "rent", "nox")
    return not any(word in path for word in ignored)
