"""Published measurements as arrays that the step law prices in one call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.plan import machines, rows
from opencolossus.plan.resolve import resolved as resolve_row
from opencolossus.plan.rows import Row, Rules, UnusableError
from opencolossus.specs import calibration as calibrations
from opencolossus.specs.software import Calibration, Software
from opencolossus.step import law
from opencolossus.step import memory as memories
from opencolossus.step.columns import Array
from opencolossus.step.layouts import FULL, NONE, SELECTIVE, Layouts
from opencolossus.step.machine import Code, Machine
from opencolossus.step.shape import Shape


@dataclass(frozen=True)
class Measured:
    """Rows that can be priced, in the order of the table."""

    keys: tuple[str, ...]
    sources: tuple[str, ...]
    models: tuple[str, ...]
    architectures: tuple[str, ...]
    eras: tuple[str, ...]
    fabrics: tuple[str, ...]
    precisions: tuple[str, ...]
    micro_scaled: NDArray[np.bool_]
    told_recompute: NDArray[np.bool_]
    seconds: Array
    shape: Shape
    layouts: Layouts
    base_machine: Machine
    base_code: Code
    software: tuple[Software, ...]
    unusable: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.keys)

    def families(self) -> tuple[str, ...]:
        """The collection that each row belongs to: the prefix of its identifier."""
        return tuple(re.sub(r"-?\d+$", "", key) for key in self.keys)

    def machine(self, calibration: Calibration) -> Machine:
        """The machines, with the constants of ``calibration``."""
        reach = [
            calibration.gpus.get(name, calibration.gpus["hopper"]) for name in self.architectures
        ]
        low = [
            {"16": r.matrix16, "8": r.matrix8, "4": r.matrix4}[machines.KINDS[p]]
            for r, p in zip(reach, self.precisions, strict=True)
        ]
        shares = np.array([calibration.fabrics.get(kind, 1.0) for kind in self.fabrics])
        return replace(
            self.base_machine,
            matrix16=np.array([r.matrix16 for r in reach]),
            older=np.array([r.older for r in reach]),
            matrix=np.array(low),
            reach=np.array([r.memory for r in reach]),
            nic=self.base_machine.nic * shares,
            link_reach=np.full(len(self), calibration.link),
        )

    def code(self, calibration: Calibration) -> Code:
        """The software, with the constants of ``calibration``."""
        eras = [calibration.eras[name] for name in self.eras]
        scale = np.where(self.micro_scaled, calibration.micro_scaling, 1.0)
        overlap = np.array([float(s.overlap_tensor) for s in self.software])
        values = {
            name: np.array([getattr(era, name) for era in eras])
            for name in (
                "elementwise",
                "routing",
                "cast",
                "gap",
                "expert_gap",
                "attention",
                "tensor_overlap",
                "expert_overlap",
                "dispatch",
                "gather",
                "step_gap",
            )
        }
        values["cast"] = values["cast"] * scale
        values["tensor_overlap"] = values["tensor_overlap"] * overlap
        return replace(self.base_code, jitter=np.full(len(self), calibration.jitter), **values)

    def predict(self, calibration: Calibration) -> law.Cost:
        """Price every row."""
        machine, code = self.machine(calibration), self.code(calibration)
        one = law.layer_costs(self.shape, machine, code, self.layouts)
        return law.cost(self.shape, machine, code, self.layouts, one)

    def memory(self, calibration: Calibration) -> memories.Memory:
        """Bytes per GPU of every row."""
        return memories.memory(
            self.shape, self.machine(calibration), self.code(calibration), self.layouts
        )


def load(table: Path, rules: Path, calibration: Calibration | None = None) -> Measured:
    """Read a table and keep the rows that say enough.

    Raises:
        UserError: a file cannot be read.
    """
    known = rows.read_rules(rules)
    return resolve(rows.read_table(table), known, calibration or calibrations.shipped())


def resolve(table: Sequence[Row], rules: Rules, calibration: Calibration) -> Measured:
    """Turn rows into arrays; rows that lack something are listed in ``unusable``."""
    found: list[dict[str, Any]] = []
    left: list[tuple[str, str]] = []
    for row in table:
        try:
            found.append(resolve_row(row, rules, calibration))
        except UnusableError as why:
            left.append((row.key, str(why)))
    measured = _stack(found, left)
    return _fill_recompute(measured, calibration)


def _stack(found: list[dict[str, Any]], left: list[tuple[str, str]]) -> Measured:
    def column(name: str) -> tuple[Any, ...]:
        return tuple(item[name] for item in found)

    return Measured(
        keys=column("key"),
        sources=column("source"),
        models=column("model"),
        architectures=column("architecture"),
        eras=tuple(item["software"].era for item in found),
        fabrics=column("fabric"),
        precisions=column("precision"),
        micro_scaled=np.array(column("micro_scaled"), dtype=bool),
        told_recompute=np.array(column("told"), dtype=bool),
        seconds=np.array(column("seconds")),
        shape=Shape.stack(column("shape")),
        layouts=Layouts.stack(column("layouts")),
        base_machine=Machine.stack(column("machine")),
        base_code=Code.stack(column("code")),
        software=column("software"),
        unusable=tuple(left),
    )


def _fill_recompute(measured: Measured, calibration: Calibration) -> Measured:
    """Where a row does not say what is recomputed: the least with which it fits in memory.

    First some layers selectively, then all of them, then some fully, then all of them.
    """
    told, layouts = measured.told_recompute, measured.layouts
    limit = measured.base_machine.memory

    def used(stage: float) -> Array:
        tried = replace(layouts, recompute=np.full(len(measured), stage))
        return replace(measured, layouts=tried).memory(calibration).total

    none, selective, full = used(NONE), used(SELECTIVE), used(FULL)
    # frozen layers need none of their inputs kept, which is most of the memory
    lean = (none <= limit) | (measured.shape.trained < 1)
    stage = np.where(lean, NONE, np.where(selective <= limit, SELECTIVE, FULL))
    high = np.where(stage == SELECTIVE, selective, full)
    share = np.clip((none - limit) / np.maximum(none - high, 1.0), 0.0, 1.0)
    share = np.where(stage == NONE, 1.0, share)
    filled = replace(
        layouts,
        recompute=np.where(told, layouts.recompute, stage),
        recompute_share=np.where(told, 1.0, share),
    )
    return replace(measured, layouts=filled)
