"""Small descriptions that plans are made of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from opencolossus.specs import catalog
from opencolossus.specs.cluster import Cluster, Pool
from opencolossus.specs.document import Description
from opencolossus.specs.run import Run

Make = Callable[..., Description]


def cluster(**pools: tuple[str, int]) -> Cluster:
    """A cluster of pools given as (node of the catalog, GPUs)."""
    made = {
        name: Pool(node=catalog.entry("nodes", node), gpus=gpus)
        for name, (node, gpus) in pools.items()
    }
    return Cluster(
        name="test",
        pools=made,
        fabric=catalog.entry("fabrics", "quantum-2-ndr"),
        storage_share=0.05,
    )


@pytest.fixture
def make() -> Make:
    """A description of Llama 3 70B on H100s in Memphis, with anything changed."""

    def build(
        gpus: int = 1024,
        model: str = "llama3-70b",
        node: str = "hgx-h100",
        pools: dict[str, tuple[str, int]] | None = None,
        **run: object,
    ) -> Description:
        values: dict[str, object] = {
            "tokens": 1e12,
            "batch": 4 * 1024 * 1024,
            "sequence": 8192,
            "start": date(2025, 6, 1),
        }
        values.update(run)
        return Description(
            name="test",
            site=catalog.entry("sites", "colossus-2025-02"),
            cluster=cluster(**(pools or {"main": (node, gpus)})),
            model=catalog.entry("models", model),
            run=Run.model_validate(values),
        )

    return build
