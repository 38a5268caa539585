"""One row of a table as the numbers that the step law takes."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np

from opencolossus.plan import machines, rows
from opencolossus.plan.rows import Row, Rules, UnusableError
from opencolossus.specs import calibration as calibrations
from opencolossus.specs import catalog
from opencolossus.specs.hardware import Fabric
from opencolossus.specs.software import Calibration, Software
from opencolossus.step.layouts import NONE, RECOMPUTE, SCHEDULES, Layouts
from opencolossus.step.shape import Shape

LORA_SHARE = 0.002
"""Share of weights that adapters train: rank 16 in attention of Llama 2 70B (MLPerf reference)."""
MEMORY, OUT_OF_MEMORY = "memory", "out_of_memory"
"""Metrics of rows that tell bytes instead of seconds: how many, or that they did not suffice."""
FABRICS = {"ethernet-roce": "spectrum-x-400", "omni-path": "quantum-hdr"}
ETHERNET = {"ethernet-roce": "ethernet", "omni-path": "omni-path"}


def resolved(row: Row, rules: Rules, calibration: Calibration) -> dict[str, Any]:
    """Everything that the law needs to know of one row.

    Raises:
        UnusableError: the row lacks something.
    """
    entry = rows.platform(row, rules)
    software: Software = catalog.entry("software", rows.software(row, rules))
    precision = rows.precision(row)
    shape = _shape(row, rules, software)
    layouts = _layouts(row, shape, software)
    recipe = rows.recipe(row, rules)
    told = rows.recompute(row, recipe)
    node = catalog.entry("nodes", entry["node"])
    fabric: Fabric = catalog.entry("fabrics", FABRICS.get(entry["network"], entry["network"]))
    name = entry.get("architecture", node.gpu.name)
    architecture, _, known = calibrations.reach_of(calibration, name)
    if not known:
        raise UnusableError(f"GPU {name!r} has no calibrated constants")
    numbers = {key: float(value) for key, value in entry.get("set", {}).items()}
    flops = {"fp4": numbers.pop("peak4", None), "fp8": numbers.pop("peak8", None)}
    offered: Any = precision if precision in node.gpu.flops else "bf16"
    machine = machines.machine(node, fabric, offered, calibration)
    if precision != "bf16" and offered == "bf16" and not flops.get(precision):
        raise UnusableError(f"{node.gpu.name} has no {precision}")
    if precision == "bf16" and "peak16" in numbers:
        numbers["peak"] = numbers["peak16"]
    if flops.get(precision):
        numbers["peak"] = flops[precision] or 0.0
    line = node.nics * node.nic_bandwidth / node.gpus  # the calibrated share comes later
    numbers["nic"] = numbers.get("nic", line) * fabric.efficiency
    machine = replace(machine, **{k: np.asarray(v) for k, v in numbers.items()})
    return {
        "key": row.key,
        "source": row.text("source"),
        "model": row.text("model_name"),
        "architecture": architecture,
        "fabric": ETHERNET.get(entry["network"], fabric.kind),
        "precision": precision,
        "told": told is not None,
        "metric": row.text("metric"),
        "told_bytes": row.number("value") * 1e9,
        "seconds": _seconds(row, shape, layouts),
        "shape": shape,
        "layouts": replace(
            layouts,
            recompute=np.asarray(RECOMPUTE[told or "none"]),
            offloaded=np.asarray(recipe.get("offloaded", 0.0) / shape.layers),
        ),
        "machine": machine,
        "code": machines.code(software, calibration, precision),  # type: ignore[arg-type]
        "software": software,
    }


def _shape(row: Row, rules: Rules, software: Software) -> Shape:
    """Sizes of the model: the row's, completed by the model's paper and by convention."""
    known: dict[str, float] = {}
    for entry in reversed(rules.models):
        if re.search(entry["name"], row.text("model_name"), re.IGNORECASE):
            known.update(entry["shape"])
    width = row.positive("d_model", known.get("width"))
    vocabulary = row.positive("vocab", known.get("vocabulary"))
    heads = row.positive("n_heads", known.get("heads"))
    gated = {"yes": 1.0, "no": 0.0}.get(row.text("gated_mlp").lower(), known.get("gated", 0.0))
    experts = row.number("n_experts", known.get("experts", 0.0))
    inner = row.number(
        "d_ff", known.get("expert_feed_forward" if experts else "feed_forward", 4 * width)
    )
    dense_layers = known.get("dense_layers", 0.0) if experts else 0.0
    layers = row.positive("n_layers", known.get("layers", _layers(row, width, vocabulary)))
    rank = known.get("kv_rank", 0.0)
    rope_size = known.get("rope_size", 0.0)
    head = known.get("head_size", width / heads)
    ahead = _ahead(row, known)
    lora = "lora" in row.text("model_name").lower()
    sequence = row.positive("seq_len", known.get("sequence"))
    attended = (sequence + known["window"]) / 2 if "window" in known else sequence
    return Shape.make(
        layers=layers + ahead,
        expert_layers=layers + ahead - dense_layers if experts else 0.0,
        width=width,
        heads=heads,
        kv_heads=row.positive("n_kv_heads", known.get("kv_heads", heads)),
        key_size=head + rope_size,
        value_size=head,
        query_rank=known.get("query_rank", 0.0),
        kv_rank=rank,
        rope_size=rope_size,
        head_size=head,
        feed_forward=known.get("feed_forward", 0.0) if experts else inner,
        matrices=3.0 if gated else 2.0,
        experts=experts,
        experts_per_token=row.number("topk", known.get("experts_per_token", 0.0)),
        expert_feed_forward=inner if experts else 0.0,
        beside_experts=known.get("shared_experts", 0.0) * inner,
        vocabulary=vocabulary,
        embeddings=2.0 if gated else 1.0,
        predictions=1.0 + ahead,
        rope=1.0 if gated else 0.0,
        norms=2.0,
        dropout=float(software.dropout),
        sequence=sequence,
        attended=known.get("attended", attended),
        trained=LORA_SHARE if lora else 1.0,
        adapted=float("adapters on all" in row.text("notes")),
        neighbours=float("balanced gate" in row.text("notes")),
    )


def _ahead(row: Row, known: dict[str, float]) -> float:
    """Modules that predict further tokens, unless the row says that it ran without."""
    return 0.0 if "w/o MTP" in row.text("model_name") else known.get("mtp", 0.0)


def _layers(row: Row, width: float, vocabulary: float) -> float | None:
    """Layers of a plain GPT from its published size, 12 width² weights a layer."""
    billions = row.number("params_total_B", 0.0)
    if not billions or row.text("gated_mlp") != "no" or row.text("n_experts"):
        return None
    return float(round((billions * 1e9 - vocabulary * width) / (12 * width**2)))


def _layouts(row: Row, shape: Shape, software: Software) -> Layouts:
    """The layout of a row; replicas are what the other dimensions leave."""
    missing = [name for name in rows.NEEDED if not row.text(name)]
    if missing:
        raise UnusableError(f"{missing[0]} is not told")
    tensor, context = row.positive("tp"), row.positive("cp", 1)
    pipeline, gpus = row.positive("pp"), row.positive("n_gpus")
    data = gpus / (tensor * context * pipeline)
    if data != int(data) or data < 1:
        raise UnusableError(
            f"{gpus:.0f} GPUs are not a multiple of {tensor * context * pipeline:.0f}"
        )
    virtual = row.positive("vpp", 1)
    if "1F1B-I" in row.text("model_name"):  # every layer its own chunk, and the end stages lack one
        virtual = -(-float(shape.layers) // pipeline)
    if "VP printed NA" in row.text("notes"):  # taken as fine as the layers allow
        virtual = max(float(shape.layers) // pipeline, 1)
    stage = rows.zero(row)
    expert = row.positive("ep", 1)
    return Layouts.make(
        tensor=tensor,
        context=context,
        pipeline=pipeline,
        virtual=virtual,
        expert=expert,
        data=data,
        micro_batch=row.positive("micro_batch"),
        batch=row.positive("global_batch_sequences"),
        zero=software.zero if stage is None else stage,
        recompute=NONE,
        recompute_share=1.0,
        schedule=SCHEDULES[rows.schedule(row)],
        expert_tensor=tensor if software.split_experts or expert == 1 else 1.0,
        shard_group=rows.shard_group(row),
    )


def _seconds(row: Row, shape: Shape, layouts: Layouts) -> float:
    """Step time of a row; nothing where it tells of memory.

    Raises:
        UnusableError: its metric cannot be turned into one without a guess.
    """
    value, metric = row.positive("value"), row.text("metric")
    if metric in (MEMORY, OUT_OF_MEMORY):
        return math.nan
    tokens = float(layouts.batch * shape.sequence)
    gpus = row.positive("n_gpus")
    if metric == "step_time_s":
        return value
    if metric == "tokens_per_s_per_gpu":
        return tokens / (value * gpus)
    if metric == "tflops_per_gpu" and row.key.startswith("MLM-SC21"):
        # Narayanan et al. 2021, eq. 3, which the source counts its FLOP by
        s, h, depth = float(shape.sequence), float(shape.width), float(shape.layers)
        ends = float(shape.vocabulary) / (16 * depth * h)
        flops = 96 * tokens * depth * h**2 * (1 + s / (6 * h) + ends)
        return flops / (value * 1e12 * gpus)
    raise UnusableError(f"metric {metric!r} is no step time")
