"""What the ranks of the equality tests do; a module of its own, so that they can import it."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.distributed.tensor import DTensor

from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout, Optimiser
from opencolossus.train import optimiser
from opencolossus.train.batches import Batch, split
from opencolossus.train.checkpoint import Store
from opencolossus.train.engine import Engine, Setting
from opencolossus.train.parallel import groups as grouping
from opencolossus.train.parallel.collectives import join, part
from opencolossus.train.parallel.cuts import as_global
from opencolossus.train.parallel.layout import sizes
from opencolossus.train.parallel.passes import Direct, arguments, call

ROWS, TOKENS = 8, 16
CPU = torch.device("cpu")


def model(kind: str) -> Model:
    """Small networks that use everything: Grok's block, or a dense untied one."""
    shape: dict[str, Any] = {
        "layers": 4,
        "width": 32,
        "heads": 4,
        "kv_heads": 2,
        "head_size": 8,
        "vocabulary": 64,
        "context": 32,
    }
    if kind == "dense":
        return Model(**shape, feed_forward=48)
    return Model(
        **shape,
        feed_forward=24,
        activation="gelu",
        tied_embeddings=True,
        experts=4,
        experts_per_token=2,
        expert_feed_forward=24,
        shared_experts=1,
        dense_layers=1,
        norm_placement="sandwich",
        attention_softcap=30.0,
        router_softcap=30.0,
        embedding_multiplier=5.0,
        output_multiplier=0.6,
    )


def rows(seed: int) -> Batch:
    """A global batch of packed documents; its first two rows have no target at all."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 64, (ROWS, TOKENS + 1), generator=generator)
    targets = tokens[:, 1:].clone()
    targets[:2] = -100
    targets[torch.rand(targets.shape, generator=generator) < 0.1] = -100
    cuts = torch.rand(ROWS, TOKENS, generator=generator) < 0.15
    return Batch(tokens[:, :-1], targets, cuts.cumsum(1))


def engine(kind: str, layout: Layout, groups: grouping.Groups, name: str = "muon") -> Engine:
    spec = Optimiser(name=name, clip=0.1)  # type: ignore[arg-type]
    return Engine(model(kind), Setting(CPU, torch.float32, layout, groups, seed=3), spec)


def own(batch: Batch, layout: Layout, groups: grouping.Groups) -> list[Batch]:
    """This rank's rows of a global batch, in micro-batches."""
    each = ROWS // groups.data.size
    first = groups.data.index * each
    mine = slice(first, first + each)
    rank = Batch(batch.tokens[mine], batch.targets[mine], batch.documents[mine])
    return split(rank, min(layout.micro_batch, each))


def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pieces put together; a copy."""
    return {
        name: (t.full_tensor() if isinstance(t, DTensor) else t).detach().clone()
        for name, t in sorted(tensors.items())
    }


def gradients(e: Engine) -> dict[str, Tensor]:
    cuts = e.network.cuts
    return whole(
        {
            n: as_global(w.grad, cuts[n], e.groups)
            for n, w in e.weights.items()
            if w.grad is not None
        }
    )


def logits(e: Engine, batch: Batch) -> Tensor | None:
    """All logits of this rank's rows, or None in a pipeline."""
    if not isinstance(e._passes, Direct):
        return None
    tokens = part(batch.tokens, 1, e.groups.context)
    with torch.no_grad():
        out: Tensor = call(e._passes.network, tokens, None, arguments(batch, e.groups))
    out = join(join(out, 1, e.groups.tensor), 1, e.groups.context)
    return join(out, 0, e.groups.data)


def observe(kind: str, layout: Layout, groups: grouping.Groups) -> dict[str, Any]:
    """Everything that must not depend on the layout."""
    e = engine(kind, layout, groups)
    batches = own(rows(1), layout, groups)
    everything = Batch(
        *(torch.cat(parts) for parts in zip(*(vars(b).values() for b in batches), strict=True))
    )
    seen: dict[str, Any] = {"logits": logits(e, everything)}
    for router in e.network.routers().values():
        router.reset_load()
    sums = e.gradients(batches)
    seen |= {"loss": sums.loss, "norm": sums.norm, "gradients": gradients(e)}
    seen["loads"] = dict(zip(e.network.routers(), e.loads(), strict=True))
    e.move(1.0)
    seen["moved"] = whole(
        {n: t for n, t in e.tensors().items() if n.startswith(("weights", "buf"))}
    )
    seen["held_out"] = e.evaluate(own(rows(2), layout, groups))
    seen["next"] = e.gradients(own(rows(3), layout, groups)).loss
    return seen


def save_and_load(kind: str, before: Layout, after: Layout, processes: int, folder: Path) -> float:
    """Train a step on one layout, save, load on another, and give the loss of the next step."""
    first = grouping.build(sizes(before, processes), dist.get_rank())
    e = engine(kind, before, first)
    e.gradients(own(rows(1), before, first))
    e.move(1.0)
    store = Store(folder, print)
    store.save(1, e.tensors(), {})
    store.wait()
    dist.barrier()
    second = grouping.build(sizes(after, processes), dist.get_rank())
    f = engine(kind, after, second)
    optimiser.prime(f.optimisers)
    assert store.newest_sound() == 1
    store.read_into(1, f.tensors())
    f.masters.publish()
    return f.gradients(own(rows(3), after, second)).loss


def run(rank: int, processes: int, folder: str, work: Callable[[int, Path], Any]) -> None:
    """One rank: do the work, leave what it gave in a file."""
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=processes
    )
    try:
        found = work(processes, Path(folder))
    except BaseException:
        found = traceback.format_exc()
    torch.save(found, f"{folder}/rank-{rank}.pt")
    dist.destroy_process_group()


def together(processes: int, folder: Path, work: Callable[[int, Path], Any]) -> list[Any]:
    """What the work gave at each of several real processes."""
    mp.spawn(run, (processes, str(folder), work), nprocs=processes)  # type: ignore[no-untyped-call]
    found = [torch.load(folder / f"rank-{r}.pt", weights_only=False) for r in range(processes)]
    for rank, result in enumerate(found):
        assert not isinstance(result, str), f"rank {rank}: {result}"
    return found
