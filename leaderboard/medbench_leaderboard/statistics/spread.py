"""How uncertain a difference is: seeds and test images, each a source of its own.

Scores of one dataset form a table: seeds by test images, each entrant scored on
every image with every seed. A mean difference d varies because the seeds might
have been others and because the images might have been others::

    V = V_seeds + (V_images - V_both)

V_seeds is the variance of the seeds' differences over their number; V_images is
the bootstrap variance of the mean difference over resampled images (or groups of
them), the seeds held; both contain the part that varies with seed and image
together, V_both, which is therefore taken off once (the variance of two-way
clustering, Cameron, Gelbach and Miller 2011; Owen 2007 shows why resampling both
at once counts it three times). From the bootstrap variances of single seeds,
V_single on average, V_both = (V_single - V_images) / (S - 1).

The interval is d -/+ q V^(1/2). Its q is that of Cochran and Cox 1957: quantiles of
t for either source, with S - 1 and G - 1 degrees of freedom for S seeds and G images
or groups, averaged with the sources' variances as weights. Satterthwaite's degrees of
freedom are too many where one source has one or two; within a source they put several
datasets together. Percentiles of the bootstrap itself are too narrow with two to five
seeds. docs/statistics.md has the coverage of each. A test inverts the interval: its p is the one
at which the interval of level 1 - p ends at zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # quantiles of Student's t

from medbench_leaderboard.statistics.findings import Interval
from medbench_leaderboard.statistics.panel import Panel

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """One dataset's part in the variance of mean scores.

    Parameters
    ----------
    share : float
        Weight of the dataset in the mean: its share of the blocks.
    seeds, images : int
        Seeds, and test images or groups of them; 0 where not resampled.
    over_seeds : ndarray of float64, shape (k, k)
        Covariance of the mean scores over seeds; zero with one seed.
    over_images : ndarray of float64, shape (k, k)
        Bootstrap covariance of the mean scores; zero where not resampled.
    single : ndarray of float64, shape (k, k)
        Bootstrap covariance of one seed's scores, mean over seeds.
    """

    share: float
    seeds: int
    images: int
    over_seeds: Values
    over_images: Values
    single: Values


@dataclass(frozen=True)
class Spread:
    """Means of a panel and what their uncertainty is made of.

    Parameters
    ----------
    means : ndarray of float64, shape (k,)
        Mean score over all blocks.
    sources : tuple of Source
        One a dataset.
    pooled : bool
        Whether there is one source for all datasets, because some have one seed: its
        pairs of dataset and seed then hold the variance of datasets, seeds and images.
    """

    means: Values
    sources: tuple[Source, ...]
    pooled: bool = False

    @property
    def over(self) -> str:
        """What the intervals generalise over, in words."""
        seeds = all(source.seeds > 1 for source in self.sources)
        images = all(source.images > 1 for source in self.sources)
        if self.pooled:
            return "other datasets like these"
        if seeds and images:
            return "other seeds and test images, on these datasets"
        if seeds:
            return "other seeds, on these datasets and images"
        return "other test images, with one seed"

    def errors(self, contrasts: Values) -> Errors | None:
        """Return the errors of contrasts of the means; none where nothing is known.

        Parameters
        ----------
        contrasts : ndarray of float64, shape (c, k)
            Weights of the entrants.
        """

        def form(covariance: Values) -> Values:
            variance: Values = ((contrasts @ covariance) * contrasts).sum(axis=1)
            return np.maximum(variance, 0)  # rounding

        if any(source.seeds < 2 and source.images < 2 for source in self.sources):
            return None
        seeds = [s.share**2 * form(s.over_seeds) for s in self.sources]
        images = [s.share**2 * _images(s, form) for s in self.sources]
        return Errors(
            seeds=np.sum(seeds, axis=0),
            images=np.sum(images, axis=0),
            df_seeds=_satterthwaite(seeds, [s.seeds - 1 for s in self.sources]),
            df_images=_satterthwaite(images, [s.images - 1 for s in self.sources]),
        )

    def intervals(self, contrasts: Values, level: float) -> list[Interval | None]:
        """Return an interval of each contrast of the means."""
        errors = self.errors(contrasts)
        if errors is None:
            return [None] * len(contrasts)
        centre, half = contrasts @ self.means, errors.bound((1 + level) / 2)
        return [
            Interval(float(c - h), float(c + h), level, self.over)
            for c, h in zip(centre, half, strict=True)
        ]

    def p_values(self, contrasts: Values) -> Values | None:
        """Return the two-sided p of each contrast: an interval of level 1 - p ends at zero."""
        errors = self.errors(contrasts)
        return None if errors is None else errors.p_values(contrasts @ self.means)


@dataclass(frozen=True)
class Errors:
    """Variances of differences by source.

    Parameters
    ----------
    seeds, images : ndarray of float64
        Variance that either source brings.
    df_seeds, df_images : ndarray of float64
        Degrees of freedom of either.
    """

    seeds: Values
    images: Values
    df_seeds: Values
    df_images: Values

    def bound(self, probability: float | Values) -> Values:
        """Return how far a difference lies above its truth with no more than this probability."""
        variance = self.seeds + self.images
        share = np.divide(self.seeds, variance, out=np.zeros_like(variance), where=variance > 0)
        quantile = share * stdtrit(self.df_seeds, probability)
        quantile += (1 - share) * stdtrit(self.df_images, probability)
        bound: Values = quantile * np.sqrt(variance)
        return bound

    def p_values(self, effects: Values) -> Values:
        """Return for each effect the two-sided p at which :meth:`bound` equals it."""
        low, high = np.full(effects.shape, -34.0), np.zeros(effects.shape)  # of log p
        for _ in range(40):
            middle = (low + high) / 2
            beyond = np.abs(effects) >= self.bound(1 - np.exp(middle) / 2)
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        return np.where(effects == 0, 1.0, np.exp(high))


def _images(source: Source, form: Callable[[Values], Values]) -> Values:
    """Return the variance that images bring by themselves."""
    images = form(source.over_images)
    if source.seeds > 1 and source.images > 1:
        both = np.maximum(form(source.single) - images, 0) / (source.seeds - 1)
        images = np.maximum(images - both, 0)
    return images


def _satterthwaite(variances: list[Values], dfs: list[int]) -> Values:
    """Return the degrees of freedom of a sum of variances (Satterthwaite 1946)."""
    total = np.sum(variances, axis=0)
    below = np.sum([v**2 / max(df, 1) for v, df in zip(variances, dfs, strict=True)], axis=0)
    # where a source brings nothing its quantile has no weight
    df: Values = np.ones_like(total)
    np.divide(total**2, below, out=df, where=below > 0)
    return df


def spread(panel: Panel) -> Spread:
    """Return means and uncertainty of a panel with at least one block."""
    total, (names, scores) = len(panel.meetings), panel.repetitions()
    seeds = Counter(dataset for dataset, _ in names)
    if min(seeds.values()) < 2 <= len(names):
        zero = np.zeros((len(panel.entrants), len(panel.entrants)))
        over_pairs = np.cov(scores.T).reshape(zero.shape) / len(names)
        pooled = Source(1.0, len(names), 0, over_pairs, zero, zero)
        return Spread(panel.means.mean(axis=0), (pooled,), pooled=True)
    parts = panel.by_dataset.values()
    sources = tuple(_source(part, len(part.meetings) / total) for part in parts)
    return Spread(panel.means.mean(axis=0), sources)


def over_datasets(
    panel: Panel, contrasts: Values, level: float, resamples: int, rng: np.random.Generator
) -> list[Interval | None]:
    """Return an interval of each contrast for datasets like these: a cluster bootstrap.

    Whole datasets are drawn with replacement, each with all its blocks, since
    blocks of one dataset are not independent. The bootstrap's standard error,
    times (D / (D - 1))^(1/2) for D datasets, is multiplied by the quantile of t
    with D - 1 degrees of freedom: percentiles over few clusters are too narrow.

    Returns
    -------
    list of Interval or None
        None with fewer than two datasets.
    """
    parts = [*panel.by_dataset.values()]
    number = len(parts)
    if number < 2:
        return [None] * len(contrasts)
    sizes = np.array([len(part.meetings) for part in parts], np.float64)
    means = np.stack([part.means.mean(axis=0) for part in parts])
    effects = means @ contrasts.T  # (D, c)
    drawn = rng.multinomial(number, np.full(number, 1 / number), size=resamples) * sizes
    replicates = (drawn / drawn.sum(axis=1, keepdims=True)) @ effects
    error = replicates.std(axis=0, ddof=1) * np.sqrt(number / (number - 1))
    centre = (sizes / sizes.sum()) @ effects
    half = stdtrit(number - 1, (1 + level) / 2) * error
    over = f"datasets ({number} of them)"
    return [
        Interval(float(c - h), float(c + h), level, over) for c, h in zip(centre, half, strict=True)
    ]


def _source(panel: Panel, share: float) -> Source:
    """Return the variances of a panel of one dataset."""
    k = len(panel.entrants)
    names, scores = panel.repetitions()
    seeds = len(names)
    zero = np.zeros((k, k))
    over_seeds = np.cov(scores.T).reshape(k, k) / seeds if seeds > 1 else zero
    if panel.image_covariances is None:
        return Source(share, seeds, 0, over_seeds, zero, zero)
    images = min(meeting.test_units for meeting in panel.meetings)
    return Source(share, seeds, images, over_seeds, *panel.image_covariances)
