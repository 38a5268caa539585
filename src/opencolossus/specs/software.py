"""The software that a run is trained with, and the constants that measurements gave."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field

from opencolossus.specs.base import Spec
from opencolossus.specs.quantities import Fraction, NonNegativeDuration, Ratio, Size

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class Software(Spec):
    """One release of a training framework: facts that anyone can read in its notes."""

    catalog_kind: ClassVar[str | None] = "software"

    name: str
    era: str
    """The calibrated constants that it shares with releases like it."""
    flash_attention: bool = True
    capped_attention: bool = True
    """Whether that kernel also takes a soft cap of the scores."""
    score_bytes: tuple[NonNegative, NonNegative, NonNegative] = (13.0, 20.0, 5.0)
    """Without it, bytes per score: moved forward (three 16-bit passes and a mask), moved backward,
    and kept in between (Korthikanti et al. 2022, section 4.1: softmax, mask, dropout)."""
    fp32_between: bool = False
    """Whether work between matrix products is done in 32 bits whatever activations are in."""
    gate_bytes: tuple[NonNegative, NonNegative] = (0.0, 0.0)
    """Moved per inner element of a routed expert in 16 bits, forward and backward, where its gate
    (and a bias) is computed operation by operation; as other activations are if left out."""
    fused_experts: bool = False
    """Whether one kernel multiplies, gates and casts what routed experts compute."""
    query_block: Annotated[int, Field(ge=1)] | None = None
    """Without it, queries that meet the keys up to their last one together; all if left out."""
    skips_documents: bool = True
    """Whether attention of packed rows leaves out what other documents hold."""
    attention_kernel: Literal[1, 2, 3] = 3
    """Generation of its fused attention: 1 or 2 of FlashAttention, 3 for kernels written for the
    GPU (cuDNN, FlashAttention 3)."""
    sequence_parallel: bool = True
    gradient_bytes: Literal[2, 4] = 4
    frozen_bytes: Literal[1, 2] = 2
    """Per weight that is not trained."""
    adds_apart: bool = False
    """Whether a kernel of its own adds a micro-batch's gradients to those before; else the matrix
    product does (Megatron's gradient accumulation fusion)."""
    overlap_gradients: bool = True
    overlap_weights: bool = True
    overlap_sends: bool = True
    """Whether pipeline messages run beside compute (interleaved schedules do)."""
    overlap_tensor: bool = True
    """Whether tensor-parallel messages run beside the products that make or use them."""
    selective_share: Fraction | None = None
    """Share of a layer's forward that selective recomputation repeats; the attention core if
    left out."""
    selective_keeps: Fraction = 1.0
    """Share of a layer's activations that selective recomputation keeps."""
    context_exchange: Literal["ring", "gather"] = "ring"
    """Whether context-parallel ranks pass keys and values round, or gather all of them first."""
    overlap_experts: bool = False
    """Whether tokens of one micro-batch travel to experts under the compute of another."""
    compiled: bool = False
    """Whether kernels of layers start without the host (CUDA graphs, XLA)."""
    compiled_experts: bool | None = None
    """The same of routed experts, whose numbers of rows graphs of the rest of a layer leave out; as
    ``compiled`` if left out."""
    drops_tokens: bool = False
    """Whether every expert takes a fixed number of rows; what is over is dropped, what is missing
    filled up."""
    captured: bool = False
    """Whether the whole step does."""
    deduplicated_dispatch: bool = False
    """Whether one kernel sends tokens while others are put in order, and each crosses to a server
    once, however many of its experts are there (DeepEP, HybridEP); else NCCL's all-to-all does."""
    gather_ports: Annotated[int, Field(ge=1)] | None = None
    """Network ports of a server that one gathering of sharded weights uses; all if left out."""
    split_experts: bool = False
    """Whether tensor parallelism also splits each expert."""
    dropout: bool = False
    logits_at_once: Annotated[int, Field(ge=1)] | None = None
    """Logits that the head and the loss hold at a time; all of a micro-batch if left out."""
    kept_beside: tuple[NonNegative, NonNegative] = (0.0, 0.0)
    """Kept for the backward pass beside the least: bytes per element of each norm, and copies of
    the inner activations of a feed-forward network."""
    memory_per_row: Size = 0
    """What 16-bit layers with experts come to hold per row of a micro-batch, because the numbers of
    rows change from step to step: a kernel is compiled for each, and freed pieces fit no more."""
    staged_checkpoints: bool = False
    """Whether the copy that a checkpoint is written from lies in the memory of the device."""
    framework_memory: Size = 3e9
    """What the driver's context, libraries and communicators hold on each device."""
    zero: Annotated[int, Field(ge=0, le=3)] = 1
    """What replicas share where a run does not say."""


class Era(Spec):
    """What releases of one kind and time have in common, as measurements show it."""

    elementwise: Positive = 1.5
    """Memory traffic of norms, activations and residuals over the least possible."""
    routing: Positive = 2.0
    """The same of sorting tokens by expert and putting them back."""
    gap: NonNegativeDuration = 1e-4
    """Per layer and pass: waiting for kernels to start."""
    expert_gap: NonNegativeDuration = 3e-4
    attention: Positive = 1.0
    """Rate of attention kernels in training over the published rate of the kernel alone."""
    query_start: NonNegative = 0.0
    """Keys in whose time the software starts and finishes a query's attention, beside what the
    chip takes (``GpuReach.attention_start``)."""
    tensor_overlap: Fraction = 0.5
    dispatch: Positive = 0.6
    """Share of the network that all-to-all reaches."""
    step_gap: NonNegativeDuration = 0.02
    """Per step: clipping, data, logging."""


class GpuReach(Spec):
    """What large kernels reach of a data sheet, for one GPU architecture."""

    gpus: str
    """Regular expression of the names of the GPUs that it holds for."""
    matrix16: Positive
    matrix8: Positive
    matrix4: Positive
    memory: Positive
    fill: Positive = 96.0
    """Depth of a product whose time equals filling and draining the pipeline of a tile."""
    flash1: Positive | None = None
    """Share of the 16-bit peak that FlashAttention 1 reaches forward on long causal sequences;
    ``matrix16`` if left out."""
    flash2: Positive | None = None
    """The same of FlashAttention 2."""
    flash3: Positive | None = None
    """The same of kernels written for the GPU."""
    attention_start: NonNegative = 0.0
    """Keys in whose time a query's attention is started and finished."""


class OwnRuns(Spec):
    """Runs of our own trainer on one kind of CPU, which the constants of CPUs were fitted to."""

    cpu: str
    date: str
    runs: int
    alone: Positive
    """Half-width of the 90 % interval of one process, as a ratio of step time: run left out."""
    several: Positive
    """The same of several processes on one machine."""


class MeasuredRun(NamedTuple):
    """One run that constants were fitted to."""

    architecture: str
    model: str
    gpus: float
    tokens: float
    """Per GPU and step."""
    sequence: float
    software: str
    era: str
    kind: str
    """``dense``, ``experts``, or ``adapters`` beside frozen weights."""
    precision: str
    experts: float
    chosen: float
    """Experts of a token."""
    expert_size: float
    """Inner size of one expert."""


class Calibration(Spec):
    """All fitted constants, with the day and the rows of the fit."""

    version: int = 1
    date: str
    rows: int
    sources: int
    residual: Positive
    """Median absolute relative error of the rows that were fitted."""
    table: str
    """Name and checksum of the table."""
    gpus: dict[str, GpuReach]
    fabrics: dict[str, Positive]
    """Share of the line rate, by kind of network."""
    link: Positive
    """Share of the scale-up line rate that collectives reach: rings on 8 H100 move 367 of 450
    GB/s (stas00/ml-engineering, network/README.md)."""
    jitter: Ratio
    eras: dict[str, Era]
    interval: dict[str, Positive]
    """Half-widths of 90 % intervals as ratios of step time, by kind of model, and what each aspect
    of a run that was not measured adds (``plan.familiar``)."""
    own_runs: tuple[OwnRuns, ...] = ()
    """One account for each processor that the trainer was measured on."""
    measured: tuple[MeasuredRun, ...] = ()
