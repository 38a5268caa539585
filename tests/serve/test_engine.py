"""The engine against the network run alone, token by token."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch

from opencolossus.grok.model import Grok
from opencolossus.serve import engine as engines
from opencolossus.serve.engine import Engine
from opencolossus.serve.fair import QueueFullError
from opencolossus.serve.request import Delta, Request, Sampling

GREEDY = Sampling(temperature=0.0)


def drain(engine: Engine) -> dict[str, list[Delta]]:
    out: dict[str, list[Delta]] = {}
    while engine.busy:
        for delta in engine.step():
            out.setdefault(delta.id, []).append(delta)
    return out


def prompts(count: int, longest: int = 60) -> list[tuple[int, ...]]:
    generator = random.Random(5)
    lengths = [generator.randint(1, longest) for _ in range(count)]
    return [tuple(generator.randrange(6, 400) for _ in range(length)) for length in lengths]


def tokens(deltas: list[Delta]) -> list[int]:
    return [scored.token for delta in deltas for scored in delta.logprobs]


@torch.inference_mode()
def alone(model: Grok, prompt: tuple[int, ...], count: int) -> list[int]:
    """Greedy answer by full forward passes without any cache."""
    ids = list(prompt)
    for _ in range(count):
        logits = model(torch.tensor([ids]))
        assert isinstance(logits, torch.Tensor)
        ids.append(int(logits[0, -1].argmax()))
    return ids[len(prompt) :]


def test_answers_in_a_crowd_are_those_of_the_network_alone(
    model: Grok, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "PREFILL_TOKENS", 64)  # prompts are read in several pieces
    requests = [
        Request(str(i), prompt, 3 + 5 * (i % 4), GREEDY, logprobs=0)
        for i, prompt in enumerate(prompts(12))
    ]
    for request in requests:
        engine.submit(request)
    out = drain(engine)
    for request in requests:
        assert tokens(out[request.id]) == alone(model, request.prompt, request.max_tokens)
        assert out[request.id][-1].finish == "length"
    assert engine.running == 0


def test_a_seed_gives_the_same_text_whatever_else_runs(engine: Engine) -> None:
    request = Request("one", prompts(1)[0], 40, Sampling(temperature=1.0, top_p=0.9, seed=11))
    engine.submit(request)
    first = "".join(delta.text for delta in drain(engine)["one"])
    for i, prompt in enumerate(prompts(9)):
        engine.submit(Request(f"other{i}", prompt, 30, Sampling(temperature=1.2)))
    engine.submit(replace(request, user="another"))
    assert "".join(delta.text for delta in drain(engine)["one"]) == first
    engine.submit(replace(request, sampling=replace(request.sampling, seed=12)))
    assert "".join(delta.text for delta in drain(engine)["one"]) != first


def test_a_prompt_that_begins_like_an_earlier_one_is_not_read_again(
    model: Grok, engine: Engine
) -> None:
    prompt = prompts(1, 50)[0] * 3
    engine.submit(Request("a", prompt[:40], 10, GREEDY, logprobs=0))
    answer = tuple(tokens(drain(engine)["a"]))
    longer = prompt[:40] + answer + (7, 8, 9)
    engine.submit(Request("b", longer, 10, GREEDY, logprobs=0))
    out = drain(engine)["b"]
    # The last token of an answer was never fed back, so its keys are not there.
    assert out[0].reused == 40 + 9
    assert tokens(out) == alone(model, longer, 10)


def test_cancelling_frees_the_slot_at_once_and_harms_nobody(model: Grok, engine: Engine) -> None:
    asked = [Request(str(i), p, 30, GREEDY, logprobs=0) for i, p in enumerate(prompts(7))]
    for request in asked:
        engine.submit(request)
    got: dict[str, list[Delta]] = {}
    for _ in range(5):
        for delta in engine.step():
            got.setdefault(delta.id, []).append(delta)
    assert engine.running == 4
    assert engine.cancel("1")
    assert engine.cancel("3")
    assert engine.cancel("6")  # this one still waits
    assert not engine.cancel("nobody")
    assert engine.running == 2
    for identifier, deltas in drain(engine).items():
        got.setdefault(identifier, []).extend(deltas)
    for request in asked:
        if request.id not in ("1", "3", "6"):
            assert tokens(got[request.id]) == alone(model, request.prompt, 30)
    assert len(got["1"]) == 5
    assert engine.running == 0


def test_a_long_prompt_is_read_in_pieces_while_others_wait_for_words(
    model: Grok, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "PREFILL_SECONDS", 0.0)  # as on a slow machine
    long = tuple(range(6, 106))
    engine.submit(Request("first", prompts(1)[0], 30, GREEDY, logprobs=0))
    said = [*engine.step()]  # in one piece: nobody waits
    engine.submit(Request("long", long, 5, GREEDY, logprobs=0))
    while all(delta.id == "first" for delta in said):
        step = engine.step()
        assert "first" in {delta.id for delta in step}
        said += step
    assert sum(delta.id == "first" for delta in said) == 1 + math.ceil(len(long) / 16)
    said += [delta for deltas in drain(engine).values() for delta in deltas]
    for name, prompt, count in (("first", prompts(1)[0], 30), ("long", long, 5)):
        found = tokens([delta for delta in said if delta.id == name])
        assert found == alone(model, prompt, count)


def test_logprobs_are_those_of_the_network(model: Grok, engine: Engine) -> None:
    prompt = prompts(1)[0] + (50, 60)
    request = Request("a", prompt, 5, Sampling(temperature=0.7, seed=1), logprobs=3)
    engine.submit(replace(request, prompt_logprobs=True))
    out = drain(engine)["a"]
    scored = [*out[0].prompt_logprobs, *(one for delta in out for one in delta.logprobs)]
    ids = [one.token for one in scored]
    assert tuple(ids[: len(prompt)]) == prompt
    with torch.inference_mode():
        logits = model(torch.tensor([ids]))
    assert isinstance(logits, torch.Tensor)
    expected = torch.log_softmax(logits[0].float(), -1)
    assert scored[0].logprob is None
    for place, one in enumerate(scored[1:]):
        assert one.logprob is not None
        assert math.isclose(one.logprob, float(expected[place, one.token]), abs_tol=1e-4)
        best = expected[place].topk(3)
        assert [t for t, _, _ in one.top] == best.indices.tolist()


def test_stop_tokens_and_stop_strings_end_an_answer(
    model: Grok, engine: Engine, token_bytes: list[bytes]
) -> None:
    prompt = prompts(1)[0]
    free = alone(model, prompt, 30)
    engine.submit(Request("token", prompt, 30, GREEDY, stop_tokens=(free[6],), logprobs=0))
    out = drain(engine)["token"]
    assert tokens(out) == free[: free.index(free[6]) + 1]
    assert out[-1].finish == "stop"
    text = b"".join(token_bytes[t] for t in free).decode("utf-8", "replace")
    stop = text[5:8]
    engine.submit(Request("string", prompt, 30, GREEDY, stop=(stop,)))
    out = drain(engine)["string"]
    assert "".join(delta.text for delta in out) == text[: text.index(stop)]
    assert out[-1].finish == "stop"


def test_what_is_no_number_ends_its_answer_and_no_other(
    model: Grok, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [Request(str(i), p, 20, GREEDY, logprobs=2) for i, p in enumerate(prompts(4))]
    for request in asked:
        engine.submit(request)
    said = [*engine.step(), *engine.step()]
    logits = engine._network.logits

    def broken(first: int, pieces: list[list[int]], whole: bool = False) -> torch.Tensor:
        found = logits(first, pieces, whole)
        found[1:3] = torch.tensor([[math.nan], [math.inf]])
        return found

    monkeypatch.setattr(engine._network, "logits", broken)
    step = engine.step()
    monkeypatch.undo()
    failed = [delta for delta in step if delta.error]
    assert len(failed) == 2
    assert all("no numbers" in str(delta.error) for delta in failed)
    assert engine.running == 2
    said += [*step, *(delta for deltas in drain(engine).values() for delta in deltas)]
    for request in asked:
        mine = [delta for delta in said if delta.id == request.id]
        expected = alone(model, request.prompt, 20)
        assert tokens(mine) == (expected[:2] if mine[-1].error else expected)
        engine.submit(request)  # nothing of it is taken from the cache
        assert tokens(drain(engine)[request.id]) == expected


def test_the_context_ends_an_answer(engine: Engine) -> None:
    engine.submit(Request("a", (9,) * 250, 1000, Sampling(seed=0)))
    out = drain(engine)["a"]
    assert sum(delta.tokens for delta in out) == engine.context - 250
    assert out[-1].finish == "length"


def test_what_cannot_be_answered_is_refused(engine: Engine, model: Grok) -> None:
    with pytest.raises(ValueError, match="empty"):
        engine.submit(Request("a", (), 5))
    with pytest.raises(ValueError, match="256 tokens and the context 256"):
        engine.submit(Request("a", (9,) * 256, 5))
    small = Engine(model, [b"x"] * 400, slots=1, queue=2)
    for number in range(3):
        small.submit(Request(str(number), (9,), 5))
    with pytest.raises(QueueFullError):
        small.submit(Request("3", (9,), 5))
