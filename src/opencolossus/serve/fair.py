"""The queue before the engine: users in turn, and none of them takes all of it."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence

from opencolossus.serve.request import Request


class QueueFullError(Exception):
    """No room for one more; the caller should come back later."""


class Room:
    """Which requests run or wait: as many as there are slots and places in the queue.

    An eighth of the places is not for who has all others, so that somebody else still comes in.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._users: dict[str, str] = {}
        """By request."""
        self._held: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._users)

    def enter(self, requests: Sequence[Request], slots: int) -> None:
        """Let all of these requests of one user in, or none.

        Raises:
            QueueFullError: there is no room for them.
        """
        user, count = requests[0].user, len(requests)
        own = self._places - self._places // 8
        if len(self) + count > slots + self._places:
            message = f"the server is busy: {self._places} requests may wait"
        elif self._held[user] + count > slots + own:
            message = f"the server is busy: {own} requests of one user may wait"
        else:
            self._users.update((request.id, user) for request in requests)
            self._held[user] += count
            return
        raise QueueFullError(f"{message}; try again later")

    def leave(self, identifier: str) -> None:
        """Note that a request has ended, if it is not known yet."""
        user = self._users.pop(identifier, None)
        if user is not None:
            self._held[user] -= 1
            if not self._held[user]:
                del self._held[user]


class FairQueue:
    """Requests waiting for a slot.

    Each user has a line of their own, and the lines are served in turn, so that a user with a
    hundred requests does not keep away a user with one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines: OrderedDict[str, deque[Request]] = OrderedDict()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def put(self, request: Request) -> None:
        """Queue a request.

        Raises:
            QueueFullError: the queue is at its limit.
        """
        if self._waiting >= self._limit:
            raise QueueFullError(f"the queue is full ({self._limit} requests are waiting)")
        self._lines.setdefault(request.user, deque()).append(request)
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
