"""From the loader's arrays to the tensors of a step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from opencolossus.data.loader import Batch as Rows

IGNORED = -100
"""Target of a token that does not count."""


@dataclass(frozen=True)
class Batch:
    """Rows of packed documents, [B, T] each."""

    tokens: Tensor
    targets: Tensor
    """-100 where none counts."""
    documents: Tensor
    """Which document of its row a token belongs to."""


def to_device(rows: Rows, device: torch.device) -> Batch:
    """One batch on the device."""
    tokens, targets, documents = (
        torch.from_numpy(array).to(device, non_blocking=True)
        for array in (rows.tokens, rows.targets, rows.document_ids)
    )
    return Batch(tokens, targets, documents)


def split(batch: Batch, rows: int) -> list[Batch]:
    """Micro-batches of ``rows`` rows each."""
    parts = zip(
        batch.tokens.split(rows),
        batch.targets.split(rows),
        batch.documents.split(rows),
        strict=True,
    )
    return [Batch(*part) for part in parts]


def stream(batches: Iterable[Rows], device: torch.device) -> Iterator[Batch]:
    """Batches on the device, one after another."""
    return (to_device(rows, device) for rows in batches)
