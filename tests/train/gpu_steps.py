"""A few steps of the trainer's engine on a simulated GPU; prints what they did as JSON.

Run by `test_gpu_training` in a process that has such a GPU.
"""

from __future__ import annotations

import json

import torch

import simulated_gpu
from opencolossus.specs.model import Model
from opencolossus.specs.run import Optimiser
from opencolossus.train.batches import Batch
from opencolossus.train.engine import Engine
from opencolossus.train.parallel.setting import Setting

LAYERS, MICRO, STEPS = 12, 4, 4
DEVICE = torch.device("cuda", 0)
MODEL = Model(
    name="small Grok",
    layers=LAYERS,
    width=32,
    heads=4,
    kv_heads=2,
    head_size=8,
    vocabulary=64,
    context=32,
    experts=4,
    experts_per_token=2,
    expert_feed_forward=48,
    norm_placement="sandwich",
)


def micro_batches() -> list[Batch]:
    """Two documents a row, and targets that can be learned: each token again."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(MICRO):
        tokens = torch.randint(0, MODEL.vocabulary, (2, 32), generator=generator)
        documents = (torch.arange(32) >= 20).long().expand(2, -1).contiguous()
        found.append(Batch(*(x.to(DEVICE) for x in (tokens, tokens.clone(), documents))))
    return found


def main() -> None:
    """Train, and count how often the host had to wait in the last step."""
    engine = Engine(MODEL, Setting(DEVICE, torch.bfloat16), Optimiser(name="muon"))
    losses, before = [], 0
    for _ in range(STEPS):
        batches = micro_batches()
        before = simulated_gpu.waits()
        losses.append(engine.gradients(batches).loss)
        engine.move(1.0)
    found = {
        "dtype": str(engine.network.parameters()["blocks.0.attention.query.weight"].dtype),
        "losses": losses,
        "waits": simulated_gpu.waits() - before,
        "grouped products": simulated_gpu.calls("aten::_grouped_mm"),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
