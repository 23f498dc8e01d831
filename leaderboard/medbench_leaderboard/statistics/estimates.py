"""What is estimated and not tested: losses from BEST to LAST, and changes of order."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # quantiles of Student's t

from medbench.engine.streams import numpy_stream
from medbench.protocol.decidable import Side
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.findings import Interval, Loss, OrderChange
from medbench_leaderboard.statistics.panel import Meeting, Panel
from medbench_leaderboard.statistics.spread import spread

Values = NDArray[np.float64]

#: Draws for the standard error of a rank correlation; fewer of them, but never less than
#: the second, where so many entrants meet that their pairs times draws are more than the last.
_DRAWS, _FEWEST, _MOST_PAIRS = 200, 40, 200_000


def losses(panels: Mapping[str, Panel], level: float) -> tuple[Loss, ...]:
    """Return what each pretext and each method loses from BEST to LAST.

    Parameters
    ----------
    panels : mapping of str to Panel
        Differences of best and last: ``loss``, cross-fitted, and ``loss on the same images``;
        ``cross-fitted best``. Empty where the predictions were not read.
    level : float
        Coverage of the intervals.
    """
    fallen = panels["loss"]
    if not fallen.meetings:
        return ()
    sides = [Side(pretext=name) for name in dict.fromkeys(e.pretext for e in fallen.entrants)]
    sides += [Side(method=name) for name in dict.fromkeys(e.method for e in fallen.entrants)]
    rates: list[float | None] = [None, *(fallen.rates if len(fallen.rates) > 1 else ())]
    found: list[Loss] = []
    for rate in rates:
        blocks = {m.block for m in fallen.meetings if rate in (None, m.block.rate)}
        part = fallen.part(blocks.__contains__)
        weights = np.stack([_average(part, side) for side in sides])
        intervals = spread(part).intervals(weights, level)
        lost, best, same = (
            weights @ panels[name].part(blocks.__contains__).means.mean(axis=0)
            for name in ("loss", "cross-fitted best", "loss on the same images")
        )
        found += [
            Loss(side, rate, float(b), float(b - w), float(w), float(n), interval, len(blocks))
            for side, b, w, n, interval in zip(sides, best, lost, same, intervals, strict=True)
        ]
    return tuple(found)


def order_changes(panel: Panel, facts: ProtocolFacts) -> tuple[OrderChange, ...]:
    """Return for each pair of rates how far the order of entrants is the same.

    Kendall's tau-b (Kendall 1945) between the mean scores at the two rates, for
    each dataset and noise model that has both, averaged. Its interval is the
    bootstrap's standard error over seeds, widened by (S / (S - 1))^(1/2), times
    the quantile of t. Noise of seeds alone makes an order look changed; so tau between
    one half of the seeds at one rate and the other half at the other (``halves``) is given next to
    that of two halves at the same rate (``expected``).
    """
    if len(panel.entrants) < 3:
        return ()
    rng = numpy_stream(facts.seed, "board orders", facts.name)
    by_block = {meeting.block: meeting for meeting in panel.meetings}
    found = []
    for lower, higher in combinations(panel.rates, 2):
        pairs = [
            (by_block[block], by_block[block._replace(rate=higher)])
            for block in by_block
            if block.rate == lower and block._replace(rate=higher) in by_block
        ]
        if pairs:
            found.append(_change(lower, higher, pairs, 1 - facts.alpha, rng))
    return tuple(found)


def tau_b(first: Values, second: Values) -> Values:
    """Return Kendall's tau-b of rows of scores, shape (n, k) each; 0 where all are tied."""
    upper = np.triu_indices(first.shape[1], 1)
    a = np.sign(np.round(first[:, upper[0]] - first[:, upper[1]], 12))
    b = np.sign(np.round(second[:, upper[0]] - second[:, upper[1]], 12))
    below = np.sqrt((a != 0).sum(axis=1) * (b != 0).sum(axis=1))
    found = np.zeros(len(first))
    np.divide((a * b).sum(axis=1), below, out=found, where=below > 0)
    return found


def _change(
    lower: float,
    higher: float,
    pairs: list[tuple[Meeting, Meeting]],
    level: float,
    rng: np.random.Generator,
) -> OrderChange:
    k = pairs[0][0].scores.shape[1]
    number = max(_FEWEST, min(_DRAWS, _MOST_PAIRS // (k * (k - 1) // 2)))
    taus, draws = [], np.zeros(number)
    halves: list[float] = []
    expected: list[float] = []
    fewest = min(min(len(one.seeds), len(other.seeds)) for one, other in pairs)
    for one, other in pairs:
        means = one.scores.mean(axis=0)[None], other.scores.mean(axis=0)[None]
        taus.append(float(tau_b(*means)[0]))
        if fewest > 1:
            draws += tau_b(_redrawn(one, number, rng), _redrawn(other, number, rng))
            (a, b), (c, d) = _halves(one), _halves(other)
            halves += [float(tau_b(a, d)[0]), float(tau_b(b, c)[0])]
            expected += [float(tau_b(a, b)[0]), float(tau_b(c, d)[0])]
    tau = float(np.mean(taus))
    interval = None
    if fewest > 1:
        error = float((draws / len(pairs)).std(ddof=1)) * (fewest / (fewest - 1)) ** 0.5
        half = float(stdtrit(len(pairs) * (fewest - 1), (1 + level) / 2)) * error
        interval = Interval(max(-1.0, tau - half), min(1.0, tau + half), level, "seeds")
    return OrderChange(
        lower=lower,
        higher=higher,
        tau=tau,
        interval=interval,
        halves=float(np.mean(halves)) if halves else None,
        expected=float(np.mean(expected)) if expected else None,
        pairs=len(pairs),
    )


def _redrawn(meeting: Meeting, number: int, rng: np.random.Generator) -> Values:
    seeds = len(meeting.seeds)
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=number)
    means: Values = drawn @ meeting.scores / seeds
    return means


def _halves(meeting: Meeting) -> tuple[Values, Values]:
    """Return mean scores over the even and the odd places of the seeds, shape (1, k) each."""
    return meeting.scores[::2].mean(axis=0)[None], meeting.scores[1::2].mean(axis=0)[None]


def _average(panel: Panel, side: Side) -> Values:
    member = [
        side.pretext in (None, entrant.pretext) and side.method in (None, entrant.method)
        for entrant in panel.entrants
    ]
    return np.array(member, np.float64) / sum(member)
