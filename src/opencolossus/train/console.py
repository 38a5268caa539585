"""Progress for a person: a bar in a terminal, plain lines in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self, TextIO

from opencolossus.train.telemetry import StepRecord

LINE_EVERY = 10.0
"""Seconds between plain lines."""


class Progress(Protocol):
    """Where a run shows how far it is."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def note(self, text: str) -> None:
        """Say one sentence."""

    def step(self, record: StepRecord, share: float, left: float) -> None:
        """Show a step; ``share`` of the run is done, ``left`` s remain."""


class Silent:
    """For all processes but the first."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def note(self, text: str) -> None:
        """Say nothing."""

    def step(self, record: StepRecord, share: float, left: float) -> None:
        """Show nothing."""


class Lines(Silent):
    """One line now and then."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._last = -LINE_EVERY

    def note(self, text: str) -> None:
        """Print the sentence."""
        print(text, file=self._out, flush=True)

    def step(self, record: StepRecord, share: float, left: float) -> None:
        """Print every ten seconds, and the last step."""
        now = time.monotonic()
        if now - self._last < LINE_EVERY and share < 1.0:
            return
        self._last = now
        self.note(f"step {record.step:>6}  {100 * share:5.1f} %  {figures(record)}  {eta(left)}")


class Bar(Silent):
    """A bar with its figures in the last line of a terminal; sentences scroll above it."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("step {task.fields[step]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.description}"),
            console=Console(file=out, highlight=False),
            transient=False,
            expand=True,
        )
        self._task = self._bar.add_task("", total=1.0, step=0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """Print above the bar."""
        self._bar.console.print(text, markup=False)

    def step(self, record: StepRecord, share: float, left: float) -> None:
        """Move the bar."""
        text = f"{figures(record)}  {eta(left)}"
        self._bar.update(self._task, completed=share, description=text, step=record.step)


def figures(record: StepRecord) -> str:
    """Loss, speed and what else a person watches."""
    parts = [f"loss {record.loss:6.3f}", f"{record.tokens_per_second:,.0f} tokens/s"]
    if record.expert_load is not None:
        parts.append(f"load {record.expert_load:.2f}")
    if record.skipped:
        parts.append(f"{record.skipped} skipped")
    return "  ".join(parts)


def eta(left: float) -> str:
    """Time to go, for a person."""
    minutes, seconds = divmod(round(left), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h left"
    return f"{hours}:{minutes:02d}:{seconds:02d} left" if hours else f"{minutes}:{seconds:02d} left"


def progress_on(out: TextIO) -> Progress:
    """A bar where there is a terminal, lines elsewhere."""
    return Bar(out) if out.isatty() else Lines(out)
