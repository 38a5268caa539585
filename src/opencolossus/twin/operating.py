"""How the cluster runs between two changes: the plan, in the numbers that the clock needs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Operating:
    """One plan at work."""

    gpus: dict[str, int] = field(default_factory=dict)
    """In the job, by pool."""
    cap: float = 1.0
    """Power cap as a share of the rated power."""
    rate: float = 0.0
    """Tokens per second at that cap while nothing is broken."""
    goodput: float = 1.0
    """Share of the time that failures are expected to leave."""
    step_time: float = 0.0
    compute: float = 0.0
    """Share of the step that matrix products take."""
    memory: float = 0.0
    communication: float = 0.0
    """Shares of memory-bound work and of communication that nothing hides; the rest is idle."""
    replica: int = 1
    """GPUs of one data-parallel replica of the model."""
    interval: float = 3600.0
    """Work between checkpoints, in s."""
    write: float = 0.0
    """Time that one checkpoint holds up the run, in s."""
    spread: float = 0.0
    """Standard deviation of the logarithm of the step time: how far predictions are off."""
    layout: str = ""
    """For people; without a job, why there is none."""
    assumptions: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """GPUs in the job."""
        return sum(self.gpus.values())

    @property
    def pace(self) -> float:
        """Tokens per second with all that breaks."""
        return self.rate * self.goodput

    @property
    def replicas(self) -> int:
        """Data-parallel replicas."""
        return max(self.total // self.replica, 1)


def idle(why: str) -> Operating:
    """No job, and why."""
    return Operating(layout=why)
