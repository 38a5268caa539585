"""Where and how a network computes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from opencolossus.specs.run import Layout
from opencolossus.train.parallel.groups import Groups, alone


@dataclass(frozen=True)
class Setting:
    """Where and how a network computes."""

    device: torch.device
    dtype: torch.dtype
    layout: Layout = field(default_factory=Layout)
    groups: Groups = field(default_factory=alone)
    seed: int = 0
    compiled: bool = False
    """Whether its blocks are."""
    float8: bool = False
    """Whether its linear layers multiply in float8."""
