"""How well a network predicts text that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from opencolossus.data.loader import Batch as Rows
from opencolossus.train import batches
from opencolossus.train.parallel.collectives import all_sum
from opencolossus.train.setup import Training

TOKENS_AT_ONCE = 8192


def bits_per_byte(training: Training) -> float:
    """Cross-entropy of the held-out text per byte of UTF-8, in bits.

    Unlike the loss per token it can be compared between tokenizers. Special tokens add to the
    bits, not to the bytes.
    """
    groups, run = training.engine.groups, training.description.run
    rows = max(TOKENS_AT_ONCE // run.sequence, 1) * groups.data.size
    text_bytes = 0

    def counted() -> Iterator[Rows]:
        nonlocal text_bytes
        for batch in training.data.held_out_batches(rows, groups.data.index, groups.data.size):
            text_bytes += batch.text_bytes
            yield batch

    nats = training.engine.evaluate(batches.stream(counted(), training.device))
    total = all_sum(torch.tensor(text_bytes, device=training.device), groups.data)
    return nats / math.log(2) / max(int(total), 1)
