"""What the board must know of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medbench import Protocol
from medbench.metrics import METRICS, READINGS
from medbench.protocol.decidable import DEFAULT_QUESTIONS


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


def facts_of(protocol: Protocol) -> ProtocolFacts:
    """Return the facts of a protocol."""
    overrides = {
        dataset: table.images["train"] is not None
        for dataset, table in protocol.overrides.items()
        if "train" in table.images
    }
    return ProtocolFacts(
        protocol.name,
        protocol.description,
        protocol.evaluation.primary,
        protocol.evaluation.last_epochs,
        subsets={**overrides, "": protocol.images.train is not None},
        **protocol.statistics.model_dump(),
    )
