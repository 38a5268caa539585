"""How well a network predicts text that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator

from opencolossus.data.loader import Batch as Rows
from opencolossus.train import batches
from opencolossus.train.setup import Training

TOKENS_AT_ONCE = 8192


def bits_per_byte(training: Training) -> float:
    """Cross-entropy of the held-out text per byte of UTF-8, in bits.

    Unlike the loss per token it can be compared between tokenizers. Special tokens add to the
    bits, not to the bytes.
    """
    rows = max(TOKENS_AT_ONCE // training.description.run.sequence, 1)
    text_bytes = 0

    def counted() -> Iterator[Rows]:
        nonlocal text_bytes
        for batch in training.data.held_out_batches(rows):
            text_bytes += batch.text_bytes
            yield batch

    nats, _ = training.engine.evaluate(batches.stream(counted(), training.device))
    return nats / math.log(2) / max(text_bytes, 1)
