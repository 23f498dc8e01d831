"""What the board must know of the protocol: a few facts from its text."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medbench.errors import StoreError
from medbench.metrics import METRICS, READINGS
from medbench.protocol.decidable import DEFAULT_QUESTIONS
from medbench.store.results import Results

#: Keys of the table ``[statistics]``.
_STATISTICS = (
    "reading", "alpha", "baseline_pretext", "baseline_method", "questions", "rope", "resamples",
    "seed", "unit",
)  # fmt: skip


@dataclass(frozen=True)
class ProtocolFacts:
    """The protocol as the board shows it.

    Parameters
    ----------
    name, description : str
        As the protocol calls itself.
    primary : str
        Metric by which entrants are ranked.
    last_epochs : int
        Epochs averaged in the reading ``last``.
    reading : str
        Reading declared for ranking and tests.
    alpha : float
        Declared level of all tests.
    baseline_pretext, baseline_method : str, optional
        Pretext and method that the others are compared with.
    questions : tuple of str
        What may lead to claims, in this order, see
        :data:`medbench.protocol.decidable.QUESTIONS`.
    rope : float
        Differences up to this are practically none.
    resamples : int
        Draws of every bootstrap and permutation.
    seed : int
        From which those draws are derived.
    unit : str
        What is resampled of the test images: ``group`` where there are groups, or
        ``image``.
    subsets : mapping of str to bool
        By dataset, and under ``""`` for all others: whether each seed draws its own
        training images (``images.train``) or all share all of them.
    """

    name: str
    description: str = ""
    primary: str = METRICS[0]
    last_epochs: int = 5
    reading: str = READINGS[0]
    alpha: float = 0.05
    baseline_pretext: str | None = None
    baseline_method: str | None = None
    questions: tuple[str, ...] = DEFAULT_QUESTIONS
    rope: float = 0.01
    resamples: int = 2000
    seed: int = 0
    unit: str = "group"
    subsets: Mapping[str, bool] = field(default_factory=dict)

    def draws_training_images(self, dataset: str) -> bool:
        """Return whether each seed draws training images of its own from a dataset."""
        return self.subsets.get(dataset, self.subsets.get("", False))


def read_facts(results: Results) -> ProtocolFacts:
    """Read the facts from the protocol's text in a results folder.

    Raises
    ------
    StoreError
        If the text is missing or damaged.
    """
    path = results.protocol_path
    try:
        text = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} cannot be read ({error}); `medbench run` with the same protocol and folder "
            "writes it anew and repeats nothing"
        ) from error
    statistics = _table(text, "statistics")
    given: dict[str, Any] = {
        "name": results.protocol_name,
        "description": text.get("description"),
        "primary": _table(text, "evaluation").get("primary"),
        "last_epochs": _table(text, "evaluation").get("last_epochs"),
        "subsets": {
            dataset: _table(table, "images").get("train") is not None
            for dataset, table in {**_table(text, "overrides"), "": text}.items()
            if dataset == "" or "train" in _table(table, "images")
        },
        **{name: statistics.get(name) for name in _STATISTICS},
    }
    if given["questions"] is not None:
        given["questions"] = tuple(given["questions"])
    # what the protocol leaves out has the protocol's default
    return ProtocolFacts(**{name: value for name, value in given.items() if value is not None})


def _table(text: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = text.get(name, {})
    return table if isinstance(table, Mapping) else {}
