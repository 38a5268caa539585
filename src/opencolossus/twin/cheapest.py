"""The demand that was played, carried at least cost over all hours together."""

from __future__ import annotations

import numpy as np

from opencolossus.power.dispatch import Dispatch, Storage
from opencolossus.power.least_cost import Plant, least_cost
from opencolossus.power.slots import HOUR
from opencolossus.power.sun import tariff
from opencolossus.power.supply import marginal_cost
from opencolossus.specs.sources import Battery, Generators, Grid
from opencolossus.twin.scene import Played, Scene


def cheapest_dispatch(scene: Scene, played: Played) -> Dispatch:
    """Dispatch by linear programming; batteries trade hours, permits are spent where they save.

    Feasible whenever merit order carried the demand, because its dispatch is one candidate.
    """
    plants = {}
    sources, grid = played.moments.supplied, played.moments.supplied.slots
    for name, reach in sources.followed.reach.items():
        limit = np.maximum(grid.by_hour(reach), played.dispatch.sources[name])
        source = scene.site.power[name]
        assert not isinstance(source, Battery)
        allowance, nox = None, 0.0
        if isinstance(source, Generators) and source.permit is not None:
            nox, allowance = source.nox, max(source.permit.nox - source.permit.used, 0.0)
            merit = played.dispatch.sources[name]
            if merit.sum() * HOUR * nox > allowance:
                # Room that only opened while the year rolled on: give no more at any hour.
                limit, allowance = merit, None
        cost = tariff(source, scene.hours) if isinstance(source, Grid) else marginal_cost(source)
        charge = source.demand_charge if isinstance(source, Grid) else 0.0
        plants[name] = Plant(limit, cost, nox, allowance, charge)
    storages = {
        name: Storage(storage.battery, grid.by_hour(storage.present))
        for name, storage in sources.storages.items()
    }
    _, months = np.unique(scene.hours.astype("datetime64[M]"), return_inverse=True)
    return least_cost(played.heat.facility, plants, storages, months)
