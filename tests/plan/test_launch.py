"""Plans as arguments for other programs."""

from __future__ import annotations

import argparse
import itertools
import shlex
import sys
import types

import pytest

from opencolossus.plan.launch import arguments
from opencolossus.plan.search import search
from opencolossus.specs.errors import UserError
from opencolossus.specs.run import Layout
from tests.plan.conftest import Make


def test_megatron_gets_the_layout_and_the_shape(make: Make) -> None:
    description = make(model="mixtral-8x7b", gpus=64, batch=8192 * 256)
    plan = search(description, detail=False)
    words = arguments(plan, description, "megatron").replace("\\\n", " ").split()
    value = {a: b for a, b in itertools.pairwise(words) if a.startswith("--")}
    assert int(value["--tensor-model-parallel-size"]) == plan.layout.tensor_parallel
    assert int(value["--expert-model-parallel-size"]) == plan.layout.expert_parallel
    assert int(value["--num-experts"]) == 8
    assert int(value["--global-batch-size"]) * 8192 == plan.batch
    assert "--group-query-attention" in words


# Arguments of Megatron-LM's pretrain_gpt.py that take a value, a number or one of a few words, and
# those that take none (megatron/training/arguments.py as of core 0.16).
NUMBERS = [
    "tensor-model-parallel-size",
    "context-parallel-size",
    "pipeline-model-parallel-size",
    "expert-model-parallel-size",
    "expert-tensor-parallel-size",
    "micro-batch-size",
    "global-batch-size",
    "train-samples",
    "num-virtual-stages-per-pipeline-rank",
    "microbatch-group-size-per-virtual-pipeline-stage",
    "num-layers",
    "hidden-size",
    "num-attention-heads",
    "kv-channels",
    "ffn-hidden-size",
    "seq-length",
    "max-position-embeddings",
    "vocab-size",
    "num-query-groups",
    "rotary-base",
    "num-experts",
    "moe-router-topk",
    "moe-ffn-hidden-size",
    "recompute-num-layers",
    "q-lora-rank",
    "kv-lora-rank",
    "qk-head-dim",
    "qk-pos-emb-head-dim",
    "v-head-dim",
    "moe-shared-expert-intermediate-size",
]
WORDS = {
    "normalization": ["LayerNorm", "RMSNorm"],
    "position-embedding-type": ["learned_absolute", "rope", "mrope", "yarn", "relative", "none"],
    "moe-token-dispatcher-type": ["allgather", "alltoall", "flex"],
    "data-parallel-sharding-strategy": ["no_shard", "optim", "optim_grads", "optim_grads_params"],
    "recompute-granularity": ["full", "selective"],
    "recompute-method": ["uniform", "block"],
    "fp8-format": ["e4m3", "hybrid"],
}
SWITCHES = [
    "group-query-attention",
    "swiglu",
    "untie-embeddings-and-output-weights",
    "disable-bias-linear",
    "moe-grouped-gemm",
    "bf16",
    "use-flash-attn",
    "sequence-parallel",
    "use-megatron-fsdp",
    "use-distributed-optimizer",
    "overlap-grad-reduce",
    "overlap-param-gather",
    "multi-latent-attention",
    "account-for-loss-in-pipeline-split",
    "account-for-embedding-in-pipeline-split",
]


def parser() -> argparse.ArgumentParser:
    """What Megatron-LM would make of the arguments that a plan may give."""
    made = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    for name in NUMBERS:
        made.add_argument(f"--{name}", type=int)
    for name, known in WORDS.items():
        made.add_argument(f"--{name}", choices=known)
    for name in SWITCHES:
        made.add_argument(f"--{name}", action="store_true")
    made.add_argument("--lr", type=float)
    made.add_argument("--moe-layer-freq", type=str)
    made.add_argument("--pipeline-model-parallel-layout", type=str)
    return made


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize("zero", [1, 2, 3])
@pytest.mark.parametrize("model", ["gpt3-175b", "llama3-70b", "mixtral-8x7b", "deepseek-v3"])
def test_megatron_knows_every_argument(make: Make, model: str, zero: int, recompute: str) -> None:
    layout = Layout.model_validate(
        {"tensor_parallel": 8, "pipeline_parallel": 4, "zero": zero, "recompute": recompute}
    )
    given = make(model=model, gpus=1024, sequence=2048, batch=2**21, layout=layout)
    plan = search(make(model="llama3-8b", gpus=64), detail=False).model_copy(
        update={"layout": layout, "data_parallel": 32, "batch": 2.0**21}
    )
    words = shlex.split(arguments(plan, given, "megatron").replace("\\\n", " "))
    assert words[0] == "pretrain_gpt.py"
    parsed, unknown = parser().parse_known_args(words[1:])
    assert unknown == []
    assert parsed.num_layers == given.model.layers
    assert parsed.sequence_parallel


@pytest.mark.parametrize(("layers", "pipeline", "virtual"), [(80, 8, 5), (61, 21, 3), (62, 9, 7)])
def test_megatron_gets_stages_that_hold_all_layers(
    make: Make, layers: int, pipeline: int, virtual: int
) -> None:
    """Its rule: layers, embedding and loss where they count, divide by the stages."""
    layout = Layout(tensor_parallel=1, pipeline_parallel=pipeline, virtual_stages=virtual)
    given = make(gpus=64, layout=layout)
    given = given.model_copy(update={"model": given.model.model_copy(update={"layers": layers})})
    plan = search(make(model="llama3-8b", gpus=64), detail=False)
    plan = plan.model_copy(update={"layout": layout, "data_parallel": 2})
    words = shlex.split(arguments(plan, given, "megatron").replace("\\\n", " "))
    parsed, unknown = parser().parse_known_args(words[1:])
    assert unknown == []
    assert (
        layers
        + parsed.account_for_loss_in_pipeline_split
        + parsed.account_for_embedding_in_pipeline_split
    ) % (pipeline * virtual) == 0


def test_uneven_stages_are_written_out(make: Make) -> None:
    layout = Layout(tensor_parallel=8, pipeline_parallel=12)
    given = make(gpus=96, layout=layout)
    plan = search(given, power_limit=1e9, detail=False)
    words = shlex.split(arguments(plan, given, "megatron").replace("\\\n", " "))
    parsed, unknown = parser().parse_known_args(words[1:])
    assert unknown == []
    stages = parsed.pipeline_model_parallel_layout.split("|")
    assert len(stages) == 12
    assert [stage.count("t") for stage in stages].count(7) == 8
    assert sum(stage.count("t") for stage in stages) == 80
    assert stages[0].startswith("E")
    assert stages[-1].endswith("L")


def test_interleaved_groups_are_what_megatron_allows(make: Make) -> None:
    """From the pipeline's stages to all micro-batches, and the rest 0 or at least the stages."""
    layout = Layout(tensor_parallel=8, pipeline_parallel=8, virtual_stages=5, micro_batch=1)
    description = make(gpus=1024, layout=layout, batch=8192 * 16 * 13)
    plan = search(description, power_limit=1e9, detail=False)
    words = shlex.split(arguments(plan, description, "megatron").replace("\\\n", " "))
    parsed, _ = parser().parse_known_args(words[1:])
    count = parsed.global_batch_size // plan.data_parallel
    group = parsed.microbatch_group_size_per_virtual_pipeline_stage
    assert 8 <= group <= count
    assert count % group == 0 or count % group >= 8
    assert count % 8 != 0, "a count that the plain rule would refuse"


# Fields of torchtitan 0.3.0 (torchtitan/config/configs.py).
TITAN = {
    "training": "local_batch_size global_batch_size seq_len steps",
    "parallelism": "data_parallel_replicate_degree data_parallel_shard_degree "
    "fsdp_reshard_after_forward tensor_parallel_degree context_parallel_degree "
    "pipeline_parallel_degree expert_parallel_degree pipeline_parallel_schedule "
    "pipeline_parallel_microbatch_size pipeline_parallel_layers_per_stage "
    "pipeline_parallel_first_stage_less_layers pipeline_parallel_last_stage_less_layers",
}


class Strict:
    """An object that has the given fields and takes no others."""

    def __init__(self, names: str) -> None:
        object.__setattr__(self, "_names", set(names.split()))

    def __setattr__(self, name: str, value: object) -> None:
        assert name in self._names, name
        object.__setattr__(self, name, value)


def titan(text: str, monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Run a configuration against the fields that torchtitan has."""
    config = types.SimpleNamespace(**{name: Strict(names) for name, names in TITAN.items()})
    registry = types.ModuleType("config_registry")
    registry.llama3_70b = lambda: config  # type: ignore[attr-defined]
    kinds = types.ModuleType("activation_checkpoint")
    for name in ("FullAC", "SelectiveAC"):
        setattr(kinds, name, types.SimpleNamespace(Config=lambda name=name: name))
    base = "torchtitan"
    modules = {
        f"{base}.models.llama3.config_registry": registry,
        f"{base}.distributed.activation_checkpoint": kinds,
    }
    for path in (base, f"{base}.models", f"{base}.models.llama3", f"{base}.distributed"):
        monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
    for path, module in modules.items():
        monkeypatch.setitem(sys.modules, path, module)
    space: dict[str, object] = {}
    exec(compile(text, "planned_run.py", "exec"), space)
    return space["planned"]()  # type: ignore[operator,no-any-return]


@pytest.mark.parametrize(
    "layout",
    [
        None,
        Layout(tensor_parallel=8, pipeline_parallel=4, virtual_stages=5, recompute="full"),
        Layout(tensor_parallel=4, zero=3, recompute="selective", micro_batch=2),
    ],
)
def test_torchtitan_gets_a_configuration_that_runs(
    make: Make, layout: Layout | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = make(gpus=256, layout=layout)
    plan = search(description, power_limit=1e9, detail=False)
    config = titan(arguments(plan, description, "torchtitan"), monkeypatch)
    degrees = config.parallelism
    product = (
        degrees.data_parallel_replicate_degree
        * degrees.data_parallel_shard_degree
        * degrees.tensor_parallel_degree
        * degrees.context_parallel_degree
        * degrees.pipeline_parallel_degree
    )
    assert product == plan.gpus
    assert config.training.global_batch_size * 8192 == plan.batch
    each = config.training.global_batch_size // plan.data_parallel
    assert each % config.training.local_batch_size == 0
    if degrees.pipeline_parallel_degree > 1:
        stages = -(-80 // degrees.pipeline_parallel_layers_per_stage)
        assert stages == plan.layout.pipeline_parallel * plan.layout.virtual_stages
        assert degrees.pipeline_parallel_schedule in dir(schedules_of_torch())
    assert (config.activation_checkpoint is None) == (plan.layout.recompute == "none")


def schedules_of_torch() -> types.SimpleNamespace:
    """Names of PyTorch's schedules as torchtitan looks them up."""
    schedules = pytest.importorskip("torch.distributed.pipelining.schedules")
    names = [name.removeprefix("Schedule") for name in dir(schedules)]
    return types.SimpleNamespace(**dict.fromkeys(names))


def test_kinds_that_differ_are_not_launched_as_one(make: Make) -> None:
    description = make(pools={"a": ("hgx-h100", 1024), "b": ("hgx-h200", 512)}, batch=8192 * 2048)
    plan = search(description, power_limit=1e9, detail=False)
    assert len(plan.pools) == 2
    for target in ("megatron", "torchtitan"):
        with pytest.raises(UserError, match="same share of the batch"):
            arguments(plan, description, target)


def test_models_that_torchtitan_lacks_are_named(make: Make) -> None:
    description = make(model="mixtral-8x7b", gpus=64, batch=8192 * 256)
    plan = search(description, detail=False)
    with pytest.raises(UserError, match="no configuration of Mixtral"):
        arguments(plan, description, "torchtitan")


def test_unknown_targets_are_refused(make: Make) -> None:
    description = make(gpus=64)
    plan = search(description, detail=False)
    with pytest.raises(UserError, match="did you mean 'megatron'"):
        arguments(plan, description, "megatorn")
