"""Suggestions for words that are misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return what to append to a message about an unknown word.

    Parameters
    ----------
    word : str
        What was given.
    known : iterable of str
        What could have been given.

    Returns
    -------
    str
        ``"; did you mean 'x'?"`` where a known word is close, else
        ``"; available: a, b, c"``, else nothing.
    """
    names = sorted(set(known))
    if near := difflib.get_close_matches(word, names, n=1):
        return f"; did you mean {near[0]!r}?"
    return f"; available: {', '.join(names)}" if names else ""
