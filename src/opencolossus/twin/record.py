"""The record of a simulation: columns by hour, events, failures, a summary; whole or not there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from opencolossus.specs.errors import UserError
from opencolossus.specs.files import flush

FILES = (
    "record.parquet",
    "events.parquet",
    "failures.parquet",
    "summary.json",
    "rhythm.parquet",
    "minutes.parquet",
)


@dataclass(frozen=True)
class Event:
    """Something that people want to know about."""

    time: np.datetime64
    kind: str
    text: str


@dataclass(frozen=True)
class Record:
    """What happened, hour by hour; units in SI unless a column's name tells otherwise."""

    name: str
    hours: NDArray[np.datetime64]
    columns: dict[str, NDArray[np.float64]]
    """Shape [H] each. Powers are means in W, amounts are per hour."""
    events: tuple[Event, ...]
    failures: dict[str, NDArray[Any]]
    """``time`` (s since the start), ``cause`` and ``pool`` of each failure."""
    summary: dict[str, Any]
    assumptions: tuple[str, ...] = field(default=())
    rhythm: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """``time`` (s) and ``power`` (IT, W) over a few steps and a stop of the largest plan."""
    moments: dict[str, NDArray[Any]] = field(default_factory=dict)
    """Minutes around events: ``time``, power (W) by source, demand, limit, cap and speed."""

    def __getitem__(self, column: str) -> NDArray[np.float64]:
        return self.columns[column]

    def prefixed(self, prefix: str) -> dict[str, NDArray[np.float64]]:
        """Columns ``prefix.name`` by name."""
        start = prefix + "."
        return {k[len(start) :]: v for k, v in self.columns.items() if k.startswith(start)}

    def summary_json(self) -> str:
        """The summary with what it leans on, as JSON."""
        return json.dumps(self.summary | {"assumptions": list(self.assumptions)}, indent=2)

    def write(self, folder: Path, extra: dict[str, str] | None = None) -> None:
        """Write all files into ``folder``, or leave what was there.

        Raises:
            UserError: the folder holds something else, or cannot be written.
        """
        if folder.exists() and not _is_record(folder):
            raise UserError(f"--out {folder} exists and is no record; name a new folder")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.part-"))
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
        try:
            self._write_files(part, extra or {})
            os.chmod(part, 0o755)
            _swap(part, folder)
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _write_files(self, folder: Path, extra: dict[str, str]) -> None:
        columns = {"time": pa.array(self.hours.astype("datetime64[s]"))} | self.columns
        pq.write_table(pa.table(columns), folder / FILES[0], compression="zstd")
        events = {
            "time": pa.array(np.array([e.time for e in self.events], dtype="datetime64[s]")),
            "kind": pa.array([e.kind for e in self.events], pa.string()),
            "text": pa.array([e.text for e in self.events], pa.string()),
        }
        pq.write_table(pa.table(events), folder / FILES[1])
        pq.write_table(pa.table(self.failures), folder / FILES[2], compression="zstd")
        pq.write_table(pa.table(self.rhythm), folder / FILES[4])
        pq.write_table(pa.table(self.moments), folder / FILES[5], compression="zstd")
        (folder / FILES[3]).write_text(self.summary_json() + "\n", encoding="utf-8")
        for name, text in extra.items():
            (folder / name).write_text(text, encoding="utf-8")
        for path in (*folder.iterdir(), folder):
            flush(path)  # a name must not outlive what it names


def read(folder: Path) -> Record:
    """Read a record that ``Record.write`` wrote.

    Raises:
        UserError: there is none.
    """
    if not _is_record(folder):
        raise UserError(f"{folder} holds no record of a simulation; 'colossus simulate' writes one")
    table = pq.read_table(folder / FILES[0])
    columns = {
        name: np.asarray(table[name].to_numpy(), dtype=float)
        for name in table.column_names
        if name != "time"
    }
    events = pq.read_table(folder / FILES[1]).to_pylist()
    summary = json.loads((folder / FILES[3]).read_text(encoding="utf-8"))
    failures, rhythm, moments = (pq.read_table(folder / FILES[i]) for i in (2, 4, 5))
    return Record(
        name=summary["name"],
        hours=table["time"].to_numpy().astype("datetime64[h]"),
        columns=columns,
        events=tuple(Event(np.datetime64(e["time"]), e["kind"], e["text"]) for e in events),
        failures={name: failures[name].to_numpy() for name in failures.column_names},
        assumptions=tuple(summary.pop("assumptions")),
        rhythm={name: rhythm[name].to_numpy() for name in rhythm.column_names},
        moments={name: moments[name].to_numpy() for name in moments.column_names},
        summary=summary,
    )


def _is_record(folder: Path) -> bool:
    return folder.is_dir() and all((folder / FILES[i]).is_file() for i in (0, 3))


def _swap(part: Path, folder: Path) -> None:
    """Put ``part`` in the place of ``folder``; the old record goes when the new one is whole."""
    if not folder.exists():
        os.rename(part, folder)
        return
    old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old-"))
    os.rename(folder, old / "record")
    os.rename(part, folder)
    shutil.rmtree(old)
