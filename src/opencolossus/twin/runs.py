"""Many seeds: the spread that failures and the error of the step time make together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from opencolossus.specs.document import Description
from opencolossus.twin.planner import Planner, Remembered, Searched
from opencolossus.twin.record import Record
from opencolossus.twin.simulate import simulate

Array = NDArray[np.float64]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LUCK = 1
"""Sets the stream of the step time's error apart from those of the failures."""
FIGURES = ("tokens", "ettr", "goodput", "interruptions", "energy", "co2", "nox", "water")


class Executor(Protocol):
    """What runs functions elsewhere: ``concurrent.futures``, ``dask``'s client, ``ray``'s pool."""

    def map(self, function: Callable[[int], Any], seeds: Iterable[int], /) -> Iterable[Any]: ...


@dataclass(frozen=True)
class One:
    """What is kept of a run."""

    figures: dict[str, float]
    finish: float
    """Day of the last token in s since 1970; not a number if never."""
    tokens: Array
    """By hour."""


def many(
    description: Description,
    runs: int,
    *,
    seed: int | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    planner: Planner | None = None,
    cheapest: bool = False,
) -> Record:
    """Play ``runs`` seeds from ``seed`` on; return the first record with quantiles of all.

    Each run but the first draws how far the planner's step time is off, besides its failures.

    ``summary["runs"]`` holds the quantiles of the figures; columns ``band.low`` and ``band.high``
    hold the tokens per hour whose sums bound 90 % of the runs. Seeds are spread over ``workers``
    processes (one per core), or over any ``executor`` with a ``map``.
    """
    remembered = Remembered(planner or Searched())
    first = simulate(description, seed=seed, planner=remembered, cheapest=cheapest)
    start = int(first.summary["seed"])
    seeds = range(start + 1, start + runs)
    play = partial(one, description, remembered, cheapest)
    if executor is not None:
        others = list(executor.map(play, seeds))
    elif runs <= 8 or workers == 1:
        others = [play(number) for number in seeds]
    else:
        with ProcessPoolExecutor(workers) as pool:
            others = list(pool.map(play, seeds, chunksize=max(1, runs // 32)))
    return _spread(first, [_kept(first), *others])


def one(description: Description, planner: Planner, cheapest: bool, seed: int) -> One:
    """Play one seed and keep its figures; the seed also draws how the step time turns out."""
    luck = float(np.random.default_rng((seed, LUCK)).standard_normal())
    found = simulate(description, seed=seed, planner=planner, cheapest=cheapest, luck=luck)
    return _kept(found)


def _kept(record: Record) -> One:
    s = record.summary
    figures = {name: float("nan") if s[name] is None else float(s[name]) for name in FIGURES}
    day = s["finish"]["day"]
    finish = float("nan") if day is None else np.datetime64(day, "s").astype(float)
    return One(figures, float(finish), record["tokens"])


def _spread(first: Record, runs: Sequence[One]) -> Record:
    figures = {name: _quantiles(np.array([run.figures[name] for run in runs])) for name in FIGURES}
    finish = np.array([run.finish for run in runs])
    days = _quantiles(np.where(np.isnan(finish), np.inf, finish))
    deadline = first.summary["deadline"]
    summary: dict[str, Any] = first.summary | {
        "runs": {
            "count": len(runs),
            "figures": figures,
            "finish": {
                name: str(np.datetime64(int(value), "s").astype("datetime64[D]"))
                if np.isfinite(value)
                else None
                for name, value in days.items()
            },
            "on_time": None
            if deadline is None
            else float(np.mean(finish <= np.datetime64(deadline, "s").astype(float))),
        }
    }
    total = np.cumsum([run.tokens for run in runs], axis=1)
    low, high = np.quantile(total, [QUANTILES[0], QUANTILES[-1]], axis=0)
    band = {"band.low": np.diff(low, prepend=0.0), "band.high": np.diff(high, prepend=0.0)}
    return replace(first, columns=first.columns | band, summary=summary)


def _quantiles(values: Array) -> dict[str, float]:
    found = np.quantile(values, QUANTILES, method="inverted_cdf")
    return {f"p{round(100 * q)}": float(v) for q, v in zip(QUANTILES, found, strict=True)}
