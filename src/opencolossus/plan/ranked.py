"""Layouts for a machine at hand, the fastest first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from opencolossus.plan import here, lattice
from opencolossus.plan.pricing import Pricing
from opencolossus.specs import calibration as calibrations
from opencolossus.specs import catalog
from opencolossus.specs.cluster import Cluster
from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout, Run
from opencolossus.specs.software import Software


def ranked(model: Model, run: Run, cluster: Cluster) -> Iterator[tuple[Layout, int]]:
    """Layouts that fit on all GPUs of ``cluster`` at full power, and the replicas of each.

    The same lattice and law as in a plan; a caller that cannot do what a plan may propose takes
    the first that it can.
    """
    run, name = here.decided(run, model, cluster)
    software: Software = catalog.entry("software", name)
    pool = next(iter(cluster.pools.values()))
    known = calibrations.shipped()
    pricing = Pricing.of(model, run, cluster, pool, software, known)
    grid = lattice.axes(model, run, pool.node, pool.gpus, ("1f1b",))
    found = lattice.stored(grid, model.layers, run.batch_sequences, pool.gpus)
    layouts = found.take(pricing.fits(pricing.held(found)))
    rate = pricing.price(layouts, pool.node.gpu.tdp, pool.gpus).tokens_per_second
    for index in np.argsort(-rate, kind="stable"):
        layout, data, _ = lattice.at(layouts, int(index))
        yield layout, data
