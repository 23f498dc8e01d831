"""What the tests found: plain, frozen values for the page, the tables and the terminal.

Nothing here computes. Every difference is *first minus second* and is turned so
that a positive one means that ``first`` is better, also for metrics of which less is better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from medbench.protocol.decidable import Side
from medbench_leaderboard.names import Entrant

#: What a comparison says. ``undecidable``: no outcome could have been significant.
Verdict = Literal["first", "second", "not separated", "undecidable"]


@dataclass(frozen=True)
class Interval:
    """An interval of a difference, a rank or a correlation.

    Parameters
    ----------
    low, high : float
        Its ends.
    level : float
        Coverage aimed at, 0 to 1.
    over : str
        The population it is about, in words: ``"other seeds and test images, on
        these datasets"``.
    """

    low: float
    high: float
    level: float
    over: str


@dataclass(frozen=True)
class Posterior:
    """Bayesian signed-rank: three probabilities that sum to 1.

    Parameters
    ----------
    first, equal, second : float
        That ``first`` is practically better, that both are practically equal,
        that ``second`` is practically better.
    rope : float
        Half width of the region of practical equivalence, in the metric's unit.
    """

    first: float
    equal: float
    second: float
    rope: float


@dataclass(frozen=True)
class Where:
    """The part of the grid that a comparison is about; ``None`` means all of that axis."""

    dataset: str | None = None
    noise: str | None = None
    rate: float | None = None

    def __str__(self) -> str:
        parts = [part for part in (self.dataset, self.noise) if part is not None]
        if self.rate is not None:
            parts.append(f"rate {self.rate:g}")
        return ", ".join(parts) or "all blocks"


@dataclass(frozen=True)
class Comparison:
    """One comparison: a row of ``tests.csv``.

    Parameters
    ----------
    question : str
        The family it belongs to, see :data:`medbench.protocol.decidable.QUESTIONS`.
    confirmatory : bool
        Whether it may lead to a claim: the protocol names the question, and every
        comparison of the questions before it is a claim. Otherwise it is exploratory.
    where : Where
        The blocks it is over.
    first, second : Side
        What is compared with what.
    p_pairs : float
        Exact sign-flip test over pairs of dataset and seed, two-sided.
    p_sources : float or None
        Two-source t test: seeds and test images; None where neither varies.
    p : float
        The larger of the two: a difference needs both.
    adjusted_p : float
        Adjusted within the question (Holm); compare with ``alpha``.
    alpha : float
        Level of the question.
    effect : float
        Mean difference of the primary metric.
    standardised : float or None
        That difference divided by the standard deviation of the pairs' differences;
        none where that is zero or there is but one.
    ranks_agree : bool
        Whether the signed ranks of the pairs' differences point the same way.
    interval : Interval or None
        Of ``effect``, for these datasets.
    interval_datasets : Interval or None
        Of ``effect``, for datasets like these; with two datasets or more.
    pairs : int
        Pairs of dataset and seed: the independent repetitions.
    blocks : int
        Blocks that each pair is averaged over, all together.
    decidable : bool
        Whether the smallest p that could have come out would be significant.
    needed : int or None
        Pairs that a claim needs at least, where it is not decidable.
    posterior : Posterior or None
        A second opinion; None for slopes, which are no scores.
    datasets : tuple of str
        Those of its blocks.
    """

    question: str
    confirmatory: bool
    where: Where
    first: Side
    second: Side
    p_pairs: float
    p_sources: float | None
    p: float
    adjusted_p: float
    alpha: float
    effect: float
    standardised: float | None
    ranks_agree: bool
    interval: Interval | None
    interval_datasets: Interval | None
    pairs: int
    blocks: int
    decidable: bool
    needed: int | None
    posterior: Posterior | None = None
    datasets: tuple[str, ...] = ()

    @property
    def separated(self) -> bool:
        """Whether the sides are separated within the question."""
        return self.decidable and self.adjusted_p <= self.alpha and self.ranks_agree

    @property
    def claimed(self) -> bool:
        """Whether the difference is a claim of the board."""
        return self.confirmatory and self.separated

    @property
    def verdict(self) -> Verdict:
        """Which side is better, by the direction of the tests that decided."""
        if not self.decidable:
            return "undecidable"
        if not self.separated:
            return "not separated"
        return "first" if self.effect > 0 else "second"

    @property
    def better(self) -> Side:
        """The side with the better mean."""
        return self.second if self.effect < 0 else self.first

    @property
    def worse(self) -> Side:
        """The other side."""
        return self.first if self.effect < 0 else self.second


@dataclass(frozen=True)
class Answer:
    """A question with all its comparisons.

    Parameters
    ----------
    question : str
        Which, see :data:`medbench.protocol.decidable.QUESTIONS`.
    title : str
        The question in words: "Does pretraining help?".
    confirmatory : bool
        Whether its differences are claims; otherwise it is exploratory.
    why : str
        Why it is exploratory, in words.
    alpha : float
        Its level.
    smallest_p : float
        Smallest adjusted p that could have come out.
    comparisons : tuple of Comparison
        In the order of the question.
    sentence : str
        The answer in plain words.
    """

    question: str
    title: str
    confirmatory: bool
    why: str
    alpha: float
    smallest_p: float
    comparisons: tuple[Comparison, ...]
    sentence: str = ""

    @property
    def decidable(self) -> bool:
        """Whether any comparison could have been significant."""
        return any(comparison.decidable for comparison in self.comparisons)

    @property
    def claims(self) -> list[Comparison]:
        """The claims, the most certain first."""
        claimed = [comparison for comparison in self.comparisons if comparison.claimed]
        return sorted(claimed, key=lambda c: (c.adjusted_p, -abs(c.effect)))


@dataclass(frozen=True)
class Friedman:
    """Friedman's test over pairs of dataset and seed: a description, no claim.

    Parameters
    ----------
    chi_squared : float
        The statistic, corrected for ties.
    p : float
        By relabelling pretexts and methods within pairs.
    kendall_w : float
        Concordance of the pairs, 0 to 1.
    pairs, entrants : int
        Rows and columns.
    """

    chi_squared: float
    p: float
    kendall_w: float
    pairs: int
    entrants: int


@dataclass(frozen=True)
class Ranked:
    """An entrant in the ranking by the protocol's reading and metric.

    Parameters
    ----------
    entrant : Entrant
        Which.
    mean_rank : float
        Over the blocks that count.
    mean : float
        Mean of the primary metric over those blocks.
    rank_low, rank_high : int
        Ranks that the comparisons of pairs leave open: 1 + entrants significantly
        better, entrants minus those significantly worse.
    mean_rank_interval : Interval or None
        Bootstrap interval of the mean rank.
    letters : str
        Compact letter display: entrants that share a letter are not separated.
    """

    entrant: Entrant
    mean_rank: float
    mean: float
    rank_low: int
    rank_high: int
    mean_rank_interval: Interval | None
    letters: str

    @property
    def open_ranks(self) -> str:
        """The ranks left open, in words: "1–3"."""
        low, high = self.rank_low, self.rank_high
        return f"{low}–{high}" if low < high else f"{low}"


@dataclass(frozen=True)
class Loss:
    """What is lost from BEST to LAST, by pretext or by method: an estimate, not a test.

    Parameters
    ----------
    side : Side
        A pretext, or a method; averaged over the other.
    rate : float or None
        At this rate; none for all rates.
    best, last, loss : float
        Means of the primary metric, and their difference, positive where
        ``last`` is worse. Cross-fitted: the epoch of ``best`` is chosen on one half
        of the test images and scored on the other, both ways averaged.
    same_images : float
        The difference where the epoch is chosen and scored on the same images:
        larger, because it holds the noise of that choice.
    interval : Interval or None
        Of ``loss``.
    blocks : int
        Blocks it is over.
    """

    side: Side
    rate: float | None
    best: float
    last: float
    loss: float
    same_images: float
    interval: Interval | None
    blocks: int


@dataclass(frozen=True)
class OrderChange:
    """How far the order of entrants is the same at two rates: an estimate, not a test.

    Parameters
    ----------
    lower, higher : float
        The two rates.
    tau : float
        Kendall's tau-b between mean scores of entrants at the two rates,
        averaged over datasets and noise models; 1 is the same order, 0 none.
    interval : Interval or None
        Bootstrap over seeds.
    halves : float or None
        The tau between one half of the seeds at one rate and the other half at the other, both
        ways averaged. None with one seed.
    expected : float or None
        The tau between two halves of the seeds at the same rate: what ``halves`` would be if the
        order did not change. None with one seed.
    pairs : int
        Pairs of blocks (same dataset and noise model).
    """

    lower: float
    higher: float
    tau: float
    interval: Interval | None
    halves: float | None
    expected: float | None
    pairs: int


@dataclass(frozen=True)
class Advised:
    """An entrant in an advice, with what it costs.

    Parameters
    ----------
    entrant : Entrant
        Which.
    mean : float
        Mean of the primary metric over the advice's blocks.
    behind : float
        Difference to the entrant with the best mean, 0 or positive.
    interval : Interval or None
        Of ``behind``; none for the best itself.
    recommended : bool
        Whether it is not ruled out as the best.
    seconds : float or None
        Mean wall seconds of a run with its share of the pretraining; None where that is not
        known.
    pretraining_seconds : float or None
        That share.
    parameters : int or None
        Trained parameters, where the records say.
    oracle : bool
        Whether it asked the oracle for what is not known in practice.
    """

    entrant: Entrant
    mean: float
    behind: float
    interval: Interval | None
    recommended: bool
    seconds: float | None
    pretraining_seconds: float | None
    parameters: int | None
    oracle: bool


@dataclass(frozen=True)
class Advice:
    """Which entrants to use on a dataset at a rate.

    Parameters
    ----------
    dataset : str or None
        None for all datasets of the board.
    rate : float or None
        None where the rate is not known: over all rates.
    noise : str or None
        None for all noise models.
    entrants : tuple of Advised
        Best mean first; those ``recommended`` are a confidence set for the best, but
        with one seed nothing is ruled out.
    level : float
        With which this set, by itself, holds the truly best entrant.
    repetitions : int
        Pairs of dataset and seed behind it.
    blocks : int
        Blocks behind it.
    sentence : str
        The advice in plain words.
    """

    dataset: str | None
    rate: float | None
    noise: str | None
    entrants: tuple[Advised, ...]
    level: float
    repetitions: int
    blocks: int
    sentence: str


@dataclass(frozen=True)
class Findings:
    """Everything that was tested and what came out, by the protocol's reading and metric.

    Parameters
    ----------
    tested : bool
        Whether any difference was tested.
    sentences : tuple of str
        In plain words: what was found, then what was not decided and what would
        decide it.
    tie_groups : mapping of Entrant to str
        Compact letters, see :class:`Ranked`; empty where nothing was tested.
    answers : tuple of Answer
        One a question: those that the protocol names first, in its order.
    friedman : Friedman or None
        None with fewer than two pairs or entrants.
    ranking : tuple of Ranked
        Best mean rank first.
    bars : tuple of tuple of Entrant, or None
        Maximal sets of two or more, none of whose pairs is separated, each from its best to
        its worst member; an entrant between these need not belong to it. None where nothing
        is ranked.
    losses : tuple of Loss
        From BEST to LAST.
    orders : tuple of OrderChange
        For each pair of rates.
    advice : tuple of Advice
        For each dataset at each rate, for each dataset at an unknown rate, and
        for all together.
    warnings : tuple of str
        What a reader must know besides: few datasets, missing runs, mixed
        versions, single seeds.
    methods : str
        The procedure as a paragraph that may be pasted into a paper, with the
        numbers filled in.
    """

    tested: bool
    sentences: tuple[str, ...]
    tie_groups: Mapping[Entrant, str] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()
    friedman: Friedman | None = None
    ranking: tuple[Ranked, ...] = ()
    bars: tuple[tuple[Entrant, ...], ...] | None = None
    losses: tuple[Loss, ...] = ()
    orders: tuple[OrderChange, ...] = ()
    advice: tuple[Advice, ...] = ()
    warnings: tuple[str, ...] = ()
    methods: str = ""

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """All comparisons, question by question: the rows of ``tests.csv``."""
        return tuple(c for answer in self.answers for c in answer.comparisons)
