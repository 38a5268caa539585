"""The plan: what ``colossus plan`` decides, frozen, and read by the twin and the trainer."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict

from opencolossus.specs.run import Layout

SCHEMA_VERSION = 3


class Frozen(BaseModel):
    """Base of all parts of a plan: values in SI units, nothing unknown, nothing changed later."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class StepParts(Frozen):
    """Seconds of one step by what they are spent on; they add up to the step time."""

    compute: float
    recompute: float
    gaps: float
    """Waiting for kernels to start, and the host's work once per step."""
    tensor: float
    """Exposed communication of tensor parallelism, and so on for each kind."""
    context: float
    expert: float
    sends: float
    bubble: float
    data: float
    optimiser: float
    stragglers: float


class MemoryParts(Frozen):
    """Bytes on the fullest GPU by kind."""

    weights: float
    gradients: float
    optimiser: float
    activations: float
    temporary: float
    framework: float
    total: float
    limit: float
    """What the GPU has."""


class Power(Frozen):
    """Watts while training: means, and what must be there for peaks."""

    gpu: float
    """Of one GPU."""
    node: float
    """Of one server at the wall."""
    it: float
    facility: float
    peak: float
    """What breakers, generators and cooling must carry: servers at their nameplate less what the
    cap takes away, switches and storage, on the month's hot hour."""
    limit: float | None
    """What the site may draw; none for the machine at hand."""
    pue: float


class Survival(Frozen):
    """What failures and checkpoints cost."""

    mttf: float
    """Mean seconds between interruptions of the whole job."""
    checkpoint_interval: float
    """Seconds of work between checkpoints."""
    checkpoint_write: float
    """Seconds that one checkpoint holds up the run."""
    restart: float
    """Seconds from an interruption to running again."""


class Interval(Frozen):
    """The range that 90 of 100 such predictions should fall in, as step times."""

    low: float
    high: float
    nearest: str
    """The measured run that is nearest."""
    extrapolates: bool
    """Whether the plan lies outside what was measured."""


class Deadline(Frozen):
    """Whether the run is done in time."""

    date: date
    met: bool
    probability: float


class Alternative(Frozen):
    """Another layout, and why it lost."""

    layout: Layout
    data_parallel: int
    gpus: int
    step_time: float | None
    """None where it does not fit."""
    tokens_per_second: float | None
    memory: float
    change: str
    """What differs from the chosen layout."""
    why: str


class CapPoint(Frozen):
    """One point of the curve of GPUs against power cap."""

    cap: float
    gpus: int
    tokens_per_day: float
    energy_per_token: float
    """J of the whole site."""
    days: float
    dollars: float


class ParetoPoint(Frozen):
    """A choice that no other beats in days, energy and dollars at once."""

    cap: float
    gpus: int
    days: float
    energy: float
    dollars: float


class Sensitivity(Frozen):
    """What one input is worth."""

    input: str
    change: str
    tokens: float
    """Relative change of tokens per day."""


class PoolShare(Frozen):
    """One kind of GPU in a mixed fleet."""

    pool: str
    gpu: str
    gpus: int
    cap: float
    data_parallel: int
    micro_batch: int
    recompute: Literal["none", "selective", "full"]
    batch_share: float
    """Of the sequences of a step, so that nobody waits."""
    step_time: float


class Plan(Frozen):
    """How to run: the layout and everything that follows from it. All values are SI."""

    version: int = SCHEMA_VERSION
    name: str
    day: date | None
    """The day whose power and deliveries it counts on; none for the machine at hand."""
    model: str
    cluster: str
    gpu: str
    software: str
    precision: str
    parameters: float
    active_parameters: float

    layout: Layout
    data_parallel: int
    """Replicas, of all kinds of GPU."""
    schedule: str
    batch: float
    """Tokens per step, near what was asked for and divisible by the layout."""
    gpus: int
    available: int
    """GPUs that are there on that day, spares left out."""
    cap: float
    """W per GPU."""
    clock: float
    """Speed of matrix products relative to the highest cap, 0..1."""

    step_time: float
    tokens_per_second: float
    """While it runs; the calendar sees ``goodput`` of it."""
    mfu: float
    """Model FLOPs, causal attention, over peak at full clock."""
    flops: float
    """Model FLOPs of the whole run."""
    step: StepParts
    memory: MemoryParts
    power: Power
    goodput: float
    survival: Survival
    days: float
    energy: float
    """J of the whole site over the run."""
    dollars: float
    """Energy, fuel, generators' rent and water of the run; the machines are not in it."""
    hardware_dollars: float | None
    """What the servers cost new, where a price is known."""
    rent_dollars: float | None = None
    """Rent of the GPUs at work over the run, where the description tells what an hour costs."""
    interval: Interval
    deadline: Deadline | None
    pools: tuple[PoolShare, ...]
    assumptions: tuple[str, ...]
    alternatives: tuple[Alternative, ...] = ()
    curve: tuple[CapPoint, ...] = ()
    pareto: tuple[ParetoPoint, ...] = ()
    sensitivities: tuple[Sensitivity, ...] = ()
    advice: tuple[str, ...] = ()
    """What a planner would say beside the numbers."""
    layouts_priced: int
    layouts_feasible: int

    @property
    def tokens_per_day(self) -> float:
        """By the calendar: failures and checkpoints taken off."""
        return self.tokens_per_second * self.goodput * 86400.0
