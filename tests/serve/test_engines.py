"""Several engines as one, and which ones can be asked for."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from servers import Parrot

from opencolossus.serve.answers import EngineDownError
from opencolossus.serve.devices import find
from opencolossus.serve.engines import Engines
from opencolossus.serve.pool import Pool
from opencolossus.serve.request import Request, Sampling
from opencolossus.serve.supervisor import Supervisor
from opencolossus.serve.trained import open_run, usual_dtype
from opencolossus.specs.errors import UserError

GREEDY = Sampling(temperature=0)


def asked(user: str, number: int = 0) -> Request:
    return Request(f"{user}-{number}", (9,), 5, user=user)


def test_requests_go_where_there_is_room_and_users_stay_where_they_are_known() -> None:
    async def scenario() -> None:
        engines = [Parrot(pause=60), Parrot(pause=60)]
        pool = Pool(engines)
        await pool.start()
        assert (pool.slots, pool.context, pool.state) == (16, 200, "ready")
        for number in range(8):
            pool.submit([asked("ann", number)])
        assert [engine.running for engine in engines] == [8, 0]  # they all fit where ann is known
        pool.submit([asked("ann", 9)])
        pool.submit([asked("bob")])
        assert [engine.running for engine in engines] == [8, 2]
        assert pool.running == pool.load == 10
        engines[1].state = "restarting"
        pool.submit([asked("bob", 1)])
        assert [engine.running for engine in engines] == [9, 2]
        engines[0].state = "restarting"
        assert pool.state == "restarting"
        with pytest.raises(EngineDownError):
            pool.submit([asked("bob", 2)])
        await pool.stop()
        assert pool.state == "stopped"

    asyncio.run(scenario())


def test_two_real_engines_give_the_same_answers_and_one_survives_the_other(
    run_folder: Path,
) -> None:
    async def scenario() -> None:
        pool = Engines(run_folder, workers=2, slots=1, queue=4, dtype="bf16").generator(
            open_run(run_folder)
        )
        assert isinstance(pool, Pool)
        await pool.start()
        try:
            texts = await asyncio.gather(*(said(pool, str(user)) for user in range(4)))
            assert len(set(texts)) == 1
            first = pool._engines[0]
            assert isinstance(first, Supervisor)
            assert first._process is not None
            first._process.kill()
            while first.state == "ready":
                await asyncio.sleep(0.01)
            assert pool.state == "ready"
            assert await said(pool, "0") == texts[0]
            while first.state != "ready":
                await asyncio.sleep(0.01)
            assert pool.restarts == 1
        finally:
            await pool.stop()

    asyncio.run(asyncio.wait_for(scenario(), 240))


async def said(pool: Pool, user: str) -> str:
    answers = pool.submit([Request(uuid.uuid4().hex, (9, 10), 30, GREEDY, user=user)])
    return "".join([delta.text async for _, delta in answers])


def test_what_contradicts_itself_is_refused(run_folder: Path) -> None:
    for field, value in {"workers": 2, "device": "cpu", "dtype": "bf16", "threads": 1}.items():
        with pytest.raises(UserError, match=f"--{field} is for engines here and --engine has one"):
            replace(Engines(run_folder, url="http://x"), **{field: value}).check()
    with pytest.raises(UserError, match="--engine-timeout is for engines here and --engine has"):
        Engines(run_folder, url="http://x", timeout=5).check()
    with pytest.raises(UserError, match="--device mps is unknown; give cpu, cuda, or a GPU"):
        Engines(run_folder, device="mps").check()
    with pytest.raises(UserError, match="--device cuda:0 is one GPU"):
        Engines(run_folder, device="cuda:0", workers=2).check()


def test_each_engine_gets_a_gpu_or_a_share_of_the_cores(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Any, ...]] = []
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr(
        "opencolossus.serve.engines.Supervisor",
        lambda build, *_: given.append(build.args),
    )
    Engines(run_folder, workers=3).generator(open_run(run_folder))
    assert [threads for _, _, _, _, threads, *_ in given] == [2] * 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    asked = [(device, number, engines) for _, _, _, device, _, _, number, engines in given]
    assert [find(*one) for one in asked] == ["cuda:0", "cuda:1", "cuda:2"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="--workers 3 need a GPU each: PyTorch sees cuda:0 to"):
        find(*asked[0])
    assert usual_dtype("cuda:1") == "bf16"


@pytest.mark.parametrize("named", ["avx512_bf16", "bf16", None])
def test_weights_are_in_bf16_where_the_processor_has_it(
    named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {named: True, "avx2": True})
    assert usual_dtype("cpu") == ("bf16" if named else "fp32")
