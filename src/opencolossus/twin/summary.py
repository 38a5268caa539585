"""The figures at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.faults.process import HOUR
from opencolossus.power.demand import nameplates
from opencolossus.specs.sources import Battery, Generators, Solar
from opencolossus.twin.interruptions import GROUPS
from opencolossus.twin.scene import Played, Scene

Columns = dict[str, NDArray[np.float64]]


def summary(scene: Scene, played: Played, columns: Columns, seed: int) -> dict[str, Any]:
    """What happened in numbers; SI units unless a name tells otherwise."""
    run = scene.description.run
    tokens = columns["tokens"]
    return (
        {
            "name": scene.description.name,
            "start": str(scene.hours[0].astype("datetime64[D]")),
            "end": str(scene.hours[-1].astype("datetime64[D]")),
            "seed": seed,
            "tokens": float(tokens.sum()),
            "tokens_goal": float(run.tokens),
            "finish": finish(scene, tokens),
            "deadline": str(run.deadline) if run.deadline else None,
            "interruptions": int(played.struck.strikes.time.size),
            "gpus": {
                "delivered": float(columns["gpus.delivered"].max()),
                "powered": float(columns["gpus.powered"].max()),
                "cap_w": float(columns["cap_w"][columns["gpus.powered"].argmax()]),
            },
        }
        | _time(played, columns)
        | _energy(scene, columns)
        | {"usd": {k[4:]: float(v.sum()) for k, v in columns.items() if k.startswith("usd.")}}
        | {"site": _site(scene)}
    )


def finish(scene: Scene, tokens: NDArray[np.float64]) -> dict[str, Any]:
    """The day of the last token: reached, or reckoned from the pace of the last week."""
    goal, total = scene.description.run.tokens, np.cumsum(tokens)
    done = np.flatnonzero(total >= goal * (1 - 1e-9))
    if done.size:
        return {"reached": True, "day": str(scene.hours[done[0]].astype("datetime64[D]"))}
    pace = float(tokens[-168:].mean())
    if pace <= 0:
        return {"reached": False, "day": None}
    left = float(goal - total[-1]) / pace
    if left > 24 * 36525:
        return {"reached": False, "day": None}
    day = scene.hours[-1] + np.timedelta64(int(left) + 1, "h")
    return {"reached": False, "day": str(day.astype("datetime64[D]"))}


def forecast(scene: Scene, tokens: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected time of the last token in s since 1970 at each hour, from the pace of a week.

    Not a number in the first week of work and where nothing moves.
    """
    total = np.cumsum(tokens)
    week = min(168, tokens.size)
    past = np.concatenate([np.zeros(week), total[:-week]])
    hours = np.minimum(np.arange(1, tokens.size + 1), week)
    pace = (total - past) / hours
    left = np.maximum(scene.description.run.tokens - total, 0.0)
    wait = np.divide(left, pace, out=np.full(tokens.size, np.nan), where=pace > 0)
    now = scene.hours.astype("datetime64[s]").astype(float)
    started = np.cumsum(tokens > 0) > week
    known = started & (wait < 24 * 36525)
    return np.asarray(np.where(known, now + wait * HOUR, np.nan))


def _time(played: Played, columns: Columns) -> dict[str, Any]:
    """Where the time of the job went, as shares of the time from its start to its end."""
    span = float((HOUR - played.waiting).sum())
    if span <= 0:
        return {"ettr": None, "span": 0.0, "loss": {}}
    work = columns["time.work"]
    lost = {name: float(columns[f"time.{name}"].sum()) / span for name in GROUPS}
    for name in ("checkpoint", "rework"):
        lost[name] = float(columns[f"time.{name}"].sum()) / span
    slow = float((work * (1 - played.speed)).sum()) / span
    missing = float((work * played.speed * (1 - played.working)).sum()) / span
    return {
        "ettr": float(work.sum()) / span,
        "goodput": float((work * played.speed * played.working).sum()) / span,
        "span": span,
        "loss": lost | {"throttled": slow, "missing": missing},
    }


def _energy(scene: Scene, columns: Columns) -> dict[str, Any]:
    it = float(columns["power.it"].sum() * HOUR)
    total = float(columns["power.facility"].sum() * HOUR)
    water = float((columns["water_m3"] + columns["water_recycled_m3"]).sum())
    names = [n for n, s in scene.site.power.items() if not isinstance(s, Battery)]
    return {
        "energy": total,
        "energy_it": it,
        "energy_by_source": {n: float(columns[f"source.{n}"].sum() * HOUR) for n in names},
        "peak_power": float(columns["power.facility"].max()),
        "pue": total / it if it > 0 else None,
        "wue": water / it if it > 0 else None,
        "water": water,
        "co2": float(columns["co2_kg"].sum()),
        "nox": float(columns["nox_kg"].sum()),
    }


def _site(scene: Scene) -> dict[str, Any]:
    """What pictures need to know beside the columns."""
    halls = scene.site.halls
    permits = {
        name: source.permit.nox
        for name, source in scene.site.power.items()
        if isinstance(source, Generators) and source.permit is not None
    }
    return {
        "name": scene.site.name,
        "halls": halls.count if halls else None,
        "gpus_per_hall": halls.gpus if halls else None,
        "gpus_per_rack": {
            name: pool.rack_servers * pool.node.gpus for name, pool in scene.cluster.pools.items()
        },
        "pools": {name: pool.gpus for name, pool in scene.cluster.pools.items()},
        "nameplates_w": {
            name: nameplates(pool, halls)._asdict() for name, pool in scene.cluster.pools.items()
        },
        "unpriced": [
            name
            for name, pool in scene.cluster.pools.items()
            if pool.node.price is None and pool.node.gpu.price is None and pool.gpu_hour is None
        ],
        "permits": permits,
        "solar": [n for n, s in scene.site.power.items() if isinstance(s, Solar)],
        "throttle_temperature": scene.site.cooling.throttle_temperature,
    }
