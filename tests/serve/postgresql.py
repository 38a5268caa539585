"""A real PostgreSQL, where one is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Postgres:
    """A PostgreSQL server of our own on a free port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.prefix: list[str] = []
        if os.geteuid() == 0:  # as whom PostgreSQL refuses to run
            self.prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(folder, "postgres")
        self.call("initdb", "-D", "data", "-A", "trust", "-E", "UTF8", "-U", "postgres")

    def call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self.prefix, _program(program), *arguments],
            cwd=self.folder, capture_output=True, text=True, timeout=240, check=False,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c fsync=off"
        self.call("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        self.call("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        paths = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        found = str(paths[-1]) if paths else ""
    return found


@contextmanager
def running() -> Iterator[Postgres]:
    """One that is running; skips the test where there is none."""
    if not _program("initdb") or not _program("pg_ctl"):
        pytest.skip("PostgreSQL's server is not installed")
    if os.geteuid() == 0 and (not shutil.which("setpriv") or not _has_user("postgres")):
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    # Not in pytest's own folder, which another user cannot enter.
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        server = Postgres(Path(folder))
        server.start()
        yield server
        server.stop()


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
