"""Foreign text made fit for a terminal: one line, nothing that moves the cursor or hides."""

from __future__ import annotations

import unicodedata

#: Categories that are never shown raw: control, format (bidirectional overrides among
#: them), surrogate, private use, unassigned, line and paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def plain(text: object, limit: int = 400) -> str:
    r"""Return text as one line, with control characters written as escapes.

    Parameters
    ----------
    text : object
        Anything; ``str`` is taken of it.
    limit : int
        Characters; what is longer is cut and ends in ``…``.

    Examples
    --------
    >>> plain("red\x1b[31m\n  alert")
    'red\\x1b[31m alert'
    """
    line = " ".join(str(text).split())  # also turns newlines into spaces
    shown = "".join(_escape(c) if unicodedata.category(c) in _HIDDEN else c for c in line)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
