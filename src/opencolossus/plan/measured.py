"""Published measurements as arrays that the step law prices in one call."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.plan import machines, rows
from opencolossus.plan.resolve import resolved as resolve_row
from opencolossus.plan.rows import Row, Rules, UnusableError
from opencolossus.specs import calibration as calibrations
from opencolossus.specs.software import Calibration, Era, Software
from opencolossus.step import law
from opencolossus.step import memory as memories
from opencolossus.step.columns import Array, Columns
from opencolossus.step.layouts import FULL, NONE, SELECTIVE, Layouts
from opencolossus.step.machine import Code, Machine
from opencolossus.step.shape import Shape

GPU_VALUES = (
    "matrix16",
    "matrix8",
    "matrix4",
    "memory",
    "flash1",
    "flash2",
    "flash3",
    "attention_start",
)
ERA_VALUES = tuple(
    name for name in Era.model_fields if name in {field.name for field in fields(Code)}
)


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
    told_recompute: NDArray[np.bool_]
    seconds: Array
    metrics: tuple[str, ...]
    told_bytes: Array
    """Of rows that tell of memory."""
    shape: Shape
    layouts: Layouts
    base_machine: Machine
    base_code: Code
    overlap_tensor: Array
    software: tuple[Software, ...]
    unusable: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.keys)

    def families(self) -> tuple[str, ...]:
        """The collection that each row belongs to: the prefix of its identifier."""
        return tuple(re.sub(r"-?\d+$", "", key) for key in self.keys)

    def take(self, index: NDArray[np.intp]) -> Measured:
        """The rows at ``index``, which may name a row more than once."""
        changes: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "unusable":
                continue
            if isinstance(value, tuple):
                changes[field.name] = tuple(value[i] for i in index)
            elif isinstance(value, Columns):
                changes[field.name] = value.take(index)
            else:
                changes[field.name] = value[index]
        return replace(self, **changes)

    def values(self, calibration: Calibration) -> dict[str, Array]:
        """The calibrated constants that hold for each row, by name."""
        reach = [
            calibration.gpus.get(name, calibration.gpus["hopper"]) for name in self.architectures
        ]
        eras = [calibration.eras[name] for name in self.eras]
        found = {
            name: np.array(
                [r.matrix16 if getattr(r, name) is None else getattr(r, name) for r in reach]
            )
            for name in GPU_VALUES
        }
        found |= {name: np.array([getattr(era, name) for era in eras]) for name in ERA_VALUES}
        found["fabric"] = np.array([calibration.fabrics.get(kind, 1.0) for kind in self.fabrics])
        for name in ("link", "jitter"):
            found[name] = np.full(len(self), getattr(calibration, name))
        return found

    def machine(self, values: Mapping[str, Array]) -> Machine:
        """The machines, with the constants of each row."""
        low = {"16": values["matrix16"], "8": values["matrix8"], "4": values["matrix4"]}
        kinds = np.array([machines.KINDS[p] for p in self.precisions])
        return replace(
            self.base_machine,
            matrix16=values["matrix16"],
            flash1=values["flash1"],
            flash2=values["flash2"],
            flash3=values["flash3"],
            attention_start=values["attention_start"],
            matrix=np.select([kinds == k for k in low], list(low.values())),
            reach=values["memory"],
            nic=self.base_machine.nic * values["fabric"],
            link_reach=values["link"],
        )

    def code(self, values: Mapping[str, Array]) -> Code:
        """The software, with the constants of each row."""
        found = {name: values[name] for name in ERA_VALUES}
        found["tensor_overlap"] = values["tensor_overlap"] * self.overlap_tensor
        return replace(self.base_code, jitter=values["jitter"], **found)

    def cost(self, values: Mapping[str, Array]) -> law.Cost:
        """Price every row by constants of its own."""
        machine, code = self.machine(values), self.code(values)
        one = law.layer_costs(self.shape, machine, code, self.layouts)
        return law.cost(self.shape, machine, code, self.layouts, one)

    def predict(self, calibration: Calibration) -> law.Cost:
        """Price every row."""
        return self.cost(self.values(calibration))

    def memory(self, calibration: Calibration) -> memories.Memory:
        """Bytes per GPU of every row."""
        return memories.memory(self.shape, self.code(self.values(calibration)), self.layouts)


def load(
    table: Path, rules: Path, calibration: Calibration | None = None, memory: bool = False
) -> Measured:
    """Read a table and keep the rows that say enough, of step times or (``memory``) of bytes.

    Raises:
        UserError: a file cannot be read.
    """
    known = rows.read_rules(rules)
    return resolve(rows.read_table(table), known, calibration or calibrations.shipped(), memory)


def resolve(
    table: Sequence[Row], rules: Rules, calibration: Calibration, memory: bool = False
) -> Measured:
    """Turn rows into arrays; rows that lack something are listed in ``unusable``."""
    found: list[dict[str, Any]] = []
    left: list[tuple[str, str]] = []
    for row in table:
        try:
            item = resolve_row(row, rules, calibration)
            if math.isnan(item["seconds"]) != memory:
                what = "bytes used" if memory else "step time"
                raise UnusableError(f"metric {row.text('metric')!r} is no {what}")
            found.append(item)
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
        told_recompute=np.array(column("told"), dtype=bool),
        seconds=np.array(column("seconds")),
        metrics=column("metric"),
        told_bytes=np.array(column("told_bytes")),
        shape=Shape.stack(column("shape")),
        layouts=Layouts.stack(column("layouts")),
        base_machine=Machine.stack(column("machine")),
        base_code=Code.stack(column("code")),
        overlap_tensor=np.array([float(s.overlap_tensor) for s in column("software")]),
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
    lean = none <= limit
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
