"""Figures for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from opencolossus.serve.answers import Generator
from opencolossus.serve.request import Delta

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
RATES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class Metrics:
    """All figures of one server."""

    def __init__(self, engine: Generator) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "colossus_http_requests", "Requests by method and status", ["method", "status"],
            registry=registry,
        )  # fmt: skip
        self.answers = Counter(
            "colossus_answers", "Answers by how they ended", ["finish"], registry=registry
        )
        self.tokens = Counter(
            "colossus_tokens", "Tokens read, reused and generated", ["kind"], registry=registry
        )
        self.first_token = Histogram(
            "colossus_time_to_first_token_seconds", "From request to first token", buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self.rate = Histogram(
            "colossus_answer_tokens_per_second", "Rate of one answer after its first token",
            buckets=RATES, registry=registry,
        )  # fmt: skip
        self._gauge("colossus_engine_up", "1 while the engine answers",
                    lambda: float(engine.state == "ready"))  # fmt: skip
        self._gauge("colossus_slots", "Answers that can run together", lambda: engine.slots)
        self._gauge("colossus_slots_used", "Answers that run now", lambda: engine.running)
        self._gauge("colossus_queue", "Requests that wait for a slot", lambda: engine.waiting)
        self._gauge("colossus_cache_tokens_used", "Tokens of running answers in the cache",
                    lambda: engine.cached_tokens)  # fmt: skip
        self._gauge("colossus_cache_tokens", "Tokens that the cache can hold",
                    lambda: engine.slots * engine.context)  # fmt: skip
        self._gauge("colossus_engine_restarts", "Times that the engine was started again",
                    lambda: engine.restarts)  # fmt: skip

    def _gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        Gauge(name, text, registry=self.registry).set_function(read)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)


class Stopwatch:
    """Times one answer."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._start = time.monotonic()
        self._first: float | None = None
        self.tokens = self.reused = 0

    def see(self, delta: Delta) -> None:
        """Note a piece of the answer."""
        self.tokens += delta.tokens
        self.reused += delta.reused
        self._metrics.tokens.labels("generated").inc(delta.tokens)
        self._metrics.tokens.labels("reused").inc(delta.reused)
        if delta.tokens and self._first is None:
            self._first = time.monotonic()
            self._metrics.first_token.observe(self._first - self._start)
        if delta.finish is not None:
            self.end(delta.finish)

    def end(self, finish: str) -> None:
        """Note how the answer ended."""
        self._metrics.answers.labels(finish).inc()
        if self._first is not None and self.tokens > 1:
            elapsed = max(time.monotonic() - self._first, 1e-9)
            self._metrics.rate.observe((self.tokens - 1) / elapsed)
