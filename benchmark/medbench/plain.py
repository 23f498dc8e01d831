"""Foreign text made safe for a terminal: one line, nothing that moves the cursor or hides."""

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
        Anything; converted by ``str``.
    limit : int
        Characters; a longer text is cut and ends in ``…``.

    Examples
    --------
    >>> plain("red\x1b[31m\n  alert")
    'red\\x1b[31m alert'
    """
    line = " ".join(str(text).split())  # also turns newlines into spaces
    shown = "".join(_escape(c) if unicodedata.category(c) in _HIDDEN else c for c in line)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def many(number: int | str, noun: str) -> str:
    """Return a number with its noun: "1 run", "2 runs"."""
    return f"{number} {noun}" if str(number) == "1" else f"{number} {noun}s"


def format_error(error: BaseException) -> str:
    """Return an error of foreign code as one line: its type and the first line of its text."""
    try:
        return plain(f"{type(error).__name__}: {error}".splitlines()[0])
    except Exception:  # noqa: BLE001 - foreign code's __str__
        return plain(type(error).__name__)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
