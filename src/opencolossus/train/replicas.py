"""Replica groups that outlive each other: an experiment, with torchft (extra ``ft``).

Each group is a run of its own: its processes, layout and folder. Before every step a lighthouse
says which groups are there, and they share the batch of that step among them; gradients, losses
and counts are summed over the groups. A group that dies costs the others the step that they were
in, which they take again without it. One that comes back takes over the state of one that went on.
The batch of a step never depends on how many groups there are, so neither does what is learnt.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from opencolossus.data.batch import Batch as Rows
from opencolossus.specs.errors import UserError
from opencolossus.train import world

if TYPE_CHECKING:
    from torchft.manager import Manager

LIGHTHOUSE = "TORCHFT_LIGHTHOUSE"
"""Variable with the address of torchft's lighthouse; replica groups are used where it is set."""
GROUP = "REPLICA_GROUP_ID"
"""Variable with the name of this group."""
BUCKET = 1 << 24
"""Numbers that are summed in one message."""


def wanted() -> bool:
    """Whether this run is one of several replica groups."""
    return LIGHTHOUSE in os.environ


class Alone:
    """No other group: every sum is its own."""

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors over all groups, in place."""


class Replicas(Alone):
    """The groups that are there, of which this process's is one.

    Args:
        state: what a group that fell behind needs, as tensors and plain values.
        load: takes it over.
        step: steps done so far; the group with most of them is the one that others follow.
        patience: seconds after which a group that does not answer is given up.

    Raises:
        UserError: torchft is not installed, or torchrun did not start this process.
    """

    def __init__(
        self,
        state: Callable[[], dict[str, Any]],
        load: Callable[[dict[str, Any]], None],
        step: int,
        patience: float,
    ) -> None:
        if "MASTER_ADDR" not in os.environ:
            raise UserError(f"{LIGHTHOUSE} is set: start each replica group with torchrun")
        self._manager = _manager(state, load, patience)
        self._manager.load_state_dict({"step": step, "batches_committed": step})

    @property
    def count(self) -> int:
        """Groups that take part in this step."""
        return int(self._manager.num_participants())

    def begin(self) -> None:
        """Find out who is there; a group that fell behind takes over another's state now.

        Raises:
            UserError: the lighthouse does not answer.
        """
        try:
            self._manager.start_quorum()
        except (RuntimeError, OSError) as error:
            raise _unanswered(error) from error

    def part(self, rows: Rows) -> Rows:
        """This group's rows of those that this process would read if there were no other group.

        Raises:
            UserError: there are more groups than rows.
        """
        mine = slice(int(self._manager.participating_rank() or 0), None, self.count)
        if self.count > len(rows):
            raise UserError(
                f"{self.count} replica groups share {len(rows)} rows of a step: raise run.batch"
            )
        return rows.part(mine)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors over all groups, in place; ``complete`` tells whether that went well."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            self._manager.allreduce(flat, reduce_op=torch.distributed.ReduceOp.SUM).wait()
            pieces = flat.split([tensor.numel() for tensor in bucket])
            for tensor, piece in zip(bucket, pieces, strict=True):
                tensor.copy_(piece.view_as(tensor))

    def complete(self) -> bool:
        """Whether every sum of this step is one; if not, the step must be taken again."""
        return bool(self._manager.should_commit())

    def close(self) -> None:
        """Leave."""
        self._manager.shutdown(wait=False)


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Tensors of one type together, up to a size."""
    kinds: dict[torch.dtype, list[list[Tensor]]] = defaultdict(lambda: [[]])
    for tensor in tensors:
        buckets = kinds[tensor.dtype]
        if sum(each.numel() for each in buckets[-1]) >= BUCKET:
            buckets.append([])
        buckets[-1].append(tensor)
    return [bucket for buckets in kinds.values() for bucket in buckets if bucket]


def _manager(
    state: Callable[[], dict[str, Any]], load: Callable[[dict[str, Any]], None], patience: float
) -> Manager:
    try:
        from torchft.manager import Manager
        from torchft.process_group import ProcessGroupGloo, ProcessGroupNCCL
    except ModuleNotFoundError as error:
        raise UserError(
            f"{LIGHTHOUSE} is set, but {error.name} is missing: pip install 'opencolossus[ft]'"
        ) from None
    kind = ProcessGroupNCCL if torch.cuda.is_available() else ProcessGroupGloo
    limit = timedelta(seconds=patience)
    try:
        return Manager(
            pg=kind(timeout=limit),
            load_state_dict=load,
            state_dict=state,
            min_replica_size=1,
            use_async_quorum=False,  # who is there decides which rows to read
            timeout=limit,
            quorum_timeout=limit,
            connect_timeout=limit,
            rank=world.rank(),
            world_size=world.size(),
            replica_id=os.environ.get(GROUP, "group"),
        )
    except (RuntimeError, OSError) as error:
        raise _unanswered(error) from error


def _unanswered(error: Exception) -> UserError:
    why = (str(error).splitlines() or [""])[0][:200]
    return UserError(
        f"the lighthouse at {os.environ.get(LIGHTHOUSE)} does not answer; start torchft_lighthouse "
        f"there, and go on by --resume ({why})"
    )
