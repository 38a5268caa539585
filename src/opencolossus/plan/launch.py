"""A plan as arguments for the programs that train: ours, Megatron-LM and torchtitan."""

from __future__ import annotations

from pathlib import Path

from opencolossus.plan import torchtitan
from opencolossus.plan.plan import Plan
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError, did_you_mean
from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout

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
        return torchtitan.configuration(plan, description)
    return ours(plan, spec)


def ours(plan: Plan, spec: Path | None) -> str:
    """The command for our own trainer, with the layout set."""
    sets = " ".join(
        f"--set run.layout.{name}={value}" for name, value in plan.layout.model_dump().items()
    )
    return f"colossus train {spec or 'SPEC'} {sets}"


def megatron(plan: Plan, description: Description) -> str:
    """Arguments of Megatron-LM's ``pretrain_gpt.py`` (core 0.12 to 0.16).

    Raises:
        UserError: a schedule that Megatron-LM does not have, or kinds of GPU that differ.
    """
    if len(plan.pools) > 1:
        raise UserError(
            "Megatron-LM gives every replica the same share of the batch; plan one kind of GPU, "
            "for example with --set cluster.pools.NAME=null for the others"
        )
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
    found |= _stages(layout, model.layers)
    if layout.virtual_stages > 1:
        found["microbatch-group-size-per-virtual-pipeline-stage"] = _group(plan, description)
    if layout.expert_parallel > 1:
        found["expert-tensor-parallel-size"] = 1
    found |= _megatron_switches(plan)
    lines = [f"--{key}" if value is True else f"--{key} {value}" for key, value in found.items()]
    return " \\\n  ".join(["pretrain_gpt.py", *lines])


def _stages(layout: Layout, layers: int) -> dict[str, object]:
    """How layers are split over stages; uneven ones are named, the ends having fewer.

    Embedding and loss count as a layer each where one or two are missing; else every stage is
    written out, E and L for embedding and loss and t for a layer.
    """
    count = layout.pipeline_parallel * layout.virtual_stages
    missing = -layers % count
    found: dict[str, object] = {}
    if missing > 2:
        full = (layers + missing) // count
        inwards = [end for step in range(count) for end in (count - 1 - step, step)]
        fewer = inwards[:missing]
        stages = ["t" * (full - (place in fewer)) for place in range(count)]
        stages[0], stages[-1] = "E" + stages[0], stages[-1] + "L"
        return {"pipeline-model-parallel-layout": f'"{"|".join(stages)}"'}
    if layout.virtual_stages > 1:
        found["num-virtual-stages-per-pipeline-rank"] = layout.virtual_stages
    if missing >= 1:
        found["account-for-loss-in-pipeline-split"] = True
    if missing == 2:
        found["account-for-embedding-in-pipeline-split"] = True
    return found


def _group(plan: Plan, description: Description) -> int:
    """Micro-batches that an interleaved schedule runs through one chunk before the next."""
    layout = plan.layout
    replica = plan.batch / description.run.sequence / plan.data_parallel
    count = round(replica / layout.micro_batch)
    return count // max(count // layout.pipeline_parallel, 1)


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
    else:
        found["position-embedding-type"] = "learned_absolute"
    latent = model.latent_attention
    if latent is not None:
        found |= {
            "multi-latent-attention": True,
            "q-lora-rank": latent.query_rank,
            "kv-lora-rank": latent.key_value_rank,
            "qk-head-dim": model.head_size,
            "qk-pos-emb-head-dim": latent.rope_head_size,
            "v-head-dim": latent.value_head_size,
        }
    return found | (_megatron_experts(model) if model.experts else {})


def _megatron_experts(model: Model) -> dict[str, object]:
    found: dict[str, object] = {
        "num-experts": model.experts,
        "moe-router-topk": model.experts_per_token,
        "moe-ffn-hidden-size": model.expert_feed_forward,
        "moe-grouped-gemm": True,
        "moe-token-dispatcher-type": "alltoall",
    }
    if model.shared_experts:
        inner = model.shared_experts * model.expert_feed_forward
        found["moe-shared-expert-intermediate-size"] = inner
    if model.dense_layers:
        sparse = model.layers - model.dense_layers
        found["moe-layer-freq"] = f'"([0]*{model.dense_layers}+[1]*{sparse})"'
    return found


def _megatron_switches(plan: Plan) -> dict[str, object]:
    layout = plan.layout
    found: dict[str, object] = {"bf16": True, "use-flash-attn": True}
    if layout.tensor_parallel > 1:
        found["sequence-parallel"] = True
    if layout.zero >= 2:
        parts = "optim_grads_params" if layout.zero >= 3 else "optim_grads"
        found |= {
            "use-megatron-fsdp": True,
            "use-distributed-optimizer": True,
            "data-parallel-sharding-strategy": parts,
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
