"""A small site that the tests of this room share."""

from datetime import date, timedelta

import pytest

from opencolossus.specs import catalog
from opencolossus.specs.document import Calendar, Description
from opencolossus.specs.run import Run


@pytest.fixture(scope="session")
def small() -> Description:
    """4,096 GPUs in Memphis for three weeks of July 2024."""
    fleet = catalog.entry("clusters", "colossus-100k")
    pool = next(iter(fleet.pools.values()))
    pools = {"h100": pool.model_copy(update={"gpus": 4096, "deliveries": ()})}
    return Description(
        name="small",
        site=catalog.entry("sites", "memphis-2024-07"),
        cluster=fleet.model_copy(update={"pools": pools}),
        model=catalog.entry("models", "llama3-70b"),
        run=Run(tokens=1e15, batch=2**23, sequence=8192),
        calendar=Calendar(start=date(2024, 7, 1), end=date(2024, 7, 1) + timedelta(days=20)),
    )
