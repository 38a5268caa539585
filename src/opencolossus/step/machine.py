"""The hardware and the software that runs on it, as numbers that broadcast."""

from __future__ import annotations

from dataclasses import dataclass

from opencolossus.step.columns import Array, Columns


@dataclass(frozen=True)
class Machine(Columns):
    """One GPU, its server and its way to other servers."""

    peak16: Array
    """FLOP/s of dense 16-bit matrix products, as on the data sheet, at full clock."""
    peak: Array
    """FLOP/s of dense matrix products in the precision of the run."""
    memory: Array
    memory_bandwidth: Array
    units: Array
    """Multiprocessors that tiles are spread over."""
    node: Array
    """GPUs in one server."""
    domain: Array
    """GPUs that reach each other over the scale-up network."""
    link: Array
    """Scale-up bandwidth per GPU and direction in B/s, as on the data sheet."""
    start: Array
    """Seconds to start a collective and meet the other ranks."""
    reduces: Array
    """1 where the scale-up switch adds up (NVLink SHARP)."""
    nic: Array
    """Scale-out bandwidth per GPU and direction in B/s, at line rate times fabric efficiency."""
    pod: Array
    """GPUs below one non-blocking part of the fabric."""
    oversubscription: Array
    """Bandwidth below over bandwidth above the non-blocking part."""
    tiers: Array
    """Tiers of switches, for latency."""
    hop: Array
    """Latency in s between two servers on one leaf."""
    matrix16: Array
    """Share of ``peak16`` that large matrix products reach while the chip stays in its power."""
    matrix: Array
    """The same of ``peak``."""
    fill: Array
    """Depth of a 16-bit product whose time equals filling and draining a tile's pipeline."""
    flash1: Array
    """Share of ``peak16`` that FlashAttention 1 reaches forward on long causal sequences."""
    flash2: Array
    """The same of FlashAttention 2."""
    flash3: Array
    """The same of kernels written for this GPU: cuDNN, FlashAttention 3 on Hopper."""
    attention_start: Array
    """Keys in whose time a query's attention is started and finished."""
    reach: Array
    """Share of ``memory_bandwidth`` that streaming kernels reach."""
    link_reach: Array
    """Share of ``link`` that collectives reach."""
    clock: Array
    """Speed of matrix products relative to the highest power cap, 0..1."""
    memory_clock: Array
    """Speed of memory-bound work relative to the highest power cap, 0..1."""


@dataclass(frozen=True)
class Code(Columns):
    """What the training software does; facts about a release, then constants of its era."""

    flash: Array
    """1 with a fused attention kernel that never writes the scores."""
    kernel: Array
    """Generation of the fused attention kernel: 1 or 2 of FlashAttention, 3 for those written for
    the GPU."""
    sequence_parallel: Array
    """1 where norms are split over the tensor-parallel ranks (Korthikanti et al. 2022)."""
    gradient: Array
    """Bytes per gradient in accumulation and reduction."""
    adds_apart: Array
    """1 where a kernel of its own adds each micro-batch's gradients to those before."""
    overlap_gradients: Array
    overlap_weights: Array
    """1 where updated weights are gathered under the next forward pass."""
    overlap_sends: Array
    """1 where pipeline sends run beside compute."""
    selective: Array
    """Share of a layer's forward that ``selective`` recomputes; -1: the attention core only."""
    selective_keeps: Array
    """Share of a layer's activations that ``selective`` keeps (beside unfused scores)."""
    stream: Array
    """Bytes per element of memory-bound work."""
    gate_forward: Array
    """Bytes moved per inner element of routed experts, forward and backward; 0: as elsewhere."""
    gate_backward: Array
    fused_experts: Array
    """1 where one kernel multiplies, gates and casts what routed experts compute."""
    query_block: Array
    """Queries of unfused attention that meet the keys up to their last one; 0: all meet all."""
    skips_documents: Array
    """1 where attention of packed rows leaves out what other documents hold."""
    score_forward: Array
    """Bytes moved per score of unfused attention: forward, backward, and kept in between."""
    score_backward: Array
    score_kept: Array
    muon: Array
    """1 where Muon moves the matrices inside blocks, 0 where AdamW moves all."""
    width: Array
    """Bytes per weight and activation: 2, or 4 where the run is in 32 bits."""
    frozen: Array
    """The same of weights that are not trained."""
    logits: Array
    """Logits held at a time; 0 for all of a micro-batch."""
    norm_kept: Array
    """Bytes per element of each norm, and copies of inner activations, that the software keeps for
    the backward pass beside the least."""
    inner_kept: Array
    per_row: Array
    """Bytes that layers with experts come to hold for each row of a micro-batch."""
    staged: Array
    """1 where the copy that a checkpoint is written from lies in the same memory."""
    framework: Array
    """Bytes that the driver's context, libraries and communicators hold."""
    low: Array
    """1 where linear layers run in FP8 or below."""
    compiled: Array
    """1 where layers are captured or compiled, so that their kernels start without the host."""
    compiled_experts: Array
    """1 where routed experts are, too."""
    drops: Array
    """1 where experts take a fixed number of rows and what is over is dropped."""
    captured: Array
    """1 where the whole step is."""
    gathers_context: Array
    """1 where context-parallel ranks gather all keys and values, 0 where they pass them round."""
    overlap_experts: Array
    """1 where tokens of one micro-batch travel to experts under the compute of another."""
    ports: Array
    """Network ports of a server that one gathering of sharded weights uses; 0 for all."""
    deduplicates: Array
    """1 where a token crosses to each server once, however many of its experts are there, and the
    kernel that sends tokens also puts them in order."""

    elementwise: Array
    """Memory traffic of norms, activations and residuals over the least possible."""
    routing: Array
    """The same of sorting tokens by expert and putting them back."""
    gap: Array
    """Seconds per layer and pass in which the GPU waits for kernels to start."""
    expert_gap: Array
    """More of that in a layer with experts."""
    attention: Array
    """Rate of attention kernels in training over the published rate of the kernel alone."""
    query_start: Array
    """Keys in whose time the software starts a query's attention, beside the chip's own."""
    tensor_overlap: Array
    """Share of tensor-parallel communication hidden under products."""
    dispatch: Array
    """Share of the network's bandwidth that all-to-all reaches."""
    step_gap: Array
    """Seconds per step outside of layers: loss scaling, clipping, data, logging."""
    jitter: Array
    """Relative spread of one rank's step time."""
    imbalance: Array
    """Tokens of the fullest expert rank over the mean."""
