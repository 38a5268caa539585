"""The terminal chat on this process's own input and output."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

from opencolossus.serve import devices
from opencolossus.serve.terminal import Settings, Terminal
from opencolossus.serve.trained import open_run, usual_dtype
from opencolossus.specs.errors import UserError


def talk(run: Path, settings: Settings, prompt: str | None, device: str | None = None) -> None:
    """Load a run, then answer ``prompt``, or whatever comes in.

    Raises:
        UserError: the run cannot be talked to, ``device`` is not there, or (from a pipe) a message
            does not fit.
    """
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what is no UTF-8 must not end the conversation
    if prompt is not None and not prompt.strip():
        raise UserError("--prompt is empty; give a message")
    person = prompt is None and sys.stdin.isatty()
    trained = open_run(run)  # before the heavy import, so that a wrong folder is answered at once
    place = devices.find(device)
    if person:
        where = devices.told(place, usual_dtype(place))
        print(f"{trained.title}, {where}: /help for help, Ctrl-D to leave")
    from opencolossus.serve.conversation import Speaker

    engine = trained.engine(slots=1, device=place)
    read = _read_person if person else _read_pipe
    terminal = Terminal(
        Speaker(engine, trained.tokenizer), settings, sys.stdout, read, person=person
    )
    if prompt is not None:
        terminal.say(prompt)
    else:
        terminal.run()


def _read_person() -> str:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  line editing and history come with the import
    return input("> ")


def _read_pipe() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
