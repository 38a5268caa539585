"""The command that every node runs: one torchrun, which starts one process per GPU."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from opencolossus.train.launch.job import PORT, Job


def words(job: Job, python: str, first: str, name: str, conf: str = "") -> list[str]:
    """The command as words; the same on every node.

    All meet at the first node (rendezvous c10d), so a process that fails is started anew with
    all others, on the same nodes.

    Args:
        first: address and port of the first node.
        name: of the rendezvous; late ones of an earlier attempt must not meet this one.
        conf: further options of the rendezvous.
    """
    return [
        python,
        *("-m", "torch.distributed.run"),
        f"--nnodes={job.nodes}",
        f"--nproc-per-node={job.processes}",
        f"--max-restarts={job.restarts}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={first}",
        f"--rdzv-id={name}",
        *([f"--rdzv-conf={conf}"] if conf else []),
        *("-m", "opencolossus"),
    ]


def commands(job: Job, hosts: Sequence[str] = ()) -> str:
    """What to type on each node, as a shell reads it.

    Args:
        hosts: names of the nodes; without them the first node's name is left open.
    """
    grace = f"TORCH_ELASTIC_SHUTDOWN_TIMEOUT={job.grace:.0f}"
    if job.nodes == 1:
        alone = ["torchrun", "--standalone", f"--nproc-per-node={job.processes}"]
        alone += [f"--max-restarts={job.restarts}", "-m", "opencolossus", *job.train]
        return f"{grace} {shlex.join(alone)}\n"
    if not hosts:
        command = [*words(job, "python", f"FIRST:{PORT}", job.label), *job.train]
        return (
            f"# The same on each of the {job.nodes} nodes, with the name or address of one of "
            f"them for FIRST:\n{grace} {shlex.join(command)}\n"
        )
    parts = []
    for host in hosts:
        conf = f"is_host={int(host == hosts[0])}"
        command = [*words(job, "python", f"{hosts[0]}:{PORT}", job.label, conf), *job.train]
        parts.append(f"# on {host}\n{grace} {shlex.join(command)}\n")
    return "".join(parts)
