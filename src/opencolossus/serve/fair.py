"""The queue before the engine: bounded, first come first served within a user, users in turn."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from opencolossus.serve.request import Request


class QueueFullError(Exception):
    """No room for one more; the caller should come back later."""


class FairQueue:
    """Requests waiting for a slot.

    Each user has a line of their own, and the lines are served in turn, so that a user with a
    hundred requests does not keep away a user with one.
    """

    def __init__(self, limit: int, per_user: int | None = None) -> None:
        self._limit = limit
        self._per_user = per_user or limit
        self._lines: OrderedDict[str, deque[Request]] = OrderedDict()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def __iter__(self) -> Iterator[Request]:
        for line in self._lines.values():
            yield from line

    def put(self, request: Request) -> None:
        """Queue a request.

        Raises:
            QueueFullError: the queue, or this user's line, is at its limit.
        """
        if self._waiting >= self._limit:
            raise QueueFullError(f"the queue is full ({self._limit} requests are waiting)")
        line = self._lines.setdefault(request.user, deque())
        if len(line) >= self._per_user:
            raise QueueFullError(
                f"your queue is full ({self._per_user} of your requests are waiting)"
            )
        line.append(request)
        self._waiting += 1

    def take(self) -> Request | None:
        """The next request, if any; its user goes to the end of the turn."""
        if not self._lines:
            return None
        user, line = next(iter(self._lines.items()))
        request = line.popleft()
        self._waiting -= 1
        if line:
            self._lines.move_to_end(user)
        else:
            del self._lines[user]
        return request

    def remove(self, identifier: str) -> bool:
        """Drop a waiting request; False if it is not here."""
        for user, line in self._lines.items():
            for request in line:
                if request.id == identifier:
                    line.remove(request)
                    self._waiting -= 1
                    if not line:
                        del self._lines[user]
                    return True
        return False
