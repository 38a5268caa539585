"""An engine elsewhere: anything that speaks OpenAI's /v1/completions with token ids as prompt.

SGLang, vLLM and ``colossus serve`` itself do. Accounts, limits, page and chat format stay here;
prompts go out as tokens, so the other side needs no chat template.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from typing import Any

import httpx

from opencolossus.serve.fair import QueueFullError
from opencolossus.serve.request import Delta, FinishReason, Request
from opencolossus.serve.supervisor import Answers, EngineDownError, State
from opencolossus.specs.errors import UserError

KEY_VARIABLE = "COLOSSUS_ENGINE_KEY"
"""Where the key for the other engine comes from: a command line is seen by everybody."""


class Remote:
    """Answers from an engine at a URL."""

    def __init__(self, url: str, slots: int, queue_limit: int, context: int) -> None:
        self._url = url.rstrip("/").removesuffix("/v1") + "/v1"
        self._limit = slots + queue_limit
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._client: httpx.AsyncClient | None = None
        self._model = ""
        self.state: State = "stopped"
        self.slots = slots
        self.context = context
        self.running = self.waiting = self.cached_tokens = self.restarts = 0

    async def start(self) -> None:
        """Ask the engine for its model.

        Raises:
            UserError: it cannot be reached, or serves no model.
        """
        key = os.environ.get(KEY_VARIABLE, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=self._limit)
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
        self._model = model["id"]
        longest = model.get("max_model_len") or model.get("context_length")
        self.context = min(self.context, int(longest or self.context))
        self.state = "ready"

    async def stop(self) -> None:
        """Break off what runs."""
        self.state = "stopped"
        for task in list(self._tasks.values()):
            task.cancel()
        if self._client is not None:
            await self._client.aclose()

    def submit(self, requests: Sequence[Request]) -> Answers:
        """Begin to answer.

        Raises:
            QueueFullError: too many answers are under way.
            EngineDownError: not started.
            UserError: log-probabilities are asked for.
        """
        if self.state != "ready":
            raise EngineDownError("the engine is starting; try again in a few seconds")
        if any(request.logprobs is not None for request in requests):
            raise UserError("logprobs are not passed on from an engine elsewhere; leave them out")
        if len(self._tasks) + len(requests) > self._limit:
            raise QueueFullError("the server is busy; try again later")
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
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            answers.put(Delta(request.id, finish="error", error="the engine cannot be reached"))
        finally:
            self._tasks.pop(request.id, None)
            self.running = len(self._tasks)

    async def _pass_on(self, request: Request, answers: Answers) -> None:
        assert self._client is not None  # made by `start`
        finish: FinishReason = "error"
        counted = total = 0
        async with self._client.stream(
            "POST", f"{self._url}/completions", json=self._body(request)
        ) as stream:
            if stream.status_code != 200:
                reason = f"the engine refused with status {stream.status_code}"
                answers.put(Delta(request.id, finish="error", error=reason))
                return
            async for line in stream.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                if usage := event.get("usage"):
                    total = usage["completion_tokens"]
                for choice in event["choices"]:
                    finish = "length" if choice["finish_reason"] == "length" else "stop"
                    if choice["text"]:
                        counted += 1
                        answers.put(Delta(request.id, choice["text"], 1))
        error = "the engine broke off" if finish == "error" else None
        answers.put(Delta(request.id, tokens=max(total - counted, 0), finish=finish, error=error))

    def _body(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self._model,
            "prompt": list(request.prompt),
            "max_tokens": request.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "repetition_penalty": sampling.repetition_penalty,
            "stop_token_ids": list(request.stop_tokens),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if sampling.top_k:
            body["top_k"] = sampling.top_k
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if request.stop:
            body["stop"] = list(request.stop)
        if sampling.logit_bias:
            body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
        return body
