"""What clients are told of their limits, as OpenAI's own client reads it."""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx
import openai
import pytest
from servers import MODEL, Parrot, Server, wait_until

from opencolossus.serve.accounts import quotas, users
from opencolossus.serve.accounts.periods import Allowance, Period, Used, tightest
from opencolossus.serve.accounts.tiers import TIERS
from opencolossus.serve.api.rates import duration

FREE = TIERS["free"]
MESSAGES = [{"role": "user", "content": "hello"}]


def client_of(server: Server, name: str, tier: str) -> openai.OpenAI:
    key = server.add_user(name, tier)
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def told(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix("x-ratelimit-"): value
        for name, value in headers.items()
        if name.startswith("x-ratelimit-")
    }


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_tells_what_is_left(server: Server, parrot: Parrot, stream: bool) -> None:
    client = client_of(server, "ann", "free")
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=MESSAGES, max_completion_tokens=50, stream=stream
    )  # type: ignore[call-overload]
    cost = len(parrot.seen[0].prompt) + 50
    assert FREE.tokens_per_minute is not None
    assert told(raw.headers) == {
        "limit-requests": "20",
        "remaining-requests": "19",
        "reset-requests": "1m0s",
        "limit-tokens": "20000",
        "remaining-tokens": str(20_000 - cost),
        "reset-tokens": "1m0s",
    }
    raw.http_response.close()


def test_texts_tell_it_too_and_tiers_without_limits_have_none(server: Server) -> None:
    raw = client_of(server, "ann", "free").completions.with_raw_response.create(
        model=MODEL, prompt="hello"
    )
    assert told(raw.headers)["remaining-requests"] == "19"
    raw = client_of(server, "boss", "unlimited").completions.with_raw_response.create(
        model=MODEL, prompt="hello"
    )
    assert told(raw.headers) == {}


def test_a_refusal_tells_which_limit_is_reached_and_when_to_come_back(server: Server) -> None:
    client = client_of(server, "ann", "free")
    with server.database.begin() as begin:
        user = users.find(begin, "ann")
        for _ in range(20):
            quotas.admit(begin, user, MODEL, 1, 1)
    with pytest.raises(openai.RateLimitError, match="20 requests a minute") as refused:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)  # type: ignore[arg-type]
    headers = refused.value.response.headers
    assert told(headers)["remaining-requests"] == "0"
    assert told(headers)["remaining-tokens"] == "19960"
    assert 1 <= int(headers["retry-after"]) <= 60


def test_what_is_left_of_a_month_is_told_once_it_is_less(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add_user("ann", "free")
    middle = 1_794_700_800.0  # 2026-11-15
    month_end = 1_796_083_200.0
    with server.database.begin() as begin:
        user = users.find(begin, "ann")
        monkeypatch.setattr(time, "time", lambda: middle)
        quotas.settle(begin, quotas.admit(begin, user, MODEL, 1, 1).usage, 1, 989_999, "stop")
        monkeypatch.setattr(time, "time", lambda: middle + 120)
        left = quotas.admit(begin, user, MODEL, 1, 9).allowances
    assert left["requests"] == Allowance(20, 19, 60.0)
    assert left["tokens"] == Allowance(1_000_000, 9_990, month_end - middle - 120)


def test_what_an_answer_did_not_take_is_left_to_the_next(server: Server, parrot: Parrot) -> None:
    client = client_of(server, "ann", "free")
    for _ in range(2):
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)  # type: ignore[arg-type]
        wait_until(lambda: not server.hub.tasks)
    first, second = parrot.seen
    said = len(parrot.words)
    left = 20_000 - len(first.prompt) - said - len(second.prompt) - second.max_tokens
    assert told(raw.headers)["remaining-tokens"] == str(left)


@pytest.mark.parametrize("away", [False, True])
def test_what_the_server_had_no_room_for_is_not_counted(
    server: Server, parrot: Parrot, away: bool
) -> None:
    client = client_of(server, "ann", "free")
    parrot.full, parrot.state = True, "restarting" if away else "ready"
    with pytest.raises(openai.APIStatusError, match="starting" if away else "busy") as refused:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)  # type: ignore[arg-type]
    assert refused.value.status_code == (503 if away else 429)
    assert told(refused.value.response.headers) == {
        "limit-requests": "20",
        "remaining-requests": "20",
        "reset-requests": "0s",
        "limit-tokens": "20000",
        "remaining-tokens": "20000",
        "reset-tokens": "0s",
    }
    boss = client_of(server, "boss", "unlimited")
    with pytest.raises(openai.APIStatusError) as refused:
        boss.chat.completions.create(model=MODEL, messages=MESSAGES)  # type: ignore[arg-type]
    assert told(refused.value.response.headers) == {}
    parrot.full, parrot.state = False, "ready"
    wait_until(lambda: not server.hub.tasks)
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)  # type: ignore[arg-type]
    assert told(raw.headers)["remaining-requests"] == "19"


def test_who_asks_for_much_waits_until_enough_is_forgotten() -> None:
    """Not only the oldest request: what is told must be long enough."""
    past = ((10.0, Used(1, 100)), (20.0, Used(1, 700)), (50.0, Used(1, 100)))
    minute = Period("minute", 60.0, 10, 1000, past)
    assert [minute.wait(cost) for cost in (100, 200, 201, 900, 901)] == [0, 10, 20, 20, 50]
    few = Period("minute", 60.0, 2, None, past)
    assert few.wait(1) == 20


def test_the_limit_that_is_nearest_is_told() -> None:
    minute = Period("minute", 60.0, 10, 1000, ((10.0, Used(9, 100)),))
    month = Period("month", 9000.0, 50, 1500, ((9000.0, Used(40, 900)),))
    found = tightest([minute, month])
    assert (found["requests"].limit, found["requests"].left, found["requests"].reset) == (10, 1, 10)
    assert (found["tokens"].limit, found["tokens"].left, found["tokens"].reset) == (1500, 600, 9000)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.2, "1s"), (59.5, "1m0s"), (360, "6m0s"), (3600, "1h0m0s"), (90061, "25h1m1s")],
)
def test_times_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_schema_tells_of_the_headers(server: Server) -> None:
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    for path in ("/v1/chat/completions", "/v1/completions"):
        answers = paths[path]["post"]["responses"]
        assert set(answers["200"]["headers"]) < set(answers["429"]["headers"])
        assert "x-ratelimit-remaining-tokens" in answers["200"]["headers"]
        assert "Retry-After" in answers["429"]["headers"]
