"""What is to be started."""

from __future__ import annotations

import re
from dataclasses import dataclass

PORT = 29400
"""Of the rendezvous, where nobody else shares the nodes; torchrun's own default."""


@dataclass(frozen=True)
class Job:
    """One training command on a number of equal nodes."""

    name: str
    nodes: int
    gpus: int
    """Of each node; 0 for nodes without."""
    train: tuple[str, ...]
    """Arguments of ``colossus``: train, the description, its overrides, the run's folder."""
    folder: str
    """Of the run, as the nodes see it."""
    restarts: int = 3
    """Times that torchrun starts its processes anew before it gives up."""
    grace: float = 300.0
    """Seconds that a run gets to save before it is killed."""
    time_limit: float | None = None
    """Seconds."""

    @property
    def processes(self) -> int:
        """Of each node: one per GPU."""
        return max(self.gpus, 1)

    @property
    def label(self) -> str:
        """The name as DNS and file names take it (RFC 1123), short enough for what is appended."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")
        return plain[:40].strip("-") or "run"
