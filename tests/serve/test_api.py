"""OpenAI's API over real sockets: what clients send, what they get."""

from __future__ import annotations

import json
import math
import socket

import httpx
import openai
import pytest
import torch
from servers import MODEL, PASSWORD, Parrot, Server, question, wait_until

from opencolossus.data.tokenizer import Tokenizer
from opencolossus.grok.model import Grok


@pytest.fixture(scope="module")
def key(real_server: Server) -> str:
    return real_server.add_user("alice")


@pytest.fixture(scope="module")
def client(real_server: Server, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{real_server.url}/v1", api_key=key, max_retries=0)


def test_the_openai_client_streams_the_text_that_it_gets_whole(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    messages = [{"role": "user", "content": "hello"}]
    asked = {"model": MODEL, "messages": messages, "seed": 3, "max_tokens": 30, "temperature": 1.1}
    whole = client.chat.completions.create(**asked)  # type: ignore[call-overload]
    chunks = list(
        client.chat.completions.create(  # type: ignore[call-overload]
            **asked, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert len(text) > 10
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == whole.usage.prompt_tokens - 1
    assert whole.usage.completion_tokens == 30
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"


def test_completions_score_a_prompt_as_lm_eval_asks(
    client: openai.OpenAI, model: Grok, tokenizer: Tokenizer
) -> None:
    prompt = [1, *tokenizer.encode("hello there how are you")]
    out = client.completions.create(
        model=MODEL, prompt=prompt, echo=True, logprobs=2, max_tokens=1, temperature=0, seed=1
    )
    scored = out.choices[0].logprobs
    assert scored is not None
    assert scored.token_logprobs is not None
    assert scored.tokens is not None
    assert out.choices[0].text.startswith("hello there how are you")
    assert scored.tokens[0] == "token_id:1"  # the beginning of a text has no text
    assert "".join(scored.tokens[1 : len(prompt)]) == "hello there how are you"
    assert len(scored.tokens) == len(prompt) + 1
    with torch.inference_mode():
        logits = model(torch.tensor([prompt]))
    assert isinstance(logits, torch.Tensor)
    expected = torch.log_softmax(logits[0], -1)
    for place in range(1, len(prompt)):
        got = scored.token_logprobs[place]
        assert math.isclose(got, float(expected[place - 1, prompt[place]]), abs_tol=1e-3)


def test_a_token_that_ends_a_text_has_a_log_probability(client: openai.OpenAI, model: Grok) -> None:
    """lm-eval drops the last one that it gets, for the token that it had to ask for."""
    prompt = [1, 9, 10, 11]
    with torch.inference_mode():
        logits = model(torch.tensor([prompt]))
    assert isinstance(logits, torch.Tensor)
    ends = int(logits[0, -1].argmax())
    out = client.completions.create(
        model=MODEL, prompt=prompt, logprobs=1, max_tokens=5, temperature=0,
        extra_body={"stop_token_ids": [ends]},
    )  # fmt: skip
    assert out.choices[0].text == ""
    scored = out.choices[0].logprobs
    assert scored is not None
    assert scored.token_logprobs is not None
    expected = float(torch.log_softmax(logits[0, -1], -1)[ends])
    assert [round(one, 3) for one in scored.token_logprobs] == [round(expected, 3)]


def test_nothing_is_said_where_nothing_is_asked_for(client: openai.OpenAI) -> None:
    out = client.completions.create(model=MODEL, prompt="hello there", max_tokens=0)
    assert out.choices[0].text == ""
    assert out.choices[0].finish_reason == "length"
    assert out.usage is not None
    assert out.usage.completion_tokens == 0


def test_offsets_are_those_of_tokens_however_the_answer_comes(client: openai.OpenAI) -> None:
    asked = {"model": MODEL, "prompt": "hello", "seed": 4, "max_tokens": 12, "logprobs": 1}
    asked |= {"echo": True, "stop": ["never said at all"]}
    whole = client.completions.create(**asked).choices[0].logprobs  # type: ignore[call-overload]
    found: list[int] = []
    for piece in client.completions.create(**asked, stream=True):  # type: ignore[call-overload]
        found += piece.choices[0].logprobs.text_offset
    assert found == whole.text_offset


def test_choices_share_a_prompt_that_is_counted_once(client: openai.OpenAI) -> None:
    asked = {"model": MODEL, "prompt": ["hello", "thank you"], "max_tokens": 3}
    one, three = (
        client.completions.create(**asked, n=n)  # type: ignore[call-overload]
        for n in (1, 3)
    )
    assert three.usage.prompt_tokens == one.usage.prompt_tokens
    assert three.usage.prompt_tokens_details.cached_tokens <= one.usage.prompt_tokens


def test_what_is_not_offered_says_what_is(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="none that mean anything") as found:
        client.embeddings.create(model=MODEL, input="hello")
    assert str(found.value.request_id).startswith("req_")
    with pytest.raises(openai.NotFoundError, match="use /v1/chat/completions"):
        client.responses.create(model=MODEL, input="hello")
    with pytest.raises(openai.NotFoundError, match="there are /v1/models"):
        client.images.generate(prompt="hello")


def test_several_prompts_and_choices_come_in_order(client: openai.OpenAI) -> None:
    prompts = ["hello", "thank you"]
    together = client.completions.create(model=MODEL, prompt=prompts, n=2, seed=5, max_tokens=12)
    assert [choice.index for choice in together.choices] == [0, 1, 2, 3]
    for number, prompt in enumerate(prompts):
        alone = client.completions.create(model=MODEL, prompt=prompt, seed=6, max_tokens=12)
        assert together.choices[2 * number + 1].text == alone.choices[0].text


def test_stop_strings_and_logprobs_of_chat(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "how are you"}]
    asked = {"model": MODEL, "messages": messages, "seed": 8, "max_tokens": 40}
    free = client.chat.completions.create(  # type: ignore[call-overload]
        **asked, logprobs=True, top_logprobs=3
    )
    text = free.choices[0].message.content
    scored = free.choices[0].logprobs.content
    assert all(len(one.top_logprobs) == 3 for one in scored)
    assert b"".join(bytes(one.bytes) for one in scored).decode("utf-8", "replace") == text
    stop = text[4:6]
    cut = client.chat.completions.create(**asked, stop=[stop])  # type: ignore[call-overload]
    assert cut.choices[0].message.content == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"


BAD = [
    ({"model": "gpt-4", "messages": [{"role": "user", "content": "a"}]}, 404, "does not exist"),
    ({"model": MODEL}, 400, "messages"),
    ({"model": MODEL, "messages": []}, 400, "messages"),
    (question(role="x", messages=[{"role": "robot", "content": "a"}]), 400, "messages.0.role"),
    (question(temperature=-1), 400, "temperature"),
    (question(temperature="hot"), 400, "temperature"),
    (question(top_p=0), 400, "top_p"),
    (question(max_tokens=-5), 400, "max_tokens"),
    (question(n=0), 400, "n"),
    (question(n=10**30), 400, "n"),
    (question(seed=0.5), 400, "seed"),
    (question(stop=[""]), 400, "stop"),
    (question(logit_bias={"9999": 1}), 400, "logit_bias"),
    (question(logit_bias={"x": 1}), 400, "logit_bias"),
    (question(top_logprobs=21), 400, "top_logprobs"),
    (question(tools=[{"type": "function"}]), 400, "tools"),
    (question(response_format={"type": "json_object"}), 400, "response_format"),
    (question(stop=["a"] * 5), 400, "at most 4"),
    (question(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), 400, "'text'"),
    (question(messages=[{"role": "user", "content": None}]), 400, "content is null"),
    (question(messages=[{"role": "tool", "content": "a"}]), 400, "cannot call"),
    (question(messages=[{"role": "assistant", "tool_calls": [{}]}]), 400, "cannot call"),
    (question("long " * 5000), 400, "tokens"),
    (question(stream_options=[1]), 400, "stream_options: Input should be a JSON object"),
    (question(messages=["hello"]), 400, "messages.0: Input should be a JSON object"),
    (["hello"], 400, "Input should be a JSON object"),
]


@pytest.mark.parametrize(("body", "status", "names"), BAD, ids=range(len(BAD)))
def test_bad_requests_get_one_sentence_that_names_the_field(
    real_server: Server, key: str, body: object, status: int, names: str
) -> None:
    with real_server.api(key) as client:
        found = client.post("/v1/chat/completions", json=body)
    assert found.status_code == status, found.text
    error = found.json()["error"]
    assert names in error["message"]
    assert "\n" not in error["message"]
    assert "Traceback" not in found.text


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"model": "tiny", "messages": "\xff\xfe"}', "application/json", 400),
        (b'{"model": NaN}', "application/json", 400),
        (b'{"a": ' + b"9" * 10_000 + b"}", "application/json", 400),
        (b"model=tiny", "application/x-www-form-urlencoded", 400),
        (b" " * 10_000_000, "application/json", 413),
        (json.dumps(question("half a character: \ud800")).encode(), "application/json", 400),
        (json.dumps(question("a\0b")).encode(), "application/json", 200),
    ],
)
def test_bodies_that_are_not_what_they_should_be(
    real_server: Server, key: str, content: bytes, kind: str, status: int
) -> None:
    with real_server.api(key) as client:
        found = client.post("/v1/chat/completions", content=content, headers={"Content-Type": kind})
    assert found.status_code == status, found.text
    if status != 200:
        assert set(found.json()["error"]) == {"message", "type", "param", "code"}


def test_another_method_is_told_which_one_is_offered(real_server: Server) -> None:
    found = httpx.get(f"{real_server.url}/v1/chat/completions")
    assert found.status_code == 405
    assert found.headers["allow"] == "POST"
    assert found.json()["error"]["message"] == "GET is not offered here; use POST"


@pytest.mark.parametrize(
    "header",
    [{}, {"Authorization": "Bearer"}, {"Authorization": "Bearer sk-wrong"},
     {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer ' OR 1=1 --"}],
)  # fmt: skip
def test_without_a_valid_key_there_is_nothing(real_server: Server, header: dict[str, str]) -> None:
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions")):
        found = httpx.request(method, real_server.url + path, headers=header, json=question())
        assert found.status_code == 401
        assert found.headers["www-authenticate"] == "Bearer"


def test_a_client_that_goes_away_frees_its_slot_at_once(real_server: Server, key: str) -> None:
    with (
        real_server.api(key) as client,
        client.stream("POST", "/v1/chat/completions", json=question(stream=True)) as stream,
    ):
        next(stream.iter_lines())
    wait_until(lambda: real_server.engine.running == 0 and not real_server.hub.streams)
    metrics = httpx.get(f"{real_server.url}/metrics").text
    assert "colossus_slots_used 0.0" in metrics
    assert "colossus_engine_up 1.0" in metrics


def test_a_client_that_goes_away_before_the_answer_is_whole_is_noticed(
    server: Server, parrot: Parrot
) -> None:
    key = server.add_user("bob")
    parrot.words, parrot.pause = ["x"] * 100, 1.0
    body = json.dumps(question()).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head.encode() + body)
        wait_until(lambda: parrot.seen)
    wait_until(lambda: parrot.cancelled == [parrot.seen[0].id])
    wait_until(lambda: not server.hub.streams)


def test_more_than_the_queue_holds_gets_429_and_a_dead_engine_503(
    server: Server, parrot: Parrot
) -> None:
    with server.api(server.add_user("bob")) as client:
        parrot.full = True
        found = client.post("/v1/chat/completions", json=question())
        assert (found.status_code, found.json()["error"]["code"]) == (429, "server_busy")
        assert int(found.headers["retry-after"]) > 0
        parrot.full, parrot.state = False, "restarting"
        found = client.post("/v1/chat/completions", json=question())
        assert (found.status_code, found.json()["error"]["code"]) == (503, "engine_unavailable")
        assert httpx.get(f"{server.url}/health").status_code == 503
        parrot.state, parrot.breaks_after = "ready", 1
        found = client.post("/v1/chat/completions", json=question())
        assert (found.status_code, found.json()["error"]["code"]) == (503, "engine_failed")
        stream = client.post("/v1/chat/completions", json=question(stream=True)).text
        events = [json.loads(line[6:]) for line in stream.splitlines() if line]
        assert events[0]["choices"][0]["delta"]["content"] == "Hello"
        assert events[-1]["error"]["code"] == "engine_failed"
    wait_until(lambda: not server.hub.streams)  # closed after the last byte has left


def test_quotas_hold_and_count_what_was_really_used(server: Server, parrot: Parrot) -> None:
    key = server.add_user("free", tier="free")
    page = server.browser("free")
    with server.api(key) as client:
        assert client.post("/v1/chat/completions", json=question()).status_code == 200
        wait_until(lambda: not server.hub.tasks)
        used = page.get("/app/usage").json()["month"]
        assert used["requests"][0] == 1
        prompt = len(parrot.seen[0].prompt)
        assert used["tokens"][0] == prompt + 3
        statuses = [
            client.post("/v1/chat/completions", json=question()).status_code for _ in range(20)
        ]
        assert statuses == [200] * 19 + [429]
        found = client.post("/v1/chat/completions", json=question())
        assert "20 requests a minute" in found.json()["error"]["message"]


def test_without_limits_nothing_is_reserved_and_all_is_recorded(
    server: Server, parrot: Parrot
) -> None:
    key = server.add_user("boss")
    page = server.browser("boss")
    with server.api(key) as client:
        assert client.post("/v1/chat/completions", json=question()).status_code == 200
        wait_until(lambda: not server.hub.tasks)
        used = page.get("/app/usage").json()["month"]
        assert used["requests"] == [1, None]
        assert used["tokens"] == [len(parrot.seen[0].prompt) + 3, None]
        parrot.state = "restarting"
        assert client.post("/v1/chat/completions", json=question()).status_code == 503
        assert page.get("/app/usage").json()["month"]["requests"][0] == 1


@pytest.mark.parametrize("tier", ["free", "unlimited"])
def test_an_account_deleted_under_a_running_answer_breaks_nothing(
    server: Server, parrot: Parrot, tier: str, caplog: pytest.LogCaptureFixture
) -> None:
    parrot.words, parrot.pause = ["x"] * 10, 0.05
    key = server.add_user("gone", tier=tier)
    page = server.browser("gone")
    with (
        server.api(key) as client,
        client.stream("POST", "/v1/chat/completions", json=question(stream=True)) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        assert page.post("/app/leave", json={"password": PASSWORD}).status_code == 200
        assert [line for line in lines if line][-1] == "data: [DONE]"
        assert client.post("/v1/chat/completions", json=question()).status_code == 401
    wait_until(lambda: not server.hub.tasks)
    assert not caplog.records


def test_a_user_has_only_so_many_answers_at_once(server: Server, parrot: Parrot) -> None:
    parrot.held = True
    path = "/v1/chat/completions"
    with server.api(server.add_user("free", tier="free")) as client:
        with client.stream("POST", path, json=question(n=2, stream=True)):
            busy = client.post(path, json=question())
            assert busy.status_code == 429
            assert busy.headers["Retry-After"] == "5"
            assert "2 answers at the same time" in busy.json()["error"]["message"]
        never = client.post(path, json=question(n=3))
        assert never.status_code == 400
        assert "and 3 are asked for" in never.json()["error"]["message"]
        parrot.held = False


def test_running_answers_are_finished_when_the_server_ends(server: Server, parrot: Parrot) -> None:
    parrot.words, parrot.pause = ["x"] * 10, 0.1
    key = server.add_user("bob")
    with (
        server.api(key) as client,
        client.stream("POST", "/v1/chat/completions", json=question(stream=True)) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        server.begin_to_end()
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert sum('"content":"x"' in line for line in rest) == 9
