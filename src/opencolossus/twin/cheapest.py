"""The demand that was played, carried at least cost over all hours together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opencolossus.power.dispatch import Dispatch
from opencolossus.power.least_cost import Plant, least_cost
from opencolossus.power.supply import HOUR, marginal_cost
from opencolossus.specs.sources import Battery, Generators
from opencolossus.twin.play import Played, Scene

Array = NDArray[np.float64]


def cheapest_dispatch(scene: Scene, played: Played, available: dict[str, Array]) -> Dispatch:
    """Dispatch by linear programming; batteries trade hours, permits are spent where they save.

    Feasible whenever merit order carried the demand, because its dispatch is one candidate.
    """
    plants = {}
    for name, limit in available.items():
        source = scene.site.power[name]
        assert not isinstance(source, Battery)
        allowance, nox = None, 0.0
        if isinstance(source, Generators) and source.permit is not None:
            nox, allowance = source.nox, max(source.permit.nox - source.permit.used, 0.0)
            merit = played.dispatch.sources[name]
            if merit.sum() * HOUR * nox > allowance:
                # Room that only opened while the year rolled on: give no more at any hour.
                limit, allowance = merit, None
        plants[name] = Plant(limit, marginal_cost(source), nox, allowance)
    return least_cost(played.heat.facility, plants, scene.storages)
