"""What the board must know of the protocol."""

from __future__ import annotations

from dataclasses import dataclass

from medbench import Protocol
from medbench.metric_names import METRICS, QUESTIONS, READINGS


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
    baseline_pretext : str, optional
        Pretext the others are compared with.
    questions : tuple of str
        What is asked, see :data:`medbench.metric_names.QUESTIONS`.
    posthoc : str
        Test of pairs of entrants: ``wilcoxon-holm`` or ``nemenyi``.
    rope : float
        Differences up to this are practically none.
    resamples : int
        Draws of every bootstrap and permutation.
    seed : int
        From which those draws are derived.
    unit : str
        What is resampled of the test images: ``group`` where there are groups, or
        ``image``.
    """

    name: str
    description: str = ""
    primary: str = METRICS[0]
    last_epochs: int = 5
    reading: str = READINGS[0]
    alpha: float = 0.05
    baseline_pretext: str | None = None
    questions: tuple[str, ...] = QUESTIONS
    posthoc: str = "wilcoxon-holm"
    rope: float = 0.01
    resamples: int = 2000
    seed: int = 0
    unit: str = "group"


def facts_of(protocol: Protocol) -> ProtocolFacts:
    """Return the facts of a protocol."""
    return ProtocolFacts(
        protocol.name,
        protocol.description,
        protocol.evaluation.primary,
        protocol.evaluation.last_epochs,
        **protocol.statistics.model_dump(),
    )
