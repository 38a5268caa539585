"""The terminal chat, as a person and as a pipe meet it."""

from __future__ import annotations

import io
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opencolossus.cli.chat import chat
from opencolossus.data.tokenizer import Tokenizer
from opencolossus.serve.conversation import Speaker
from opencolossus.serve.engine import Engine
from opencolossus.serve.request import Sampling
from opencolossus.serve.terminal import Settings, Terminal, printable
from opencolossus.specs.errors import UserError

SLOWLY = """
import time
from opencolossus.cli import main
from opencolossus.serve.engine import Engine

step = Engine.step

def slow(self):
    time.sleep(0.1)
    return step(self)

Engine.step = slow
main()
"""
"""The command with an engine that leaves time to stop an answer, on any machine."""
CHAT = [sys.executable, "-m", "opencolossus", "chat"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"}


def test_a_prompt_gives_one_answer_that_its_seed_repeats(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for seed in (4, 4, 5):
        chat(run_folder, prompt="hello", seed=seed, max_tokens=30)
        said.append(capsys.readouterr())
    assert [one.err for one in said] == ["", "", ""]
    assert said[0].out == said[1].out
    assert said[0].out != said[2].out
    assert said[0].out.endswith("\n")
    assert len(said[0].out) > 10


def test_a_pipe_gives_one_answer_per_line(run_folder: Path) -> None:
    arguments = [str(run_folder), "--seed", "1", "--max-tokens", "1", "--temperature", "0"]
    done = subprocess.run(
        [*CHAT, *arguments],
        input=b"hello\n\nhow are \xff you\n",
        env=ENVIRONMENT,
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") >= 2
    assert not done.stdout.startswith(b">")


def test_a_message_longer_than_the_context_is_refused_in_one_sentence(run_folder: Path) -> None:
    with pytest.raises(UserError, match="the model can read"):
        chat(run_folder, prompt="zq " * 400)


def test_a_run_that_cannot_speak_says_why(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    bare, torn, no_words, other = (tmp_path / name for name in ("bare", "torn", "words", "other"))
    for copy in (bare, torn, no_words, other):
        shutil.copytree(run_folder, copy)
    shutil.rmtree(bare / "checkpoints")
    weights = next((torn / "checkpoints").glob("step-*/*.distcp"))
    weights.write_bytes(weights.read_bytes()[:-9] + b"xxxxxxxxx")
    (no_words / "tokenizer.json").unlink()
    description = other / "description.json"
    description.write_text(description.read_text().replace('"layers":2', '"layers":3'))
    for folder, reason in (
        (tmp_path / "nowhere", "is not a folder"),
        (empty, "is not the folder of a training run"),
        (bare, "has no checkpoint yet"),
        (torn, "has no sound checkpoint"),
        (no_words, r"tokenizer.json is missing"),
        (other, "model.layers is 2"),
    ):
        with pytest.raises(UserError, match=reason):
            chat(folder, prompt="hello")
    assert "is damaged" in capsys.readouterr().err


def test_the_commands_of_the_conversation(
    run_folder: Path, tokenizer: Tokenizer, engine: Engine
) -> None:
    lines = iter(
        ["/retry", "hello", "/retry", "/seed 3", "/retry", "/system be brief", "/seed", "/nonsense",
         "/temperature hot", "thank you", "/exit", "never read"]
    )  # fmt: skip
    out = io.StringIO()
    settings = Settings(Sampling(temperature=1.0), 5)
    speaker = Speaker(engine, tokenizer)
    terminal = Terminal(speaker, settings, out, lambda: next(lines), person=True)
    terminal.run()
    said = out.getvalue().splitlines()
    assert said[0] == "there is no message to answer yet"
    assert [turn.role for turn in terminal.turns] == ["user", "assistant"]
    assert terminal.turns[0].content == "thank you"
    assert terminal.settings.system == "be brief"
    assert terminal.settings.sampling.seed is None
    assert any("there is no command /nonsense" in line for line in said)
    assert any("from 0 to 2, not 'hot'" in line for line in said)
    assert next(lines) == "never read"


def test_text_that_would_move_the_cursor_is_not_printed() -> None:
    assert printable("a\x1b[2Jb\rc\x07\n\td\x9be\x7f é") == "a[2Jbc\n\tde é"


class Person:
    """Somebody at a terminal."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            command = [sys.executable, "-c", SLOWLY, "chat"]
            os.execvpe(sys.executable, [*command, *arguments], ENVIRONMENT)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def wait_for(self, text: str) -> str:
        """Read until ``text`` has appeared after all that was read before."""
        start, end = len(self.seen), time.monotonic() + 120
        while text not in self.seen[start:]:
            assert time.monotonic() < end, self.seen
            if select.select([self.terminal], [], [], 1)[0]:
                self.seen += os.read(self.terminal, 4096).decode(errors="replace")
        return self.seen[start:]

    def leave(self) -> int:
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.terminal)
        return os.waitstatus_to_exitcode(status)


@pytest.mark.skipif(not hasattr(pty, "fork"), reason="needs a pseudo-terminal")
def test_a_person_talks_stops_an_answer_and_leaves(run_folder: Path) -> None:
    person = Person(str(run_folder), "--seed", "2", "--temperature", "1.5")
    person.wait_for("> ")
    person.type("/temprature 1\n")
    assert "did you mean '/temperature'" in person.wait_for("\n> ")
    person.type("/temperature 9\n")
    assert "from 0 to 2" in person.wait_for("\n> ")
    person.type("/max-tokens 100000\n")
    person.wait_for("now 100000)\r\n> ")
    person.type("hello\n")
    person.wait_for("hello\r\n")
    while not select.select([person.terminal], [], [], 0.01)[0]:
        pass
    os.kill(person.pid, signal.SIGINT)  # what Ctrl-C sends
    assert " …\r\n" in person.wait_for("\n> ")
    person.type("/max-tokens 3\n")
    person.wait_for("\n> ")
    person.type("/clear\n")
    assert "new conversation" in person.wait_for("\n> ")
    person.type("how are you\n")
    person.wait_for("\n> ")
    person.type("\x04")
    assert person.leave() == 0
    assert "Traceback" not in person.seen
