"""What the tests found: plain, frozen values for the page, the tables and the terminal.

Nothing here computes. Every difference is *first minus second* and is turned so
that a positive one means that ``first`` is better, whatever the metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from medbench_leaderboard.names import Entrant

#: What a protocol may ask, one of :data:`medbench.metric_names.QUESTIONS`; each is a
#: family of comparisons.
Question = str

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
        What it generalises over, in words: ``"seeds and test images"``,
        ``"seeds, on these datasets"``, ``"datasets (3 of them)"``.
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
class Side:
    """One side of a comparison; ``None`` means averaged over all of that axis."""

    pretext: str | None = None
    method: str | None = None

    def __str__(self) -> str:
        return " + ".join(part for part in (self.pretext, self.method) if part is not None)

    @property
    def entrant(self) -> Entrant | None:
        """The entrant, where the side is one."""
        if self.pretext is None or self.method is None:
            return None
        return Entrant(self.pretext, self.method)


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
        The family it belongs to, see :data:`Question`.
    scope : {"overall", "marginal", "block"}
        Entrants over blocks; pretexts or methods averaged over the other;
        entrants inside one block.
    where : Where
        The blocks it is over.
    first, second : Side
        What is compared with what.
    test : str
        The test in words.
    statistic : float or None
        Of that test; none where it could not be computed.
    p : float or None
        Two-sided, not adjusted.
    adjusted_p : float or None
        Adjusted within the question (Holm, monotone); compare with ``alpha``.
    alpha : float
        The question's share of the protocol's level; 0 where the question is
        not decidable.
    effect : float or None
        Mean difference of the primary metric.
    standardised : float or None
        That difference divided by the standard deviation of the paired
        differences; none where that is zero or there is but one.
    interval : Interval or None
        Of ``effect``, for these datasets.
    interval_datasets : Interval or None
        Of ``effect``, for datasets like these; overall and marginal only, and
        only with two datasets or more.
    n : int
        Pairs: blocks, or seeds inside a block.
    unit : {"blocks", "seeds"}
        What ``n`` counts.
    repetitions : int
        Independent repetitions: pairs of dataset and seed. Inside a block the
        same as ``n``.
    decidable : bool
        Whether the smallest p that could have come out would be significant.
    needed : int or None
        Pairs that would do, where it is not decidable.
    posterior : Posterior or None
        A second opinion, overall and marginal only.
    """

    question: Question
    scope: Literal["overall", "marginal", "block"]
    where: Where
    first: Side
    second: Side
    test: str
    statistic: float | None
    p: float | None
    adjusted_p: float | None
    alpha: float
    effect: float | None
    standardised: float | None
    interval: Interval | None
    interval_datasets: Interval | None
    n: int
    unit: Literal["blocks", "seeds"]
    repetitions: int
    decidable: bool
    needed: int | None
    posterior: Posterior | None = None

    @property
    def significant(self) -> bool:
        """Whether a difference may be claimed."""
        return self.decidable and self.adjusted_p is not None and self.adjusted_p <= self.alpha

    @property
    def verdict(self) -> Verdict:
        """Who is better, if that may be said."""
        if not self.decidable:
            return "undecidable"
        if not self.significant or not self.effect:
            return "not separated"
        return "first" if self.effect > 0 else "second"


@dataclass(frozen=True)
class Answer:
    """A question of the protocol and what became of it.

    Parameters
    ----------
    question : str
        Which, see :data:`Question`.
    title : str
        The question in words: "Does pretraining help?".
    alpha : float
        Its share of the protocol's level; 0 where it is not decidable.
    comparisons : int
        Comparisons in the family.
    decidable : bool
        Whether any comparison could have been significant.
    smallest_p : float or None
        Smallest p reachable by any of them, adjusted.
    needed : str
        Where it is not decidable, what would do: "11 blocks would do".
    sentence : str
        The answer in plain words.
    """

    question: Question
    title: str
    alpha: float
    comparisons: int
    decidable: bool
    smallest_p: float | None
    needed: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.title} {self.sentence}"


@dataclass(frozen=True)
class Friedman:
    """Friedman's test with the correction of Iman and Davenport.

    Parameters
    ----------
    chi_squared, f : float
        Friedman's statistic, corrected for ties, and the one made of it.
    df : tuple of (int, int)
        Degrees of freedom of ``f``.
    p_blocks : float
        From the F distribution, with blocks as rows.
    p_repetitions : float
        By relabelling pretexts and methods within pairs of dataset and seed.
    p : float
        The larger of the two.
    kendall_w : float
        Concordance of the blocks, 0 to 1.
    blocks, repetitions, entrants : int
        Rows of either kind, and columns.
    alpha : float
        Level it is compared with.
    """

    chi_squared: float
    f: float
    df: tuple[int, int]
    p_blocks: float
    p_repetitions: float
    p: float
    kendall_w: float
    blocks: int
    repetitions: int
    entrants: int
    alpha: float

    @property
    def significant(self) -> bool:
        """Whether it may be said that entrants differ at all."""
        return self.alpha > 0 and self.p <= self.alpha


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
        Ranks that the pairwise tests leave open: 1 + entrants significantly
        better, entrants minus those significantly worse. They hold for all
        entrants together at the question's level.
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


@dataclass(frozen=True)
class Diagram:
    """What a critical-difference diagram shows.

    Parameters
    ----------
    entrants : tuple of Ranked
        Best mean rank first: one mark each.
    bars : tuple of tuple of Entrant
        Maximal sets none of whose pairs is separated; one bar each, from its
        best to its worst member. An entrant between a bar's ends that does not
        belong to it (it may differ significantly from a member) must not look
        as if it did: draw the bar as dots on its members joined by a line.
    critical_distance : float or None
        Of mean ranks; with Nemenyi's test only.
    test : str
        In words, for the caption.
    alpha : float
        Level of the separations.
    decidable : bool
        Whether any pair could have been separated; if not, all are in one bar
        and the caption must say so.
    """

    entrants: tuple[Ranked, ...]
    bars: tuple[tuple[Entrant, ...], ...]
    critical_distance: float | None
    test: str
    alpha: float
    decidable: bool


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
        ``last`` is worse.
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
    expected : float or None
        The tau between two halves of the seeds at the same rates: what noise of
        seeds alone leaves of an order that does not change. None with one seed.
    halves : float or None
        The tau between a half of the seeds at one rate and the other half at
        the other, to be compared with ``expected``.
    pairs : int
        Pairs of blocks (same dataset and noise model).
    """

    lower: float
    higher: float
    tau: float
    interval: Interval | None
    expected: float | None
    halves: float | None
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
        Whether it belongs to the set not distinguishable from the best.
    seconds : float
        Mean wall seconds of a run with its share of the pretraining, where that
        is known.
    pretraining_seconds : float or None
        That share; None where the pretrainings are not there.
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
    seconds: float
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
        Best mean first; those ``recommended`` are a confidence set for the best.
    level : float
        With which the set holds the truly best entrant.
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
        What may be said, in plain words: a headline, then the answers, those
        that cannot be decided together in one sentence.
    tie_groups : mapping of Entrant to str
        Compact letters, see :class:`Ranked`; empty where nothing was tested.
    answers : tuple of Answer
        One a question, in the protocol's order.
    comparisons : tuple of Comparison
        All of them, question by question: the rows of ``tests.csv``.
    friedman : Friedman or None
        None with fewer than two blocks or entrants.
    ranking : tuple of Ranked
        Best mean rank first.
    diagram : Diagram or None
        None where nothing is ranked.
    losses : tuple of Loss
        From BEST to LAST.
    orders : tuple of OrderChange
        For each pair of rates.
    advice : tuple of Advice
        For each dataset at each rate, for each dataset at an unknown rate, and
        for all together.
    warnings : tuple of str
        What a reader must know beside it: few datasets, missing runs, mixed
        versions, single seeds.
    methods : str
        The procedure as a paragraph that may be pasted into a paper, with the
        numbers filled in.
    """

    tested: bool
    sentences: tuple[str, ...]
    tie_groups: Mapping[tuple[str, str], str] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    friedman: Friedman | None = None
    ranking: tuple[Ranked, ...] = ()
    diagram: Diagram | None = None
    losses: tuple[Loss, ...] = ()
    orders: tuple[OrderChange, ...] = ()
    advice: tuple[Advice, ...] = ()
    warnings: tuple[str, ...] = ()
    methods: str = ""
