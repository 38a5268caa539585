"""Answers over HTTP while they are made, and what happens when nobody listens any more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from opencolossus.serve.api.errors import ApiError

Result = TypeVar("Result")


class EventStream(StreamingResponse):
    """Server-sent events; ``close`` is called in any case, even if no event was ever sent."""

    def __init__(
        self,
        events: AsyncIterator[str],
        close: Callable[[], None],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        usual = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(
            events, media_type="text/event-stream", headers={**usual, **(headers or {})}
        )
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()


def event(data: Any) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Do ``work``, and stop it when the client goes away.

    Raises:
        ApiError: the client went away (nobody will read it).
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ApiError(499, "the client closed the connection")
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
