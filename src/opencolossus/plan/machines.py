"""From specs and calibrated constants to the numbers that the step law takes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from opencolossus.specs import calibration as calibrations
from opencolossus.specs.errors import UserError
from opencolossus.specs.hardware import Fabric, Gpu, Node, Precision
from opencolossus.specs.software import Calibration, Era, Software
from opencolossus.step.machine import Code, Machine

Kind = Literal["16", "8", "4"]
KINDS: dict[str, Kind] = {
    "fp32": "16",
    "tf32": "16",
    "bf16": "16",
    "fp16": "16",
    "fp8": "8",
    "fp4": "4",
}
Columns = dict[str, float]
"""Numbers of a machine or of a code, by name."""
EVERYWHERE = 1e15  # a pod without an end


def peak16(gpu: Gpu, precision: Precision) -> float:
    """Peak of what stays in 16 bits (or in the run's own precision, where that is wider)."""
    wanted: Precision = precision if precision in ("fp32", "tf32") else "bf16"
    found = gpu.flops.get(wanted) or gpu.flops.get("fp16") or gpu.flops.get("fp32")
    return float(found) if found else max(gpu.flops.values())


def machine(
    node: Node,
    fabric: Fabric,
    precision: Precision,
    calibration: Calibration,
    clock: ArrayLike = 1.0,
    memory_clock: ArrayLike = 1.0,
    pod: ArrayLike = EVERYWHERE,
    tiers: ArrayLike = 2,
) -> Machine:
    """The machine that runs in ``precision`` on servers ``node`` joined by ``fabric``.

    Raises:
        UserError: the GPU has no peak for the precision.
    """
    gpu = node.gpu
    if precision not in gpu.flops:
        known = ", ".join(gpu.flops)
        raise UserError(f"run.precision: {gpu.name} has no {precision} peak; known: {known}")
    measured = calibration.fabrics.get(fabric.kind, 1.0)
    nic = node.nics * node.nic_bandwidth / node.gpus
    return Machine.make(
        **_reach(calibration, gpu.name, precision),
        peak16=peak16(gpu, precision),
        peak=gpu.flops[precision],
        memory=gpu.memory,
        memory_bandwidth=gpu.memory_bandwidth,
        units=gpu.multiprocessors or 100,
        node=node.gpus,
        domain=node.scale_up_domain,
        link=node.scale_up_bandwidth,
        start=node.message_start,
        reduces=float(node.in_network_reduction),
        nic=nic * fabric.efficiency * measured,
        pod=np.asarray(pod, dtype=np.float64),
        oversubscription=fabric.oversubscription,
        tiers=np.asarray(tiers, dtype=np.float64),
        hop=fabric.latency,
        link_reach=calibration.link,
        clock=np.asarray(clock, dtype=np.float64),
        memory_clock=np.asarray(memory_clock, dtype=np.float64),
    )


def _reach(calibration: Calibration, gpu: str, precision: Precision) -> Columns:
    """What share of its peaks a GPU of this architecture reaches."""
    _, reach, _ = calibrations.reach_of(calibration, gpu)
    return {
        "matrix16": reach.matrix16,
        "matrix": {"16": reach.matrix16, "8": reach.matrix8, "4": reach.matrix4}[KINDS[precision]],
        "fill": reach.fill,
        "flash1": reach.flash1 or reach.matrix16,
        "flash2": reach.flash2 or reach.matrix16,
        "flash3": reach.flash3 or reach.matrix16,
        "attention_start": reach.attention_start,
        "reach": reach.memory,
    }


def code(
    software: Software,
    calibration: Calibration,
    precision: Precision,
    imbalance: float = 1.0,
    capped: bool = False,
    optimiser: str = "adamw",
) -> Code:
    """What ``software`` does, with the constants of its era.

    Args:
        imbalance: tokens of the fullest expert rank over the mean.
        capped: whether the model's attention scores have a soft cap.
        optimiser: ``adamw`` or ``muon``.

    Raises:
        UserError: nothing was calibrated for its era.
    """
    if software.era not in calibration.eras:
        known = ", ".join(calibration.eras)
        raise UserError(f"software {software.name}: era {software.era!r} is not one of {known}")
    wide = precision in ("fp32", "tf32")
    return Code.make(
        **_attention(software, capped),
        **_traffic(software, wide),
        **_memory(software, wide),
        **_exchange(software),
        **_of_era(calibration.eras[software.era], software),
        low=float(KINDS[precision] != "16"),
        compiled=float(software.compiled),
        compiled_experts=float(
            software.compiled if software.compiled_experts is None else software.compiled_experts
        ),
        captured=float(software.captured),
        drops=float(software.drops_tokens),
        muon=float(optimiser == "muon"),
        jitter=calibration.jitter,
        imbalance=imbalance,
    )


def _attention(software: Software, capped: bool) -> Columns:
    """Whether scores are written, by which kernel, and what that moves."""
    return {
        "flash": float(software.flash_attention and (software.capped_attention or not capped)),
        "kernel": software.attention_kernel,
        "query_block": software.query_block or 0,
        "skips_documents": float(software.skips_documents),
        "score_forward": software.score_bytes[0],
        "score_backward": software.score_bytes[1],
        "score_kept": software.score_bytes[2],
    }


def _traffic(software: Software, wide: bool) -> Columns:
    """Bytes of an element, in 32 bits where the run is ``wide``."""
    return {
        "width": 4.0 if wide else 2.0,
        "stream": 2.0 if software.fp32_between or not wide else 4.0,
        "fused_experts": float(software.fused_experts),
        "gate_forward": 0.0 if wide else software.gate_bytes[0],
        "gate_backward": 0.0 if wide else software.gate_bytes[1],
        "gradient": float(software.gradient_bytes),
        "adds_apart": float(software.adds_apart),
    }


def _memory(software: Software, wide: bool) -> Columns:
    """What lies in memory beside the least."""
    return {
        "selective": -1.0 if software.selective_share is None else software.selective_share,
        "selective_keeps": software.selective_keeps,
        "frozen": software.frozen_bytes,
        "logits": software.logits_at_once or 0,
        "norm_kept": software.kept_beside[0],
        "inner_kept": software.kept_beside[1],
        "per_row": 0.0 if wide else software.memory_per_row,
        "staged": float(software.staged_checkpoints),
        "framework": software.framework_memory,
    }


def _exchange(software: Software) -> Columns:
    """How ranks exchange, and what runs beside it."""
    return {
        "sequence_parallel": float(software.sequence_parallel),
        "overlap_gradients": float(software.overlap_gradients),
        "overlap_weights": float(software.overlap_weights),
        "overlap_sends": float(software.overlap_sends),
        "overlap_experts": float(software.overlap_experts),
        "gathers_context": float(software.context_exchange == "gather"),
        "ports": software.gather_ports or 0,
        "deduplicates": float(software.deduplicated_dispatch),
    }


def _of_era(era: Era, software: Software) -> Columns:
    """Fitted constants."""
    return {
        "elementwise": era.elementwise,
        "routing": era.routing,
        "gap": era.gap,
        "expert_gap": era.expert_gap,
        "attention": era.attention,
        "query_start": era.query_start,
        "tensor_overlap": era.tensor_overlap * software.overlap_tensor,
        "dispatch": era.dispatch,
        "step_gap": era.step_gap,
    }
