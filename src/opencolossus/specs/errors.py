"""The one exception that a person's mistake ends in."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What went wrong in one sentence that names the field, its value and a valid one.

    The command line prints it on standard error and exits with status 2.
    """


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` was probably meant to be, if any is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)``, or nothing where no known word is near."""
    found = nearest(word, known)
    return f" (did you mean {found!r}?)" if found else ""
