"""Weights from elsewhere, and whether they have seen the images of a run's dataset."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any


def weights_seen(spec: Mapping[str, Any]) -> list[str] | None:
    """Return the datasets that weights from elsewhere were trained on, as their card says.

    A pretext that starts from such weights has a setting ``seen``: the names of those
    datasets, empty where they are not stated.

    Parameters
    ----------
    spec : mapping
        Everything that decided a run's outcome.

    Returns
    -------
    list of str or None
        None where no step of the pretraining starts from such weights.
    """
    cards = list(_cards(spec))
    return list(dict.fromkeys(name for card in cards for name in card)) if cards else None


def contamination(spec: Mapping[str, Any], card: Mapping[str, Any]) -> str | None:
    """Return whether weights from elsewhere have seen the run's dataset.

    Names are compared without case and punctuation, in words: the dataset is seen if its name,
    plugin or title, or the part of one after ``:``, equals a stated name, or one begins with
    the words of the other (``kather-texture`` and ``kather-texture-mini``).

    Parameters
    ----------
    spec : mapping
        Everything that decided the run's outcome.
    card : mapping
        Card of its dataset.

    Returns
    -------
    {"seen", "not stated", "no"} or None
        None where no weights are from elsewhere.
    """
    cards = list(_cards(spec))
    if not cards:
        return None
    dataset = spec.get("dataset") or {}
    own = [dataset.get("name"), dataset.get("plugin"), card.get("name"), card.get("title")]
    named = {part for name in own if name for part in (name, str(name).rpartition(":")[2])}
    words = [_words(name) for name in named]
    stated = [_words(name) for card in cards for name in card]
    if any(a[: len(b)] == b or b[: len(a)] == a for a in words for b in stated if a and b):
        return "seen"
    return "no" if all(cards) else "not stated"


def _cards(spec: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the ``seen`` of each step that starts from weights from elsewhere."""
    step = spec.get("pretraining")
    while isinstance(step, Mapping):
        settings = (step.get("pretext") or {}).get("settings") or {}
        if "seen" in settings:
            yield [str(name) for name in settings["seen"] or ()]
        step = step.get("parent")


def _words(name: object) -> list[str]:
    return re.findall(r"[^\W_]+", str(name).lower())
