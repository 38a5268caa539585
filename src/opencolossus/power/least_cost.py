"""Dispatch by linear programming: the cheapest way to carry a known demand.

Merit order decides hour by hour; this sees all hours at once, so batteries buy cheap hours and a
permit is spent where it saves most. Solved by HiGHS (Huangfu & Hall 2018) through SciPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import block_diag, csr_array, diags_array, eye_array, hstack, vstack

from opencolossus.power.caps import Array
from opencolossus.power.dispatch import Dispatch, Storage
from opencolossus.power.slots import HOUR
from opencolossus.specs.errors import UserError


@dataclass(frozen=True)
class Plant:
    """A source as the program sees it."""

    limit: Array
    """W by hour, [H]."""
    cost: Array | float
    """Dollars per J, by hour or for all hours."""
    nox: float = 0.0
    """kg per J."""
    allowance: float | None = None
    """kg of NOx that may be emitted over all hours together."""


def least_cost(
    demand: Array, plants: Mapping[str, Plant], storages: Mapping[str, Storage]
) -> Dispatch:
    """Carry ``demand`` [H] (W) at least cost, every limit held in every hour.

    The dual values of the allowances tell what a permit is worth (``permit_prices``).

    Variables per hour: W of each plant; W into and out of each battery, J stored after the hour.

    Raises:
        UserError: no dispatch carries the demand within the limits.
    """
    hours = demand.size
    sources, stores = list(plants.values()), list(storages.values())
    cost = np.concatenate(
        [np.broadcast_to(np.asarray(p.cost, dtype=float), hours) * HOUR for p in sources]
        + [np.zeros(3 * hours) for _ in stores]
    )
    upper = np.concatenate([p.limit for p in sources] + [_bounds(store) for store in stores])
    one = eye_array(hours, format="csr")
    none = csr_array((hours, hours))
    balance = hstack([one] * len(sources) + [hstack([-one, one, none])] * len(stores))
    rows, right = [balance], [demand]
    if stores:
        states = block_diag([_state(store, hours) for store in stores])
        rows.append(hstack([csr_array((states.shape[0], hours * len(sources))), states]))
        right += [_start(store, hours) for store in stores]
    spent, allowances = _permits(sources, hours, len(stores))
    found = linprog(
        cost,
        A_ub=spent,
        b_ub=allowances,
        A_eq=csr_array(vstack(rows)),
        b_eq=np.concatenate(right),
        bounds=np.stack([np.zeros_like(upper), upper], axis=1),
        method="highs",
    )
    if found.x is None:
        raise UserError(
            f"no dispatch carries a demand of up to {demand.max() / 1e6:.4g} MW within the limits "
            f"of {', '.join(plants)}; add power or lower the demand"
        )
    limited = [name for name, plant in plants.items() if plant.allowance is not None]
    prices = -found.ineqlin.marginals if limited else []
    fed = _unpack(found.x, list(plants), list(storages), hours)
    return replace(fed, permit_prices=dict(zip(limited, map(float, prices), strict=True)))


def _bounds(store: Storage) -> Array:
    power = store.battery.limit * store.present
    return np.concatenate([power, power, np.full(power.size, store.battery.energy)])


def _state(store: Storage, hours: int) -> csr_array:
    """stored(h) - stored(h-1) - way in(h) HOUR + out(h) HOUR / way = 0."""
    way = store.battery.efficiency**0.5
    step = diags_array([np.ones(hours), -np.ones(hours - 1)], offsets=[0, -1])
    eye = eye_array(hours)
    return csr_array(hstack([-way * HOUR * eye, HOUR / way * eye, step]))


def _start(store: Storage, hours: int) -> Array:
    right = np.zeros(hours)
    right[0] = store.battery.charge * store.battery.energy
    return right


def _permits(
    sources: list[Plant], hours: int, stores: int
) -> tuple[csr_array | None, Array | None]:
    rows, allowances = [], []
    for index, plant in enumerate(sources):
        if plant.allowance is not None:
            row = np.zeros((1, hours * (len(sources) + 3 * stores)))
            row[0, index * hours : (index + 1) * hours] = plant.nox * HOUR
            rows.append(csr_array(row))
            allowances.append(plant.allowance)
    return (csr_array(vstack(rows)), np.array(allowances)) if rows else (None, None)


def _unpack(solution: Array, plants: list[str], storages: list[str], hours: int) -> Dispatch:
    blocks = solution.reshape(-1, hours)
    sources = {name: np.maximum(blocks[i], 0.0) for i, name in enumerate(plants)}
    stored = {}
    for i, name in enumerate(storages):
        taken, given, energy = blocks[len(plants) + 3 * i : len(plants) + 3 * i + 3]
        sources[name] = given - taken
        stored[name] = energy
    return Dispatch(sources, stored, np.zeros(hours))
