"""An engine elsewhere: anything that speaks OpenAI's /v1/completions with token ids as prompt.

SGLang, vLLM, llama.cpp and ``colossus serve`` itself do. Accounts, limits, page and chat format
stay here;
prompts go out as tokens, so the other side needs no chat template.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import httpx

from opencolossus.serve import wire
from opencolossus.serve.answers import Answers, EngineDownError, State
from opencolossus.serve.fair import Room
from opencolossus.serve.request import Delta, FinishReason, Request
from opencolossus.specs.errors import UserError

KEY_VARIABLE = "COLOSSUS_ENGINE_KEY"
"""Where the key for the other engine comes from: a command line is seen by everybody."""

PROBE_EVERY = 1.0
"""Seconds between two looks whether an engine that went away is back."""


class Remote:
    """Answers from an engine at a URL."""

    def __init__(
        self, url: str, slots: int, queue_limit: int, context: int, token_bytes: Sequence[bytes]
    ) -> None:
        self._url = url.rstrip("/").removesuffix("/v1") + "/v1"
        self._bytes = token_bytes
        self._most = slots + queue_limit
        self._room = Room(queue_limit)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._client: httpx.AsyncClient | None = None
        self._model = self._owner = ""
        self._probing: asyncio.Task[None] | None = None
        self.state: State = "stopped"
        self.slots = slots
        self.context = context
        self.running = self.waiting = self.cached_tokens = self.restarts = 0

    @property
    def load(self) -> int:
        """Requests that run or wait."""
        return len(self._tasks)

    async def start(self) -> None:
        """Ask the engine for its model.

        Raises:
            UserError: it cannot be reached, or serves no model.
        """
        key = os.environ.get(KEY_VARIABLE, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=self._most)
        timeout = httpx.Timeout(600, connect=5)
        self._client = httpx.AsyncClient(headers=headers, limits=limits, timeout=timeout)
        try:
            found = await self._client.get(f"{self._url}/models", timeout=10)
            found.raise_for_status()
            model = found.json()["data"][0]
        except httpx.HTTPStatusError as error:
            raise UserError(
                f"the engine at {self._url} answered with status {error.response.status_code}; "
                f"its key is taken from ${KEY_VARIABLE}"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
            raise UserError(
                f"there is no OpenAI-compatible engine at {self._url}: {error or type(error)}"
            ) from None
        self._model, self._owner = model["id"], str(model.get("owned_by", ""))
        self.context = min(self.context, wire.context(model) or self.context)
        self.state = "ready"

    async def stop(self) -> None:
        """Break off what runs."""
        self.state = "stopped"
        for task in [*self._tasks.values(), *filter(None, [self._probing])]:
            task.cancel()
        if self._client is not None:
            await self._client.aclose()

    def submit(self, requests: Sequence[Request]) -> Answers:
        """Begin to answer.

        Raises:
            QueueFullError: too many answers are under way.
            EngineDownError: it is away.
            UserError: log-probabilities of the prompt are asked for.
        """
        if self.state != "ready":
            raise EngineDownError("the engine is away; try again in a few seconds")
        if any(request.prompt_logprobs for request in requests):
            raise UserError(
                "logprobs of the prompt are not passed on from an engine elsewhere; leave out echo"
            )
        self._room.enter(requests, self.slots)
        answers = Answers(requests, self._cancel)
        loop = asyncio.get_running_loop()
        for request in requests:
            self._tasks[request.id] = loop.create_task(self._answer(request, answers))
        self.running = len(self._tasks)
        return answers

    def _cancel(self, identifier: str) -> None:
        if task := self._tasks.get(identifier):
            task.cancel()

    async def _answer(self, request: Request, answers: Answers) -> None:
        try:
            await self._pass_on(request, answers)
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            answers.put(Delta(request.id, finish="error", error="the engine cannot be reached"))
            if isinstance(error, httpx.TransportError) and self.state == "ready":
                self.state = "restarting"
                self._probing = asyncio.create_task(self._probe())
        finally:
            self._tasks.pop(request.id, None)
            self._room.leave(request.id)
            self.running = len(self._tasks)

    async def _probe(self) -> None:
        """Wait until the engine is back."""
        assert self._client is not None  # made by `start`
        while self.state == "restarting":
            await asyncio.sleep(PROBE_EVERY)
            with suppress(httpx.HTTPError):
                found = await self._client.get(f"{self._url}/models", timeout=5)
                if found.status_code == 200:
                    self.restarts += 1
                    self.state = "ready"

    async def _pass_on(self, request: Request, answers: Answers) -> None:
        assert self._client is not None  # made by `start`
        asked = wire.body(request, self._model, self._owner)
        async with self._client.stream("POST", f"{self._url}/completions", json=asked) as stream:
            if stream.status_code != 200:
                status, reason = wire.refusal(stream.status_code, await stream.aread())
                answers.put(Delta(request.id, finish="error", error=reason, status=status))
                return
            events = (line async for line in stream.aiter_lines() if line.startswith("data: {"))
            await self._read(request, answers, events)

    async def _read(self, request: Request, answers: Answers, events: AsyncIterator[str]) -> None:
        finish: FinishReason = "error"
        counted = total = reused = 0
        async for line in events:
            event = json.loads(line[6:])
            if failed := wire.broken(event):
                status, reason = failed
                answers.put(Delta(request.id, finish="error", error=reason, status=status))
                return
            if usage := event.get("usage"):
                total = usage["completion_tokens"]
                reused = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            for choice in event["choices"]:
                if wire.ends(choice, request.stop_tokens):
                    answers.put(Delta(request.id, tokens=1, finish="stop"))
                    return
                if choice["finish_reason"]:
                    finish = "length" if choice["finish_reason"] == "length" else "stop"
                scored = wire.logprobs(choice, request.logprobs, self._bytes)
                if choice["text"] or scored:
                    counted += 1
                    answers.put(Delta(request.id, choice["text"], 1, scored))
        error = "the engine broke off" if finish == "error" else None
        left = max(total - counted, 0)
        answers.put(Delta(request.id, "", left, finish=finish, error=error, reused=reused))
