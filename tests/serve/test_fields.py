"""Fields that clients of OpenAI, xAI and others send: honoured, without effect, or refused."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from servers import MODEL, Parrot, Server, question


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    key = server.add_user("ann")
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    """By the client's own arguments where it has them."""
    messages = [{"role": "user", "content": "hello"}]
    return client.chat.completions.create(**{"model": MODEL, "messages": messages, **fields})


NO_EFFECT: list[dict[str, Any]] = [
    {"metadata": {"team": "red"}},
    {"user": "u-1"},
    {"safety_identifier": "u-1"},
    {"prompt_cache_key": "k"},
    {"prompt_cache_retention": "24h"},
    {"prompt_cache_options": {"mode": "implicit"}},
    {"prediction": {"type": "content", "content": "Hello"}},
    {"parallel_tool_calls": True},
    {"store": False},
    {"service_tier": "auto"},
    {"service_tier": "default"},
    {"reasoning_effort": "none"},
    {"verbosity": "medium"},
    {"modalities": ["text"]},
    {"response_format": {"type": "text"}},
    {"tools": []},
    {"tool_choice": "none"},
    {"tool_choice": "auto"},
    {"stream_options": None},
    {"extra_body": {"search_parameters": {"mode": "off"}}},
    {"extra_body": {"deferred": False}},
    {"extra_body": {"min_p": 0, "min_tokens": 0, "length_penalty": 1.0, "use_beam_search": False}},
    {"extra_body": {"of_next_year": {"a": 1}}},
    {"messages": [{"role": "user", "content": "hello", "name": "ann"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]},
    {"messages": [{"role": "assistant", "content": None, "refusal": "no"},
                  {"role": "user", "content": "hello"}]},
]  # fmt: skip


@pytest.mark.parametrize("fields", NO_EFFECT, ids=str)
def test_what_asks_for_nothing_special_is_answered(
    client: openai.OpenAI, fields: dict[str, Any]
) -> None:
    assert ask(client, **fields).choices[0].message.content == "Hello there!"


FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {}}}
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("tools", {"tools": [FUNCTION]}),
    ("tool_choice", {"tool_choice": "required"}),
    ("tool_choice", {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
    ("functions", {"functions": [{"name": "f"}]}),
    ("function_call", {"function_call": {"name": "f"}}),
    ("audio", {"audio": {"voice": "alloy", "format": "wav"}}),
    ("modalities", {"modalities": ["text", "audio"]}),
    ("response_format", {"response_format": {"type": "json_object"}}),
    ("response_format", {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}),
    ("response_format", {"response_format": "json_object"}),
    ("web_search_options", {"web_search_options": {}}),
    ("reasoning_effort", {"reasoning_effort": "low"}),
    ("verbosity", {"verbosity": "low"}),
    ("service_tier", {"service_tier": "priority"}),
    ("store", {"store": True}),
    ("moderation", {"moderation": {"model": "omni-moderation-latest"}}),
    ("search_parameters", {"extra_body": {"search_parameters": {"mode": "auto"}}}),
    ("search_parameters", {"extra_body": {"search_parameters": {}}}),
    ("deferred", {"extra_body": {"deferred": True}}),
    ("min_p", {"extra_body": {"min_p": 0.1}}),
    ("structured_outputs", {"extra_body": {"structured_outputs": {"choice": ["a", "b"]}}}),
    ("stream_options.include_obfuscation",
     {"stream": True, "stream_options": {"include_obfuscation": True}}),
    ("messages.1.tool_calls",
     {"messages": [{"role": "user", "content": "a"},
                   {"role": "assistant", "tool_calls": [{"id": "1", **FUNCTION}]}]}),
    ("messages.0.audio", {"messages": [{"role": "assistant", "audio": {"id": "1"}}]}),
]  # fmt: skip


@pytest.mark.parametrize(("param", "fields"), REFUSED, ids=str)
def test_what_would_change_the_answer_is_refused_by_its_name(
    client: openai.OpenAI, param: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, **fields)
    assert refused.value.param == param
    assert refused.value.code == "unsupported_parameter"
    error: Any = refused.value.body
    assert error["message"].startswith(f"{param} is not supported: ")


def test_the_new_name_of_the_length_and_the_old_one(client: openai.OpenAI, parrot: Parrot) -> None:
    for fields in ({"max_tokens": 2}, {"max_completion_tokens": 2}):
        assert ask(client, **fields).choices[0].message.content == "Hello there"
    assert ask(client, max_tokens=1, max_completion_tokens=1).choices[0].finish_reason == "length"
    with pytest.raises(openai.BadRequestError, match="max_completion_tokens differ"):
        ask(client, max_tokens=1, max_completion_tokens=2)
    with pytest.raises(openai.BadRequestError, match=r"max_tokens: .*greater than or equal to 1"):
        ask(client, max_tokens=0)
    assert len(parrot.seen) == 3


def test_usage_follows_a_stream_where_it_is_asked_for(client: openai.OpenAI) -> None:
    plain = list(ask(client, stream=True))
    assert all(chunk.usage is None for chunk in plain)
    told = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert told[-1].usage.completion_tokens == 3


def test_the_clients_helper_for_streams_reads_ours(client: openai.OpenAI) -> None:
    messages: Any = question()["messages"]
    with client.chat.completions.stream(model=MODEL, messages=messages) as stream:
        kinds = {event.type for event in stream}
        said = stream.get_final_completion().choices[0].message.content
    assert said == "Hello there!"
    assert {"chunk", "content.delta", "content.done"} <= kinds
