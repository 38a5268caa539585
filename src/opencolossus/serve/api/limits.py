"""What is refused before any route sees it, and what every answer carries."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import defaultdict, deque
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opencolossus.serve.api.errors import ApiError
from opencolossus.serve.api.hub import Options
from opencolossus.serve.api.metrics import Metrics

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_RAW_HEADERS = [(name.lower().encode(), text.encode()) for name, text in SECURITY_HEADERS.items()]


class TooLargeError(Exception):
    """The body goes past its limit."""


class Gate:
    """Reads bodies whole within their limits, checks the host, counts, adds security headers."""

    def __init__(self, app: ASGIApp, options: Options, metrics: Metrics) -> None:
        self._app = app
        self._options = options
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(_method(scope), str(message["status"])).inc()
                name = (b"x-request-id", b"req_" + uuid.uuid4().hex.encode())
                message["headers"] = [*message.get("headers", []), *_RAW_HEADERS, name]
            await send(message)

        refusal = self._refuse(scope)
        body = b""
        if refusal is None:
            try:
                async with asyncio.timeout(self._options.body_seconds):
                    body = await self._read(receive)
            except TimeoutError:
                refusal = ApiError(408, "the body did not arrive in time")
            except TooLargeError:
                limit = self._options.body_limit
                refusal = ApiError(413, f"the body has more than {limit} bytes")
            except ConnectionError:
                return
        if refusal is not None:
            response = refusal.response()
            response.headers["Connection"] = "close"  # what is left of the body is not read
            await response(scope, receive, counted)
            return
        await self._app(scope, _replay(body, receive), counted)

    def _refuse(self, scope: Scope) -> ApiError | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        name = urlsplit(f"//{host}").hostname if host else None
        if self._options.hosts and name not in self._options.hosts:
            # A page elsewhere may point its own name at this machine (DNS rebinding).
            return ApiError(400, "this server does not answer for the host that was asked")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self._options.body_limit:
            limit = self._options.body_limit
            return ApiError(413, f"the body has more than {limit} bytes")
        return None

    async def _read(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            part = message.get("body", b"")
            size += len(part)
            if size > self._options.body_limit:
                raise TooLargeError
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)


def _method(scope: Scope) -> str:
    known = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
    return scope["method"] if scope["method"] in known else "other"


def _replay(body: bytes, receive: Receive) -> Receive:
    """A channel that gives the body, then what comes after it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


class Attempts:
    """Counts attempts by key within a sliding window."""

    def __init__(self, limit: int, window: float) -> None:
        self._limit = limit
        self._window = window
        self._seen: defaultdict[str, deque[float]] = defaultdict(deque)

    def check(self, key: str) -> None:
        """Refuse an attempt too many.

        Raises:
            ApiError: it is one.
        """
        now = time.monotonic()
        seen = self._seen[key]
        while seen and seen[0] <= now - self._window:
            seen.popleft()
        if len(seen) >= self._limit:
            wait = seen[0] + self._window - now
            raise ApiError(
                429,
                f"too many attempts; try again in {max(1, round(wait / 60))} minutes",
                code="too_many_attempts",
                retry_after=wait,
            )
        if not seen:
            del self._seen[key]

    def note(self, key: str) -> None:
        """Count an attempt."""
        if len(self._seen) > 100_000:  # an attacker with many addresses must not fill the memory
            self._seen.clear()
        self._seen[key].append(time.monotonic())

    def forget(self, key: str) -> None:
        """Start to count anew."""
        self._seen.pop(key, None)
