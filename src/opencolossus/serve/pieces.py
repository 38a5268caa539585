"""Pieces of answers made faster than anybody reads leave together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from opencolossus.serve.request import Delta

PAUSE = 1 / 60
"""Seconds between two pieces of an answer; a screen shows no more than that."""


def joined(pieces: Sequence[Delta]) -> Delta:
    """Pieces of one answer, one after the other, as one."""
    if len(pieces) == 1:
        return pieces[0]
    return replace(
        pieces[-1],
        text="".join(piece.text for piece in pieces),
        tokens=sum(piece.tokens for piece in pieces),
        logprobs=tuple(one for piece in pieces for one in piece.logprobs),
        prompt_logprobs=pieces[0].prompt_logprobs,
        reused=pieces[0].reused,
    )


class Outbox:
    """Holds pieces back until their answer's last one left `PAUSE` ago.

    The first piece of an answer leaves at once, and the last one with all that were held. Each
    piece that leaves costs its way through pipe and socket, which is more than a small model
    takes for a token.
    """

    def __init__(self) -> None:
        self._held: dict[str, list[Delta]] = {}
        self._left: dict[str, float] = {}
        """When a piece of an answer left last."""

    def due(self, pieces: Iterable[Delta], now: float) -> tuple[Delta, ...]:
        """Take new pieces; gives those that leave now."""
        leaving = []
        for piece in pieces:
            name = piece.id
            held = self._held.setdefault(name, [])
            held.append(piece)
            if piece.finish is None and now - self._left.get(name, -PAUSE) < PAUSE:
                continue
            leaving.append(joined(held))
            self._left[name] = now
            held.clear()
            if piece.finish is not None:
                self.forget(name)
        return tuple(leaving)

    def forget(self, name: str) -> None:
        """Drop what is known of an answer."""
        self._held.pop(name, None)
        self._left.pop(name, None)
