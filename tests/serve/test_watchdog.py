"""Engines that are alive and say nothing any more, and some that only seem to be so."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hung_engines import BreaksOff, build_reading_engine
from processes import Process
from servers import (
    HELD_AFTER,
    MODEL,
    Server,
    build_held_engine,
    question,
    sqlite,
    wait_until,
)

from opencolossus.data.tokenizer import Tokenizer
from opencolossus.serve.api.hub import Options
from opencolossus.serve.process import EngineProcess
from opencolossus.serve.request import Request
from opencolossus.serve.supervisor import HUNG, Supervisor
from opencolossus.serve.watch import PARTS, Watch

NEVER = 80_000.0
"""A limit in seconds that no test reaches: these let the time pass themselves."""
PATH = "/v1/chat/completions"


class Watched:
    """A watch whose time passes when the test says so."""

    def __init__(self) -> None:
        self.given_up = 0
        self.watch = Watch(NEVER, self._note)

    def _note(self) -> None:
        self.given_up += 1

    def after(self, ticks: int) -> int:
        """How often the engine was given up by then."""
        pass_by(self.watch, ticks)
        return self.given_up


def pass_by(watch: Watch, ticks: int) -> None:
    for _ in range(ticks):
        watch.tick()


@pytest.fixture
def watched() -> Iterator[Watched]:
    made = Watched()
    yield made
    made.watch.end()


def test_who_was_asked_and_is_silent_is_given_up_once(watched: Watched) -> None:
    assert watched.after(3 * PARTS) == 0  # it was not asked
    watched.watch.asked()
    assert watched.after(PARTS) == 0  # the first of these had begun before
    assert watched.after(1) == 1
    assert watched.after(3 * PARTS) == 1


def test_every_sign_of_life_begins_the_time_anew(watched: Watched) -> None:
    watched.watch.asked()
    for _ in range(5):
        assert watched.after(PARTS) == 0
        watched.watch.heard(owes=True)
    watched.watch.heard(owes=False)
    assert watched.after(3 * PARTS) == 0
    watched.watch.asked()
    assert watched.after(PARTS + 1) == 1


def test_who_asks_again_does_not_begin_it_anew(watched: Watched) -> None:
    """Clients with less patience than the limit would else keep a hung engine for ever."""
    for _ in range(PARTS):
        watched.watch.asked()
        assert watched.after(1) == 0
    assert watched.after(1) == 1


def test_an_engine_stopped_in_mid_stream_ends_answers_clearly_and_comes_back(
    run_folder: Path, tokenizer: Tokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hold = tmp_path / "hold"
    engine = Supervisor(functools.partial(build_held_engine, run_folder, hold), 64, NEVER)
    with (
        Server(engine, tokenizer, sqlite(tmp_path), Options(), MODEL) as server,
        server.api(server.add_user("alice")) as client,
    ):
        body = question(max_tokens=8, seed=2)
        before = client.post(PATH, json=body).json()
        hold.touch()
        long = question(max_tokens=HELD_AFTER + 100, seed=2, stream=True, logit_bias={"5": -100})
        with client.stream("POST", PATH, json=long) as stream:
            lines = (line for line in stream.iter_lines() if line)
            next(lines)
            first, stopped = process_of(engine), engine.pid
            assert stopped is not None
            os.kill(stopped, signal.SIGSTOP)
            # What it had said may be read meanwhile, and begins the time anew.
            wait_until(lambda: first.watch.tick() or first.hung)
            rest = list(lines)
        error = json.loads(rest[-1][6:])["error"]
        assert (error["code"], error["message"]) == ("engine_failed", HUNG)
        assert client.post(PATH, json=body).status_code == 503
        wait_until(lambda: engine.pid != stopped)
        assert not Path(f"/proc/{stopped}").exists()
        building = engine.pid
        pass_by(process_of(engine).watch, 3 * PARTS)  # building takes as long as it takes
        assert engine.pid == building
        hold.unlink()
        wait_until(lambda: engine.state == "ready", 120)
        after = client.post(PATH, json=body).json()
        assert after["choices"] == before["choices"]
        assert engine.pid == building
        assert "colossus_engine_restarts 1.0" in httpx.get(f"{server.url}/metrics").text
    (told,) = [one.getMessage() for one in caplog.records if "engine" in one.getMessage()]
    assert told.startswith("the engine has said nothing for 80000 s while it was asked; it is kill")


def process_of(engine: Supervisor) -> EngineProcess:
    assert engine._process is not None
    return engine._process


def test_an_engine_stopped_in_mid_message_does_not_stop_the_server() -> None:
    def give_up(process: EngineProcess) -> None:
        stat = Path(f"/proc/{process.pid}/stat")
        wait_until(lambda: ") T " in stat.read_text())
        wait_until(lambda: process.watch.tick() or process.hung)

    async def scenario() -> None:
        engine = Supervisor(BreaksOff, 8, NEVER)  # type: ignore[arg-type]
        await engine.start()
        try:
            answers = engine.submit([Request("a", (1,), 5)])
            threading.Thread(target=give_up, args=(process_of(engine),)).start()
            assert [delta.error async for _, delta in answers] == [HUNG]
            while engine.state != "ready":
                await asyncio.sleep(0.01)
            assert engine.restarts == 1
        finally:
            await engine.stop()

    asyncio.run(asyncio.wait_for(scenario(), 240))


def test_an_engine_that_reads_for_long_is_not_given_up(
    run_folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    engine = Supervisor(functools.partial(build_reading_engine, run_folder, hold), 64, NEVER)
    with (
        Server(engine, tokenizer, sqlite(tmp_path), Options(), MODEL) as server,
        server.api(server.add_user("alice")) as client,
    ):
        hold.touch()
        with client.stream("POST", PATH, json=question(max_tokens=5, stream=True)) as stream:
            watch = process_of(engine).watch
            for _ in range(3 * PARTS):
                wait_for_a_sign(watch)
                watch.tick()
            assert engine.load == 1
            hold.unlink()
            said = [line for line in stream.iter_lines() if line]
        assert said[-1] == "data: [DONE]"
        assert "error" not in "".join(said)
        assert engine.restarts == 0


def wait_for_a_sign(watch: Watch) -> None:
    before = watch._signs
    wait_until(lambda: watch._signs > before)


def test_the_command_line_says_how_long_to_wait(run_folder: Path, tmp_path: Path) -> None:
    """The engine is stopped before it is asked, so that no machine is too slow for the limit."""
    more = ("--no-accounts", "--engine-timeout", "1")
    started = Process(run_folder, tmp_path / "serve.db", *more)
    try:
        stopped = started.engine()
        os.kill(stopped, signal.SIGSTOP)
        found = httpx.post(f"{started.url}{PATH}", json=question(max_tokens=5), timeout=100)
        assert (found.status_code, found.json()["error"]["message"]) == (503, HUNG)
        assert int(found.headers["retry-after"]) > 0
        wait_until(started.healthy, 240)
        assert started.engine() != stopped
        assert "colossus_engine_restarts 1.0" in httpx.get(f"{started.url}/metrics").text
    finally:
        assert started.end() == 0
    said = "".join(started.said)
    assert said.count("the engine has said nothing for 1 s while it was asked") == 1
    assert "Traceback" not in said
