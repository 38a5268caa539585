"""A Slurm cluster of several virtual nodes on this machine, in one folder, ended by process id."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel", "srun")
CONF = """
ClusterName=virtual
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmctldTimeout=30
SlurmdTimeout=10
SlurmdParameters=config_overrides
KillWait=30
MessageTimeout=10
TCPTimeout=2
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
TopologyPlugin=topology/tree
GresTypes=gpu
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] \
CPUs={cpus} RealMemory=500 Gres=gpu:h100:2
PartitionName=batch Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
GRES = "NodeName=n[1-{nodes}] Name=gpu Type=h100 File={folder}/dev/nvidia[0-1]\n"
TOPOLOGY = """
SwitchName=leaf1 Nodes=n[1-2]
SwitchName=leaf2 Nodes=n[3-{nodes}]
SwitchName=spine Switches=leaf[1-2]
"""


def missing() -> str | None:
    """Why no such cluster can be had here, if so."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    return f"{', '.join(absent)} not installed (Debian: slurm-wlm, munge)" if absent else None


class VirtualSlurm:
    """``nodes`` virtual nodes n1, n2... of this machine, each with two make-believe GPUs."""

    def __init__(self, folder: Path, nodes: int = 4) -> None:
        self.folder, self.nodes = folder, nodes
        self.env = {
            **os.environ,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
        }
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> VirtualSlurm:
        self._configure()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def run(self, *command: str) -> str:
        """Output of one of Slurm's commands."""
        found = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)
        assert found.returncode == 0, f"{command}: {found.stderr}"
        return found.stdout

    def job(self, number: str) -> dict[str, str]:
        """What scontrol shows of a job."""
        words = self.run("scontrol", "-o", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def restarted(self, number: str, times: int) -> bool:
        """Whether a job runs again; Slurm holds one that it queued again for two minutes."""
        job = self.job(number)
        if job["JobState"] == "PENDING":
            # Slurm refuses a new credential in the second that revoked the old one, and refuses
            # this change while the last of the job is still ending.
            time.sleep(2)
            now = ["scontrol", "update", f"job={number}", "StartTime=now"]
            subprocess.run(now, env=self.env, capture_output=True, timeout=60)
        return job["JobState"] in ("RUNNING", "COMPLETED") and int(job["Restarts"]) == times

    def kill_node(self, name: str) -> None:
        """Let a node die as in a power cut: its daemon and all that it runs, at once."""
        daemon = self._daemons.pop(name)
        daemon.kill()
        daemon.wait()

        def gone() -> bool:
            left = self._processes_of(name)
            for pid in left:
                _kill(pid)
            return not left

        self.wait(gone, f"the end of {name}'s processes")

    def stop(self) -> None:
        """End everything that was started here, by process id."""
        for name in [f"n{i}" for i in range(1, self.nodes + 1)]:
            for pid in self._processes_of(name):
                _kill(pid)
        for daemon in reversed(self._daemons.values()):
            daemon.kill()
        for daemon in self._daemons.values():
            daemon.wait()
        self._daemons.clear()

    def wait(self, true: Callable[[], bool], what: str, seconds: float = 240) -> None:
        """Wait until something holds."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"{what} did not come\n{self._told()}"
            time.sleep(0.1)

    def _configure(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o755)  # munged wants no folder of its socket open to others' writing
        (self.folder / "state").mkdir()
        (self.folder / "dev").mkdir()
        for i in range(2):
            (self.folder / "dev" / f"nvidia{i}").touch()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        port = _free_ports(self.nodes + 1)
        values = {
            "host": socket.gethostname().split(".")[0],
            "user": getpass.getuser(),
            "folder": self.folder,
            "nodes": self.nodes,
            "cpus": os.cpu_count(),
            "port": port,
            "first": port + 1,
            "last": port + self.nodes,
        }
        for name, text in (("slurm", CONF), ("gres", GRES), ("topology", TOPOLOGY)):
            (self.folder / f"{name}.conf").write_text(text.format(**values))

    def _start(self) -> None:
        here = self.folder
        self._daemon(
            "munged",
            *("munged", "--foreground", "--force", f"--key-file={here}/munge.key"),
            *(f"--socket={here}/munge.sock", f"--pid-file={here}/munged.pid"),
            *(f"--log-file={here}/munged.log", f"--seed-file={here}/munged.seed"),
        )
        self.wait((here / "munge.sock").exists, "munged's socket", 20)
        self._daemon("slurmctld", "slurmctld", "-c", "-D")
        for i in range(1, self.nodes + 1):
            self._daemon(f"n{i}", "slurmd", "-c", "-D", "-N", f"n{i}")
        self.wait(self._all_idle, "idle nodes", 60)

    def _daemon(self, name: str, *command: str) -> None:
        out = (self.folder / f"{name}.out").open("wb")
        with out:
            self._daemons[name] = subprocess.Popen(
                command, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def _all_idle(self) -> bool:
        found = subprocess.run(
            ["sinfo", "-h", "-N", "-o", "%T"], env=self.env, capture_output=True, text=True
        )
        return found.stdout.split() == ["idle"] * self.nodes

    def _processes_of(self, node: str) -> list[int]:
        """Ids of the step daemons of a node and of all that they started."""
        parents: dict[int, int] = {}
        steps: set[int] = set()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                parents[int(entry.name)] = int(_stat(entry)[1])
                environment = (entry / "environ").read_bytes().split(b"\0")
            except (OSError, IndexError, ValueError):
                continue
            ours = f"SLURM_CONF={self.folder}/slurm.conf".encode() in environment
            if ours and f"SLURMD_NODENAME={node}".encode() in environment:
                steps.add(int(entry.name))
        while more := {pid for pid, parent in parents.items() if parent in steps} - steps:
            steps |= more
        # The step daemon itself carries no name of its node in its environment, its title does.
        steps |= {parents[pid] for pid in steps if _is_step_daemon(parents.get(pid, 0))}
        return sorted(steps)

    def _told(self) -> str:
        logs = [*self.folder.glob("*.log"), *self.folder.glob("*.out")]
        return "\n".join(f"== {log.name}\n{log.read_text()[-1500:]}" for log in sorted(logs))


def _stat(entry: Path) -> list[str]:
    return (entry / "stat").read_text().rpartition(")")[2].split()


def _is_step_daemon(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"slurmstepd:")
    except OSError:
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _free_ports(count: int) -> int:
    """First of several neighbouring ports that nobody listens on."""
    for first in range(16000 + os.getpid() % 1000 * 16, 60000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise OSError("no free ports")
