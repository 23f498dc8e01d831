"""The scores that are tested: entrants by block and seed, complete, as arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.table import positions

Values = NDArray[np.float64]

#: By run key: the score on each resample of the test images, shape (R,), and how many
#: units, images or groups of them, were drawn.
Resamples = Mapping[str, tuple[NDArray[np.float32], int]]

#: A pair of dataset and seed: what is repeated independently.
Repetition = tuple[str, int]


@dataclass(frozen=True)
class Meeting:
    """A block with the scores of all entrants in it.

    Parameters
    ----------
    block : Block
        Which.
    seeds : tuple of int
        Seeds that all entrants share, S of them.
    scores : ndarray of float64, shape (S, k)
        Larger is better.
    resampled : ndarray of float32, shape (S, k, R), or None
        The same scores on R resamples of the test images, which are the same
        resamples for all entrants, seeds and blocks of a dataset; none where
        the predictions were not read.
    test_units : int
        Test images, or groups of them, that were resampled; 0 where none were.
    """

    block: Block
    seeds: tuple[int, ...]
    scores: Values
    resampled: NDArray[np.float32] | None = None
    test_units: int = 0


@dataclass(frozen=True)
class Panel:
    """All blocks that count.

    Parameters
    ----------
    entrants : tuple of Entrant
        The columns of all scores, k of them.
    meetings : tuple of Meeting
        B of them.
    """

    entrants: tuple[Entrant, ...]
    meetings: tuple[Meeting, ...]

    @cached_property
    def means(self) -> Values:
        """Scores of blocks, means over seeds, shape (B, k)."""
        if not self.meetings:
            return np.zeros((0, len(self.entrants)))
        return np.stack([meeting.scores.mean(axis=0) for meeting in self.meetings])

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        """Datasets of the blocks."""
        return tuple(dict.fromkeys(meeting.block.dataset for meeting in self.meetings))

    @cached_property
    def rates(self) -> tuple[float, ...]:
        """Rates of the blocks, rising."""
        return tuple(sorted({meeting.block.rate for meeting in self.meetings}))

    def part(self, keep: Callable[[Block], bool]) -> Panel:
        """Return the panel of some of the blocks."""
        return Panel(self.entrants, tuple(m for m in self.meetings if keep(m.block)))

    def without(self, entrants: Collection[Entrant]) -> Panel:
        """Return the panel without some of the entrants."""
        kept = [place for place, entrant in enumerate(self.entrants) if entrant not in entrants]
        meetings = (
            replace(
                m,
                scores=m.scores[:, kept],
                resampled=None if m.resampled is None else m.resampled[:, kept],
            )
            for m in self.meetings
        )
        return Panel(tuple(self.entrants[place] for place in kept), tuple(meetings))

    @cached_property
    def by_dataset(self) -> Mapping[str, Panel]:
        """The panel of each dataset's blocks."""
        return {
            dataset: self.part(lambda block, dataset=dataset: block.dataset == dataset)  # type: ignore[misc]
            for dataset in self.datasets
        }

    def trend(self) -> Panel:
        """Return the panel whose means over blocks are slopes: score by 0.1 of the noise rate.

        The least-squares slope of a dataset and noise model is a weighted sum of its blocks'
        scores, so each block's scores are multiplied by its weight. Seeds that not all rates have
        are left out, as are datasets with a single rate.
        """
        series: dict[tuple[str, str], list[Meeting]] = {}
        for meeting in self.meetings:
            series.setdefault(meeting.block[:2], []).append(meeting)
        found = []
        for meetings in series.values():
            rates = np.array([m.block.rate for m in meetings])
            seeds = sorted(set.intersection(*(set(m.seeds) for m in meetings)))
            if len(meetings) < 2 or not seeds:
                continue
            centred = rates - rates.mean()
            weights = 0.1 * len(meetings) * centred / (centred**2).sum()
            for m, weight in zip(meetings, weights, strict=True):
                rows = [m.seeds.index(seed) for seed in seeds]
                resampled = None if m.resampled is None else np.float32(weight) * m.resampled[rows]
                found.append(
                    replace(
                        m, seeds=tuple(seeds), scores=weight * m.scores[rows], resampled=resampled
                    )
                )
        return Panel(self.entrants, tuple(found))

    def repetitions(self) -> tuple[list[Repetition], Values]:
        """Return scores by dataset and seed, means over the blocks that have the seed.

        Runs of one dataset and seed share images, initial weights and, at all
        rates, the pretraining; so blocks of one dataset are not independent of
        one another, while these means are.

        Returns
        -------
        names : list of (dataset, seed)
            U of them.
        scores : ndarray of float64, shape (U, k)
            Larger is better.
        """
        names, sums, counts = self._sums(lambda meeting: meeting.scores, (len(self.entrants),))
        return names, sums / counts[:, None]

    def contributions(self) -> Values:
        """Return what each pair of dataset and seed adds to the mean over blocks, shape (U, k).

        Their sum is that mean, so a test that flips their signs is about it.
        """
        total = len(self.meetings)
        return self._sums(
            lambda meeting: meeting.scores / (len(meeting.seeds) * total), (len(self.entrants),)
        )[1]

    @cached_property
    def image_covariances(self) -> tuple[Values, Values] | None:
        """Covariances over resampled test images; none where these were not read.

        Returns
        -------
        mean, single : ndarray of float64, shape (k, k)
            Of the mean over pairs of dataset and seed, and the mean of those of single pairs.
        """
        replicates, k = self.resampled_repetitions(), len(self.entrants)
        if replicates is None:
            return None
        single = np.mean([np.cov(one).reshape(k, k) for one in replicates], axis=0)
        return np.cov(replicates.mean(axis=0)).reshape(k, k), single

    def resampled_repetitions(self) -> Values | None:
        """Return the same for resampled test images, shape (U, k, R); none where not read."""
        first = self.meetings[0].resampled if self.meetings else None
        if first is None or any(meeting.resampled is None for meeting in self.meetings):
            return None
        _, sums, counts = self._sums(lambda meeting: meeting.resampled, first.shape[1:])
        return np.asarray(sums / counts[:, None, None])

    def _sums(
        self, rows: Callable[[Meeting], Any], shape: tuple[int, ...]
    ) -> tuple[list[Repetition], Values, Values]:
        """Return pairs of dataset and seed, sums of their rows over blocks, and how many."""
        sums: dict[Repetition, Values] = {}
        counts: Counter[Repetition] = Counter()
        for meeting in self.meetings:
            for seed, row in zip(meeting.seeds, rows(meeting), strict=True):
                name = (meeting.block.dataset, seed)
                sums[name] = sums.get(name, np.zeros(shape)) + row
                counts[name] += 1
        names = list(sums)
        if not names:
            return [], np.zeros((0, *shape)), np.ones(0)
        return names, np.stack(list(sums.values())), np.array([counts[name] for name in names])


def make_panel(
    runs: pd.DataFrame,
    blocks: Sequence[Block],
    entrants: Sequence[Entrant],
    column: str,
    *,
    lower_is_better: bool = False,
    resamples: Resamples | None = None,
) -> Panel:
    """Arrange the scores of complete blocks.

    Parameters
    ----------
    runs : pandas.DataFrame
        One row a run, as :attr:`medbench.Results.runs`.
    blocks : sequence of Block
        The blocks that count; a block without a seed that all entrants share is
        left out.
    entrants : sequence of Entrant
        Those that compete.
    column : str
        Column of ``runs`` that holds the score.
    lower_is_better : bool
        Whether the score is to be turned round.
    resamples : mapping of str to (ndarray of float32, shape (R,), int), optional
        By run key: the score on resamples of the test images, and how many
        units were resampled.
    """
    sign = -1.0 if lower_is_better else 1.0
    known = resamples or {}
    block = positions(runs, ["dataset", "noise", "rate"], blocks)
    entrant = positions(runs, ["pretext", "method"], entrants)
    value = sign * runs[column].to_numpy(np.float64)
    used = (block >= 0) & (entrant >= 0) & ~np.isnan(value)
    seeds, seed = np.unique(runs["seed"].to_numpy(np.int64)[used], return_inverse=True)
    place = block[used], seed, entrant[used]
    scores = np.full((len(blocks), len(seeds), len(entrants)), np.nan)
    scores[place] = value[used]
    keys = np.full(scores.shape, "", object)
    if known:
        keys[place] = runs["run_key"].to_numpy(object)[used]
    meetings = []
    for name, table, of in zip(blocks, scores, keys, strict=True):
        whole = ~np.isnan(table).any(axis=1)
        if whole.any():
            chosen = tuple(seeds[whole].tolist())
            resampled, units = _resampled(of[whole], sign, known)
            meetings.append(Meeting(name, chosen, table[whole], resampled, units))
    return Panel(tuple(entrants), tuple(meetings))


def _resampled(
    keys: NDArray[np.object_], sign: float, known: Resamples
) -> tuple[NDArray[np.float32] | None, int]:
    flat = keys.ravel().tolist()
    if any(key not in known for key in flat):
        return None, 0
    scores = np.stack([known[key][0] for key in flat]).reshape(*keys.shape, -1)
    return np.float32(sign) * scores, min(known[key][1] for key in flat)
