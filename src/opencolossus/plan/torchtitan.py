"""A plan as a configuration of torchtitan (0.3 and later), which are written in Python."""

from __future__ import annotations

import math

from opencolossus.plan.plan import Plan
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Layout

SCHEDULES = {"1f1b": "1F1B", "zb-h1": "ZBVZeroBubble", "dualpipe": "DualPipeV"}
RECIPES = {
    "llama3-8b": ("llama3", "llama3_8b"),
    "llama3-70b": ("llama3", "llama3_70b"),
    "llama3-405b": ("llama3", "llama3_405b"),
    "deepseek-v3": ("deepseek_v3", "deepseek_v3_671b"),
}
"""Shapes of the catalog for which torchtitan ships a configuration (0.3.0, config_registry.py)."""
SHAPE = ("layers", "width", "heads", "kv_heads", "experts", "vocabulary")
CHECKPOINTING = {"none": "None", "selective": "SelectiveAC.Config()", "full": "FullAC.Config()"}


def configuration(plan: Plan, description: Description) -> str:
    """A Python file whose function ``planned`` returns torchtitan's configuration.

    Raises:
        UserError: a schedule that torchtitan does not have, or kinds of GPU that differ.
    """
    if plan.schedule not in SCHEDULES:
        raise UserError(f"torchtitan has no schedule {plan.schedule}; plan with --schedules 1f1b")
    if len(plan.pools) > 1:
        raise UserError(
            "torchtitan gives every replica the same share of the batch; plan one kind of GPU, "
            "for example with --set cluster.pools.NAME=null for the others"
        )
    module, base = _recipe(description)
    again = plan.layout.recompute
    imports = [f"from torchtitan.models.{module}.config_registry import {base} as base"]
    if again != "none":
        kind = CHECKPOINTING[again].split(".")[0]
        imports.append(f"from torchtitan.distributed.activation_checkpoint import {kind}")
    lines = [
        f'"""{plan.name}: {plan.model} on {plan.gpus:,} GPUs, planned by colossus.',
        "",
        "Save it as planned_run.py where Python finds it, and on every server run",
        "    torchrun ... -m torchtitan.train --module planned_run --config planned",
        '"""',
        "",
        *imports,
        "",
        "",
        "def planned():",
        "    config = base()",
        *(f"    config.{name} = {value!r}" for name, value in settings(plan, description)),
        f"    config.activation_checkpoint = {CHECKPOINTING[again]}",
        "    return config",
    ]
    return "\n".join(lines)


def settings(plan: Plan, description: Description) -> list[tuple[str, object]]:
    """Fields of ``Trainer.Config`` and their values.

    ZeRO-1 and ZeRO-2 become FSDP that keeps weights whole between forward and backward.
    """
    layout, run = plan.layout, description.run
    replica = round(plan.batch / run.sequence / plan.data_parallel)
    local = replica if layout.pipeline_parallel > 1 else layout.micro_batch
    group = layout.shard_group or plan.data_parallel
    shard = group if plan.data_parallel % group == 0 else plan.data_parallel
    parallelism: dict[str, object] = {
        "data_parallel_replicate_degree": plan.data_parallel // shard,
        "data_parallel_shard_degree": shard,
        "fsdp_reshard_after_forward": "always" if layout.zero >= 3 else "never",
        "tensor_parallel_degree": layout.tensor_parallel,
        "context_parallel_degree": layout.context_parallel,
        "pipeline_parallel_degree": layout.pipeline_parallel,
        "expert_parallel_degree": layout.expert_parallel,
    }
    if layout.pipeline_parallel > 1:
        parallelism |= _pipeline(plan, layout, description.model.layers)
    training = {
        "local_batch_size": local,
        "global_batch_size": replica * plan.data_parallel,
        "seq_len": run.sequence,
        "steps": math.ceil(run.tokens / plan.batch),
    }
    found: list[tuple[str, object]] = [(f"training.{k}", v) for k, v in training.items()]
    return found + [(f"parallelism.{k}", v) for k, v in parallelism.items()]


def _pipeline(plan: Plan, layout: Layout, layers: int) -> dict[str, object]:
    """Stages of equal numbers of layers: the first and last are not thinned."""
    stages = layout.pipeline_parallel * layout.virtual_stages
    schedule = "Interleaved1F1B" if layout.virtual_stages > 1 else SCHEDULES[plan.schedule]
    return {
        "pipeline_parallel_schedule": schedule,
        "pipeline_parallel_microbatch_size": layout.micro_batch,
        "pipeline_parallel_layers_per_stage": -(-layers // stages),
        "pipeline_parallel_first_stage_less_layers": 0,
        "pipeline_parallel_last_stage_less_layers": 0,
    }


def _recipe(description: Description) -> tuple[str, str]:
    """torchtitan's module and function with a model of this shape."""
    from opencolossus.specs import catalog

    model = description.model
    for name, recipe in RECIPES.items():
        known = catalog.entry("models", name)
        if all(getattr(known, field) == getattr(model, field) for field in SHAPE):
            return recipe
    raise UserError(
        f"torchtitan ships no configuration of {model.name}; it has those of {', '.join(RECIPES)}"
    )
