"""What is given before anything is played, and what was played."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opencolossus.cooling.heat import Heat
from opencolossus.fabric.clos import Clos
from opencolossus.faults.timeline import Account
from opencolossus.power.dispatch import Dispatch
from opencolossus.specs.cluster import Cluster
from opencolossus.specs.document import Description
from opencolossus.specs.failures import Failures
from opencolossus.specs.site import Site
from opencolossus.twin.control import Held
from opencolossus.twin.epochs import Epochs
from opencolossus.twin.fleet import Fleet
from opencolossus.twin.interruptions import Struck
from opencolossus.twin.supplied import Supplied

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """What is given before anything is played."""

    description: Description
    site: Site
    cluster: Cluster
    failures: Failures
    hours: NDArray[np.datetime64]
    weather: tuple[Array, Array]
    """Dry and wet bulb, [H] each."""
    fleet: Fleet
    fabric: Clos
    """Sized for the whole cluster; parts are on in proportion to the GPUs that are."""
    luck: float
    """How the step time turns out, in standard deviations of its prediction; below 0 is faster."""


@dataclass(frozen=True)
class Moments:
    """What happened slot by slot, [S] each: minutes around events, else hours."""

    supplied: Supplied
    held: Held
    speed: Array
    facility: Array
    dispatch: Dispatch


@dataclass(frozen=True)
class Played:
    """What happened; [H] unless said."""

    epochs: Epochs
    job: Array
    """GPUs in the job, [P, H]."""
    powered: Array
    """GPUs that are on, spares included, [P, H]."""
    repair: Array
    """GPUs in repair, [P, H]."""
    cap: Array
    """Share of the rated power, mean."""
    clock: Array
    """Share of the clock that the temperature of the water leaves."""
    speed: Array
    """Of a step, relative to the plan."""
    working: Array
    """Share of the job's replicas that work."""
    account: Account
    waiting: Array
    """Seconds before the job starts and after it ends."""
    tokens: Array
    struck: Struck
    heat: Heat
    it_power: Array
    server_power: Array
    """Of one server that is on, in W, [P, H]."""
    limit: Array
    """Power that could be carried, in W at the site's entry."""
    available: dict[str, Array]
    """Power that each source could give by contract, in W."""
    dispatch: Dispatch
    moments: Moments
