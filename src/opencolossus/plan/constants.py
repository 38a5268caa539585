"""The fitted constants: which there are, what they mean, and which rows each holds for.

Each belongs to a GPU architecture, a kind of network or a generation of software, never to a row,
a model or a source. It has a range, and a prior that would be believed without any measurement.
What could be read off a data sheet or a published measurement is not here: bus bandwidths on
NVLink and InfiniBand, what streaming kernels reach, the rates of attention kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.plan.measured import Measured
from opencolossus.specs.software import Calibration
from opencolossus.step.columns import Array


@dataclass(frozen=True)
class Kind:
    """What a constant means: its prior and how firmly it is believed, its range, its unit."""

    prior: float
    low: float
    high: float
    unit: str
    meaning: str
    spread: float = 0.35
    """Standard deviation of the logarithm around the prior."""


@dataclass(frozen=True)
class Constant:
    """One fitted number: where it stands in a calibration, and its kind."""

    path: tuple[str, ...]
    kind: Kind

    @property
    def name(self) -> str:
        """The column of constants by row that it fills."""
        return "fabric" if self.path[0] == "fabrics" else self.path[-1]

    @property
    def owner(self) -> str:
        """The part or the generations of software that it belongs to."""
        if len(self.path) < 2:
            return "everything"
        named = any(GROUPS[self.path[2]]) if self.path[1] == OTHERS else False
        others = "all other software" if named else "all software"
        return others if self.path[1] == OTHERS else self.path[1].replace("+", ", ")


def _of_peak(prior: float, low: float, high: float, what: str) -> Kind:
    return Kind(prior, low, high, "of the data sheet's peak", f"large {what} products, sustained")


KINDS = {
    "matrix16": _of_peak(0.72, 0.4, 0.85, "16-bit"),
    "matrix8": _of_peak(0.62, 0.3, 0.9, "8-bit"),
    "matrix4": _of_peak(0.5, 0.2, 0.9, "4-bit"),
    "fabric": Kind(0.9, 0.3, 1.05, "of the line rate", "what collectives reach on the network"),
    "jitter": Kind(0.008, 1e-3, 0.02, "of a step", "spread of one rank's step time"),
    "dispatch": Kind(0.85, 0.2, 1.0, "of the network", "all-to-all between servers"),
    "tensor_overlap": Kind(
        0.5, 0.02, 0.95, "share", "tensor-parallel messages hidden under products"
    ),
    "step_gap": Kind(0.02, 1e-3, 0.5, "s a step", "clipping, data, logging"),
    "expert_gap": Kind(5e-4, 1e-6, 5e-3, "s a layer and pass", "host work more where experts are"),
    "routing": Kind(2.0, 1.0, 12.0, "of the least traffic", "sorting tokens by expert"),
    "elementwise": Kind(
        1.6, 1.0, 5.0, "of the least traffic", "norms, activation functions and residuals"
    ),
    "gap": Kind(2e-4, 1e-6, 3e-3, "s a layer and pass", "waiting for kernels to start"),
}
"""Kinds of constants; attention from FlashAttention-2 and -3 (Dao 2023; Shah et al. 2024)."""
KNOWN_FABRICS = {"infiniband", "ethernet"}
"""Networks whose bandwidth under NCCL is published: 46-49 GB/s of a 400 Gbit/s port."""
KNOWN_GPUS = {("ada", "matrix16"), ("ada", "matrix8"), ("cdna", "matrix16")}
"""Parts of the peak that are published: 252 of 362 TFLOP/s on L40S and 758 of 1,307 on MI300X
are the most that any shape of a product reached (github.com/mag-/gpu_benchmark, 2024)."""
OTHERS = "*"
ALONE = tuple(
    f"torch-cpu{mode}{kind}" for mode in ("", "-eager", "-blocks") for kind in ("", "-amx", "-32")
)
"""Generations of software that share nothing: a CPU is another thing."""
GROUPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "dispatch": (),
    "tensor_overlap": (),
    "step_gap": (),
    "expert_gap": (),
    "routing": (("bridge-2026",),),
    "elementwise": (("fused-2023", "xla-2025"),),
    "gap": (("eager-2022",),),
}
"""Generations of software that share a constant; all others share one too. In 2026 tokens
are sorted in fused kernels; what is compiled or captured (``Software.compiled``) has no gaps."""


def constants(measured: Measured) -> list[Constant]:
    """The constants that these rows can tell something about."""
    found = [Constant(("jitter",), KINDS["jitter"])]
    kinds = set(zip(measured.architectures, measured.precisions, strict=True))
    for architecture in sorted(set(measured.architectures)):
        names = ["matrix16"]
        names += ["matrix8"] if (architecture, "fp8") in kinds else []
        names += ["matrix4"] if (architecture, "fp4") in kinds else []
        open_ones = [name for name in names if (architecture, name) not in KNOWN_GPUS]
        found += [Constant(("gpus", architecture, name), KINDS[name]) for name in open_ones]
    for kind in sorted(set(measured.fabrics) - KNOWN_FABRICS):
        found.append(Constant(("fabrics", kind), KINDS["fabric"]))
    for name, groups in GROUPS.items():
        eras = _eras(measured, name)
        found += [
            Constant(("eras", "+".join(group), name), KINDS[name])
            for group in groups
            if eras & set(group)
        ]
        if eras - _apart(name):
            found.append(Constant(("eras", OTHERS, name), KINDS[name]))
    return found


def _apart(name: str) -> set[str]:
    """Generations of software that do not share the common value of a constant."""
    return {era for group in GROUPS[name] for era in group} | set(ALONE)


def _eras(measured: Measured, name: str) -> set[str]:
    """Generations of software whose rows depend on a constant."""
    code = measured.base_code
    uses = {
        "attention": np.asarray(code.flash) > 0,
        "gap": np.asarray(code.compiled) < 1,
        "step_gap": np.asarray(code.captured) < 1,
    }
    of_experts = name in ("dispatch", "expert_gap", "routing")
    rows = np.asarray(measured.shape.experts) > 0 if of_experts else uses.get(name)
    eras = np.array(measured.eras)
    return set(eras if rows is None else eras[rows])


def holds_for(constant: Constant, measured: Measured) -> NDArray[np.bool_]:
    """Which rows a constant holds for."""
    owners = {"gpus": measured.architectures, "fabrics": measured.fabrics, "eras": measured.eras}
    if constant.path[0] not in owners:
        return np.ones(len(measured), dtype=bool)
    if constant.path[1] == OTHERS:
        return ~np.isin(measured.eras, list(_apart(constant.path[2])))
    return np.isin(owners[constant.path[0]], constant.path[1].split("+"))


def with_values(base: Calibration, known: Sequence[Constant], values: Array) -> Calibration:
    """A calibration with the constants ``known`` set to ``values``."""
    data: dict[str, Any] = base.model_dump()
    for constant, value in zip(known, values, strict=True):
        for place in _places(data, constant):
            place[constant.path[-1]] = float(value)
    return Calibration.model_validate(data)


def value_of(base: Calibration, constant: Constant) -> float:
    """The value of a constant in a calibration."""
    return float(_places(base.model_dump(), constant)[0][constant.path[-1]])


def _places(data: dict[str, Any], constant: Constant) -> list[dict[str, Any]]:
    """The tables that hold a constant."""
    tables = [data]
    for step in constant.path[:-1]:
        if step == OTHERS:
            apart = _apart(constant.path[-1])
            tables = [t for table in tables for name, t in table.items() if name not in apart]
        else:
            tables = [table[name] for table in tables for name in step.split("+")]
    return tables
