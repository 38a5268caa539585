"""A conversation in the terminal: lines in, answers out while they are made."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

from opencolossus.data.documents import Message, plain
from opencolossus.serve.request import Sampling
from opencolossus.specs.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from opencolossus.serve.conversation import Speaker

HELP = """\
/help               this list
/clear              forget the conversation and begin anew
/retry              another answer to the last message
/system TEXT        instructions for the model (empty: none); begins anew
/temperature X      0 always takes the likeliest word; 0.8 is lively; up to 2
/top-p X            keep the likeliest words that together have this share, 0 to 1
/max-tokens N       longest answer
/seed N             make answers repeatable (empty: not)
/exit               leave; so does Ctrl-D
Ctrl-C              stop an answer
"""
_COMMANDS = [line.split()[0] for line in HELP.splitlines() if line.startswith("/")]


@dataclass(frozen=True)
class Settings:
    """What the person can change while talking."""

    sampling: Sampling
    max_tokens: int
    system: str = ""


class Terminal:
    """The loop. A person at a terminal sees a prompt; a pipe gets answers only."""

    def __init__(
        self,
        speaker: Speaker,
        settings: Settings,
        out: TextIO,
        read_line: Callable[[], str],
        *,
        person: bool,
    ) -> None:
        self.speaker = speaker
        self.settings = settings
        self.out = out
        self.read_line = read_line
        self.person = person
        self.turns: list[Message] = []
        self._asked = 0

    def run(self) -> None:
        """Talk until the input ends or the person leaves."""
        while True:
            try:
                line = self.read_line().strip()
            except EOFError:
                self._tell("")
                return
            except KeyboardInterrupt:
                self._tell("\n(Ctrl-D or /exit leaves)")
                continue
            if line in ("/exit", "/quit"):
                return
            if line.startswith("/") and self.person:
                self._obey(line)
            elif line:
                self.say(line)

    def say(self, text: str) -> None:
        """Send one message and print the answer as it comes."""
        self.turns.append(Message("user", plain(text)))
        self._answer()

    def _answer(self) -> None:
        settings = self.settings
        system = [Message("system", plain(settings.system))] if settings.system else []
        sampling = settings.sampling
        if sampling.seed is not None:
            sampling = replace(sampling, seed=sampling.seed + self._asked)
        self._asked += 1
        said = ""
        with _interrupts() as interrupted:
            try:
                answer = self.speaker.answer(
                    [*system, *self.turns], sampling, settings.max_tokens, interrupted
                )
                for piece in answer:
                    if not said:
                        piece = piece.lstrip()
                    said += piece
                    self.out.write(printable(piece))
                    self.out.flush()
            except UserError as error:
                self.turns.pop()
                if not self.person:
                    raise
                self._tell(str(error))
                return
        self.out.write(" …\n" if interrupted() and self.person else "\n")
        self.out.flush()
        self.turns.append(Message("assistant", said))

    def _obey(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        try:
            if word == "/help":
                self._tell(HELP.rstrip())
            elif word == "/clear":
                self.turns.clear()
                self._tell("(a new conversation)")
            elif word == "/retry":
                self._retry()
            elif word == "/system":
                self.turns.clear()
                self.settings = replace(self.settings, system=rest)
                self._tell("(a new conversation, with these instructions)" if rest else "(none)")
            else:
                self.settings = changed(self.settings, word, rest)
                self._tell(f"({word[1:]} is now {rest or 'off'})")
        except UserError as error:
            self._tell(str(error))

    def _retry(self) -> None:
        if self.turns and self.turns[-1].role == "assistant":
            self.turns.pop()
        if not self.turns:
            raise UserError("there is no message to answer yet")
        self._answer()

    def _tell(self, text: str) -> None:
        if self.person:
            self.out.write(text + "\n")
            self.out.flush()


def changed(settings: Settings, word: str, value: str) -> Settings:
    """The settings after a command like ``/temperature 0.5``.

    Raises:
        UserError: there is no such command, or the value is not valid.
    """
    if word == "/temperature":
        temperature = _number(word, value, 0.0, 2.0)
        return replace(settings, sampling=replace(settings.sampling, temperature=temperature))
    if word == "/top-p":
        top_p = _number(word, value, 0.0, 1.0)
        return replace(settings, sampling=replace(settings.sampling, top_p=top_p))
    if word == "/max-tokens":
        return replace(settings, max_tokens=int(_number(word, value, 1, 1_000_000)))
    if word == "/seed":
        seed = int(_number(word, value, 0, 2**63)) if value else None
        return replace(settings, sampling=replace(settings.sampling, seed=seed))
    raise UserError(f"there is no command {word}{did_you_mean(word, _COMMANDS)}; /help lists them")


def _number(word: str, value: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise UserError(f"{word} takes a number from {low:g} to {high:g}, not {value!r}")
    return number


def printable(text: str) -> str:
    """Text without characters that would move the cursor or change the terminal."""
    return "".join(c for c in text if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f"))


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """While it lasts Ctrl-C raises nothing; the function given says whether it was pressed."""
    pressed = False

    def note(_number: int, _frame: object) -> None:
        nonlocal pressed
        pressed = True

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread, where no Ctrl-C arrives either
        yield lambda: False
        return
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
