"""``colossus serve`` as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
from servers import wait_until

SERVE = [sys.executable, "-m", "opencolossus", "serve"]


def call(*arguments: str, database: Path, lines: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLOSSUS_DATABASE": f"sqlite:///{database}"}
    return subprocess.run(
        [*SERVE, *arguments], input=lines, env=environment, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip


class Process:
    """``colossus serve`` running."""

    def __init__(
        self,
        folder: Path,
        database: Path | str,
        *more: str,
        environment: dict[str, str] | None = None,
    ) -> None:
        """Start it on a file for SQLite, or on the URL of a database."""
        environment = {**(environment or os.environ), "OMP_NUM_THREADS": "1"}
        url = database if isinstance(database, str) else f"sqlite:///{database}"
        arguments = [str(folder), "--port", "0", "--database", url, *more]
        self.process = subprocess.Popen(
            [*SERVE, *arguments], env=environment, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.said = [self.process.stderr.readline()]
        found = re.search(r"http://\S+?:\d+", self.said[0])
        assert found, self.said[0] + self.process.stderr.read()
        self.url = found.group()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(self.healthy, 240)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)

    def healthy(self) -> bool:
        assert self.process.poll() is None, self.said
        try:
            return httpx.get(f"{self.url}/health", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def engine(self) -> int:
        """Process id of the engine."""
        own = self.process.pid
        for pid in Path(f"/proc/{own}/task/{own}/children").read_text().split():
            if "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text():
                return int(pid)
        raise AssertionError("it has no engine")

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(40)
        self._reader.join(5)
        return code
