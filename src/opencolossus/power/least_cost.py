"""Dispatch by linear programming: the cheapest way to carry a known demand.

Merit order decides hour by hour; this sees all hours at once, so batteries buy cheap hours, a
permit is spent where it saves most, and a month's peak is worth its demand charge. Solved by HiGHS
(Huangfu & Hall 2018) through SciPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
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
    peak_cost: float = 0.0
    """Dollars per W and s for the highest power of each month (demand charge)."""


def least_cost(
    demand: Array,
    plants: Mapping[str, Plant],
    storages: Mapping[str, Storage],
    months: NDArray[np.intp] | None = None,
) -> Dispatch:
    """Carry ``demand`` [H] (W) at least cost, every limit held in every hour.

    The dual values of the allowances tell what a permit is worth (``permit_prices``). Peaks are
    those of ``months`` [H], numbered from 0; of all hours together if left out.

    Variables per hour: W of each plant; W into and out of each battery, J stored after the hour.
    At the end: W of the highest hour, by plant with a price for it and by month.

    Raises:
        UserError: no dispatch carries the demand within the limits.
    """
    hours = demand.size
    sources, stores = list(plants.values()), list(storages.values())
    cost = np.concatenate(
        [np.broadcast_to(np.asarray(p.cost, dtype=float), hours) * HOUR for p in sources]
        + [np.zeros(3 * hours) for _ in stores]
    )
    peaks = _Peaks(sources, np.zeros(hours, dtype=np.intp) if months is None else months)
    cost = np.concatenate([cost, peaks.cost])
    upper = np.concatenate([p.limit for p in sources] + [_bounds(store) for store in stores])
    upper = np.concatenate([upper, np.full(peaks.cost.size, np.inf)])
    one = eye_array(hours, format="csr")
    none = csr_array((hours, hours))
    balance = hstack([one] * len(sources) + [hstack([-one, one, none])] * len(stores))
    rows, right = [balance], [demand]
    if stores:
        states = block_diag([_state(store, hours) for store in stores])
        rows.append(hstack([csr_array((states.shape[0], hours * len(sources))), states]))
        right += [_start(store, hours) for store in stores]
    spent, allowances = _permits(sources, hours, len(stores))
    below = peaks.rows(hours * (len(sources) + 3 * len(stores)))
    found = linprog(
        cost,
        A_ub=vstack([peaks.wide(spent), below]),
        b_ub=np.concatenate([allowances, np.zeros(below.shape[0])]),
        A_eq=peaks.wide(csr_array(vstack(rows))),
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
    prices = -found.ineqlin.marginals[: len(limited)]
    fed = _unpack(found.x[: cost.size - peaks.cost.size], list(plants), list(storages), hours)
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


def _permits(sources: list[Plant], hours: int, stores: int) -> tuple[csr_array, Array]:
    limited = [index for index, plant in enumerate(sources) if plant.allowance is not None]
    rows = np.zeros((len(limited), hours * (len(sources) + 3 * stores)))
    for row, index in enumerate(limited):
        rows[row, index * hours : (index + 1) * hours] = sources[index].nox * HOUR
    return csr_array(rows), np.array([sources[i].allowance for i in limited], dtype=float)


class _Peaks:
    """The highest power by month of the plants that pay for it, as variables of their own."""

    def __init__(self, sources: list[Plant], months: NDArray[np.intp]) -> None:
        self.priced = [index for index, plant in enumerate(sources) if plant.peak_cost > 0]
        self.months = months
        self.count = int(months.max(initial=0)) + 1
        lasting = np.bincount(months, minlength=self.count) * HOUR
        self.cost = np.outer([sources[i].peak_cost for i in self.priced], lasting).ravel()

    def wide(self, matrix: csr_array) -> csr_array:
        """``matrix`` of the other variables, with columns of zeros for the peaks."""
        return csr_array(hstack([matrix, csr_array((matrix.shape[0], self.cost.size))]))

    def rows(self, others: int) -> csr_array:
        """W of the plant in each hour - highest W of the month <= 0."""
        hours = self.months.size
        parts = [csr_array((0, others + self.cost.size))]
        of_month = csr_array((np.ones(hours), (np.arange(hours), self.months)))
        for place, index in enumerate(self.priced):
            left, right = index * hours, others - (index + 1) * hours
            after = (len(self.priced) - place - 1) * self.count
            blocks = [csr_array((hours, left)), eye_array(hours), csr_array((hours, right))]
            blocks += [csr_array((hours, place * self.count)), -of_month, csr_array((hours, after))]
            parts.append(csr_array(hstack(blocks)))
        return csr_array(vstack(parts))


def _unpack(solution: Array, plants: list[str], storages: list[str], hours: int) -> Dispatch:
    blocks = solution.reshape(-1, hours)
    sources = {name: np.maximum(blocks[i], 0.0) for i, name in enumerate(plants)}
    stored = {}
    for i, name in enumerate(storages):
        taken, given, energy = blocks[len(plants) + 3 * i : len(plants) + 3 * i + 3]
        sources[name] = given - taken
        stored[name] = energy
    return Dispatch(sources, stored, np.zeros(hours))
