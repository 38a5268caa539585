"""A plan as arguments for the programs that train: ours, Megatron-LM and torchtitan."""

from __future__ import annotations

from pathlib import Path

from opencolossus.plan.plan import Plan
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError, did_you_mean
from opencolossus.specs.model import Model

TARGETS = ("colossus", "megatron", "torchtitan")


def arguments(plan: Plan, description: Description, target: str, spec: Path | None = None) -> str:
    """Command line or file for ``target``.

    Raises:
        UserError: the target is unknown, or cannot do what the plan asks.
    """
    if target not in TARGETS:
        known = ", ".join(TARGETS)
        raise UserError(f"--launch: no {target!r}{did_you_mean(target, TARGETS)}; known: {known}")
    if target == "megatron":
        return megatron(plan, description)
    if target == "torchtitan":
        return torchtitan(plan, description)
    return ours(plan, spec)


def ours(plan: Plan, spec: Path | None) -> str:
    """The command for our own trainer, with the layout set."""
    sets = " ".join(
        f"--set run.layout.{name}={value}" for name, value in plan.layout.model_dump().items()
    )
    return f"colossus train {spec or 'SPEC'} {sets}"


def megatron(plan: Plan, description: Description) -> str:
    """Arguments of Megatron-LM's ``pretrain_gpt.py`` (core 0.12 and later).

    Raises:
        UserError: a schedule that Megatron-LM does not have.
    """
    if plan.schedule != "1f1b":
        raise UserError(f"Megatron-LM has no schedule {plan.schedule}; plan with --schedules 1f1b")
    layout, model = plan.layout, description.model
    found = _megatron_model(model, description.run.sequence)
    found |= {
        "tensor-model-parallel-size": layout.tensor_parallel,
        "context-parallel-size": layout.context_parallel,
        "pipeline-model-parallel-size": layout.pipeline_parallel,
        "expert-model-parallel-size": layout.expert_parallel,
        "micro-batch-size": layout.micro_batch,
        "global-batch-size": round(plan.batch / description.run.sequence),
        "train-samples": round(description.run.tokens / description.run.sequence),
        "lr": description.run.optimiser.learning_rate,
    }
    if layout.virtual_stages > 1:
        found["num-virtual-stages-per-pipeline-rank"] = layout.virtual_stages
    if layout.expert_parallel > 1:
        found["expert-tensor-parallel-size"] = 1
    found |= _megatron_switches(plan)
    lines = [f"--{key}" if value is True else f"--{key} {value}" for key, value in found.items()]
    return " \\\n  ".join(["pretrain_gpt.py", *lines])


def _megatron_model(model: Model, sequence: int) -> dict[str, object]:
    found: dict[str, object] = {
        "num-layers": model.layers,
        "hidden-size": model.width,
        "num-attention-heads": model.heads,
        "kv-channels": model.head_size,
        "ffn-hidden-size": model.feed_forward or model.expert_feed_forward,
        "seq-length": sequence,
        "max-position-embeddings": model.context,
        "vocab-size": model.vocabulary,
        "normalization": "RMSNorm" if model.norm == "rms" else "LayerNorm",
    }
    if model.kv_heads != model.heads:
        found |= {"group-query-attention": True, "num-query-groups": model.kv_heads}
    if model.gated:
        found["swiglu"] = True
    if not model.tied_embeddings:
        found["untie-embeddings-and-output-weights"] = True
    if not model.biases:
        found["disable-bias-linear"] = True
    if model.positions == "rope":
        found |= {"position-embedding-type": "rope", "rotary-base": round(model.rope_base)}
    if model.experts:
        found |= {
            "num-experts": model.experts,
            "moe-router-topk": model.experts_per_token,
            "moe-ffn-hidden-size": model.expert_feed_forward,
            "moe-grouped-gemm": True,
            "moe-token-dispatcher-type": "alltoall",
        }
    return found


def _megatron_switches(plan: Plan) -> dict[str, object]:
    layout = plan.layout
    found: dict[str, object] = {"bf16": True, "use-flash-attn": True}
    if layout.tensor_parallel > 1:
        found["sequence-parallel"] = True
    if layout.zero >= 3:
        found |= {
            "use-megatron-fsdp": True,
            "data-parallel-sharding-strategy": "optim_grads_params",
        }
    elif layout.zero >= 1:
        found |= {
            "use-distributed-optimizer": True,
            "overlap-grad-reduce": True,
            "overlap-param-gather": True,
        }
    if layout.recompute == "full":
        found |= {"recompute-granularity": "full", "recompute-method": "uniform"}
        found["recompute-num-layers"] = 1
    elif layout.recompute == "selective":
        found["recompute-granularity"] = "selective"
    if plan.precision == "fp8":
        found["fp8-format"] = "hybrid"
    return found


def torchtitan(plan: Plan, description: Description) -> str:
    """A torchtitan job file (TOML).

    Raises:
        UserError: torchtitan shards weights or not; it has no ZeRO-1 or 2 of its own.
    """
    layout = plan.layout
    schedules = {
        "1f1b": "Interleaved1F1B" if layout.virtual_stages > 1 else "1F1B",
        "zb-h1": "ZBVZeroBubble",
        "dualpipe": "DualPipeV",
    }
    if plan.schedule not in schedules:
        raise UserError(f"torchtitan has no schedule {plan.schedule}; plan with --schedules 1f1b")
    local = round(plan.batch / description.run.sequence / plan.data_parallel)
    again = {"none": "none", "selective": "selective", "full": "full"}[layout.recompute]
    shard = plan.data_parallel
    lines = [
        "# ZeRO-1 and ZeRO-2 of the plan become FSDP with reshard_after_forward = never,",
        "# which holds weights whole between forward and backward as they do.",
        "[training]",
        f"local_batch_size = {local}",
        f"global_batch_size = {local * plan.data_parallel}",
        f"seq_len = {description.run.sequence}",
        f"steps = {description.run.steps}",
        "",
        "[parallelism]",
        "data_parallel_replicate_degree = 1",
        f"data_parallel_shard_degree = {shard}",
        f'fsdp_reshard_after_forward = "{"always" if layout.zero >= 3 else "never"}"',
        f"tensor_parallel_degree = {layout.tensor_parallel}",
        f"context_parallel_degree = {layout.context_parallel}",
        f"pipeline_parallel_degree = {layout.pipeline_parallel}",
        f'pipeline_parallel_schedule = "{schedules[plan.schedule]}"',
        f"pipeline_parallel_microbatch_size = {layout.micro_batch}",
        f"expert_parallel_degree = {layout.expert_parallel}",
        "",
        "[activation_checkpoint]",
        f'mode = "{again}"',
    ]
    return "\n".join(lines)
