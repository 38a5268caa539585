"""How many nodes a run takes, and of which size."""

from __future__ import annotations

from dataclasses import dataclass

from opencolossus.specs.cluster import Pool
from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError, did_you_mean
from opencolossus.specs.run import Layout


@dataclass(frozen=True)
class Nodes:
    """How many nodes of which size."""

    count: int
    gpus: int
    """Of each."""
    segment: int | None = None
    """Nodes that share one scale-up network, where that is more than one."""

    @property
    def processes(self) -> int:
        """On all of them: one per GPU, or one per node without."""
        return self.count * max(self.gpus, 1)


def find(
    description: Description,
    count: int | None = None,
    gpus: int | None = None,
    pool: str | None = None,
) -> Nodes:
    """Nodes as asked for, else as the plan for the description's cluster has them.

    Args:
        count: nodes.
        gpus: of each node.
        pool: of the cluster, by its name.

    Raises:
        UserError: there is no cluster to take them from, or the run's layout does not fill them.
    """
    if description.cluster is None:
        if count is None or gpus is None:
            raise UserError(
                "the description has no cluster, so give --nodes and --gpus-per-node "
                "(0 for nodes without GPUs)"
            )
        return _fitting(Nodes(count, gpus), description.run.layout)
    name, chosen = _pool(description.cluster.pools, pool)
    server = chosen.node
    there = chosen.gpus // server.gpus
    if count is None:
        count = _planned(description, name, server.gpus)
    elif count > there:
        raise UserError(f"--nodes {count}: pool {name} has {there} servers; give at most {there}")
    whole = server.scale_up_domain // server.gpus
    segment = whole if whole > 1 and count % whole == 0 else None
    nodes = Nodes(count, server.gpus if gpus is None else gpus, segment)
    return _fitting(nodes, description.run.layout)


def _pool(pools: dict[str, Pool], name: str | None) -> tuple[str, Pool]:
    """The pool that was named, or the only one."""
    known = ", ".join(pools)
    if name is None:
        if len(pools) > 1:
            raise UserError(
                f"the cluster has pools {known}; a job runs on one of them: give --pool"
            )
        name = next(iter(pools))
    if name not in pools:
        raise UserError(f"--pool {name}{did_you_mean(name, pools)}: the cluster has {known}")
    return name, pools[name]


def _planned(description: Description, pool: str, gpus: int) -> int:
    """Nodes that the planner takes of a pool."""
    from opencolossus.plan.search import search

    plan = search(description, detail=False)
    taken = plan.gpus
    if plan.pools:
        taken = sum(share.gpus for share in plan.pools if share.pool == pool)
    return max(taken // gpus, 1)


def _fitting(nodes: Nodes, layout: Layout | None) -> Nodes:
    """Hold the nodes to the layout that the description asks for."""
    if nodes.count < 1 or nodes.gpus < 0:
        raise UserError(f"{nodes.count} nodes of {nodes.gpus} GPUs: give at least one node")
    if layout is None:
        return nodes
    sizes = {
        "tensor": layout.tensor_parallel,
        "context": layout.context_parallel,
        "pipeline": layout.pipeline_parallel,
    }
    group = sizes["tensor"] * sizes["context"] * sizes["pipeline"]
    each = max(nodes.gpus, 1)
    if nodes.count * each % group == 0:
        return nodes
    words = " x ".join(f"{kind} {size}" for kind, size in sizes.items() if size > 1)
    raise UserError(
        f"run.layout needs groups of {group} processes ({words}), which {nodes.count} nodes of "
        f"{each} do not fill; {_nearest(nodes.count, each, group)}"
    )


def _nearest(count: int, each: int, group: int) -> str:
    step = next(n for n in range(1, group + 1) if n * each % group == 0)
    low, high = count // step * step, count // step * step + step
    return f"nearest are {low} and {high} nodes" if low else f"the fewest are {high} nodes"
