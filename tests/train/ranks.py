"""What the ranks of the equality tests do; a module of its own, so that they can import it."""

from __future__ import annotations

import ctypes
import gc
import os
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.distributed.fsdp._fully_shard import _fsdp_param_group
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from opencolossus.specs.document import Description
from opencolossus.specs.errors import UserError
from opencolossus.specs.model import Model
from opencolossus.specs.run import Layout, Optimiser, Run
from opencolossus.train import optimiser
from opencolossus.train.batches import Batch, split
from opencolossus.train.checkpoint import Store
from opencolossus.train.engine import Engine
from opencolossus.train.parallel import groups as grouping
from opencolossus.train.parallel import network, start
from opencolossus.train.parallel.collectives import join, part
from opencolossus.train.parallel.compiled import compile_blocks
from opencolossus.train.parallel.cuts import as_global
from opencolossus.train.parallel.layout import fault, sizes
from opencolossus.train.parallel.passes import arguments, call
from opencolossus.train.parallel.setting import Setting

ROWS, TOKENS = 8, 16
Piece = tuple[tuple[slice, ...], Tensor]
CPU = torch.device("cpu")


def model(kind: str) -> Model:
    """Small networks that use everything: Grok's block, a dense untied one, or GPT-2's."""
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
    if kind == "gpt":
        return Model(
            **shape,
            feed_forward=48,
            gated=False,
            activation="gelu",
            tied_embeddings=True,
            norm="layer",
            biases=True,
            positions="learned",
            # Else no score depends on the keys' bias, and AdamW moves it by rounding errors.
            attention_softcap=1.0,
        )
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


def engine(
    kind: str,
    layout: Layout,
    groups: grouping.Groups,
    name: str = "muon",
    compiled: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Engine:
    spec = Optimiser(name=name, clip=0.1)  # type: ignore[arg-type]
    setting = Setting(CPU, dtype, layout, groups, seed=3, compiled=compiled)
    return Engine(model(kind), setting, spec)


def own(batch: Batch, layout: Layout, groups: grouping.Groups) -> list[Batch]:
    """This rank's rows of a global batch, in micro-batches."""
    each = ROWS // groups.data.size
    first = groups.data.index * each
    mine = slice(first, first + each)
    rank = Batch(batch.tokens[mine], batch.targets[mine], batch.documents[mine])
    return split(rank, min(layout.micro_batch, each))


def pieces(tensors: dict[str, Tensor]) -> dict[str, Piece]:
    """What this rank holds of each tensor, and where in the whole that lies; a copy."""
    return {name: piece(tensor.detach()) for name, tensor in tensors.items()}


def piece(tensor: Tensor) -> Piece:
    if not isinstance(tensor, DTensor):
        return tuple(slice(0, n) for n in tensor.shape), tensor.clone()
    shape, offset = compute_local_shape_and_global_offset(
        tensor.shape, tensor.device_mesh, tensor.placements
    )
    where = tuple(slice(first, first + n) for first, n in zip(offset, shape, strict=True))
    return where, tensor.to_local().clone()


def gradients(e: Engine) -> dict[str, Piece]:
    cuts = e.network.cuts
    return pieces(
        {
            n: as_global(w.grad, cuts[n], e.groups)
            for n, w in e.weights.items()
            if w.grad is not None
        }
    )


def counted(act: str) -> Any:
    """Counts what FSDP does for its units."""
    return patch.object(_fsdp_param_group, act, wraps=getattr(_fsdp_param_group, act))


@torch.no_grad()
def logits(e: Engine, batch: Batch) -> Tensor:
    """All logits of the rows of all ranks, handed from stage to stage."""
    groups, line = e.groups, e.groups.pipeline
    out = part(batch.tokens, 1, groups.context)
    for stage in range(line.size * len(e.network.chunks)):
        chunk = e.network.chunks[stage // line.size]
        owner = stage % line.size
        if owner == line.index:
            found = call(chunk, out, None, arguments(batch, groups))
            out = found[0] if isinstance(found, tuple) else found
        if line.size > 1:
            box = [out]
            dist.broadcast_object_list(box, line.ranks[owner], group=line.group)
            out = box[0]
    out = join(join(out, 1, groups.tensor), 1, groups.context)
    return join(out, 0, groups.data)


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
    e.publish()
    with counted("foreach_all_gather") as gathers, counted("foreach_reduce") as sums_up:
        sums = e.gradients(batches)
    seen["messages"] = gathers.call_count, sums_up.call_count
    seen |= {"loss": sums.loss, "norm": sums.norm, "gradients": gradients(e)}
    seen["loads"] = dict(zip(e.network.routers(), e.loads(), strict=True))
    e.move(1.0)
    seen["moved"] = pieces(e.tensors())
    seen["held"] = sum(w.numel() for w in e.weights.values())
    seen["states"] = sum(s.numel() for _, _, s in optimiser.state(e.optimisers, e.weights))
    seen["held_out"] = e.evaluate(own(rows(2), layout, groups))
    if groups.world.size == 1:
        seen["next"] = two_more(e, layout)
    f = engine(kind, layout, groups, "adamw")
    f.gradients(batches)
    f.move(1.0)
    seen["moved by adamw"] = pieces(f.tensors())
    return seen


def compiled(kind: str, layout: Layout, groups: grouping.Groups) -> dict[str, Any]:
    """Loss and gradients of compiled blocks, without the time that a C++ compiler takes."""
    quick = partial(compile_blocks, backend="aot_eager")
    with patch.object(network, "compile_blocks", quick):
        e = engine(kind, layout, groups, compiled=True)
    loss = e.gradients(own(rows(1), layout, groups)).loss
    return {"loss": loss, "gradients": gradients(e)}


def rounded(layout: Layout, groups: grouping.Groups) -> float:
    """The loss of a network that computes in bf16."""
    e = engine("grok", layout, groups, dtype=torch.bfloat16)
    return e.gradients(own(rows(1), layout, groups)).loss


def two_more(e: Engine, layout: Layout) -> list[float]:
    """The losses of two more steps; the second shows the states of the optimisers."""
    losses = []
    for seed in (3, 4):
        losses.append(e.gradients(own(rows(seed), layout, e.groups)).loss)
        e.move(1.0)
    return losses


def save_and_load(
    kind: str, before: Layout, after: Layout, processes: int, folder: Path
) -> list[float]:
    """Train a step on one layout, save, load on another, and give the losses of the next steps."""
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
    assert store.newest_sound() == 1
    store.read_into(1, f.tensors())
    f.publish()
    return two_more(f, after)


def started(asked: dict[int, str | None], batch: dict[int, int], processes: int) -> str:
    """What starting comes to where ranks ask for these layouts and batches (of rank 0 if left out):
    the sentence of a refusal, or of the layout that was taken."""
    rank = dist.get_rank()
    rows = batch.get(rank, batch[0])
    run = Run(tokens=1e6, batch=rows * TOKENS, sequence=TOKENS, precision="fp32")
    description = Description(name="test", model=model("grok"), run=run)
    said: list[str] = []
    with patch.dict(os.environ, WORLD_SIZE=str(processes), RANK=str(rank)):
        try:
            layout, _ = start.start(description, asked.get(rank, asked[0]), 60.0, said.append)
        except UserError as error:
            return str(error)
    assert fault(layout, description.model, run, processes) is None
    return said[0]


def growth(work: Callable[[], Any]) -> int:
    """Bytes that this process held at most while it did the work, beyond those before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the C library keeps would not be asked for again
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now
    before = _peak()
    kept = work()
    found = _peak() - before
    del kept
    return found


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def large() -> Model:
    """35 million weights, none of them a large part."""
    return Model(
        layers=8,
        width=512,
        heads=8,
        kv_heads=8,
        head_size=64,
        feed_forward=2048,
        vocabulary=1024,
        context=64,
    )


def memory_of(layout: Layout, processes: int) -> int:
    """Bytes that this rank's part of a large network takes to build."""
    groups = grouping.build(sizes(layout, processes), dist.get_rank())
    setting = Setting(CPU, torch.float32, layout, groups)
    return growth(lambda: network.build(large(), setting))


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
