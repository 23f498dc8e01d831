"""Whether the board's statistics keep what they promise: `python performance/bench_statistics.py`.

Three simulations, whose results stand in docs/statistics.md:

- no entrant differs: how many boards make any false claim? Scores have a part for the
  pretraining, the same at all rates and for all methods of a dataset and seed, as real ones;
- one pretext is better by a known amount: how many boards say so?
- two entrants are scored with several seeds on test images, single ones or in groups: how
  often do the 95 % intervals hold the true difference?
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from medbench_leaderboard.statistics.examine import test_questions
from medbench_leaderboard.statistics.signed_rank import signed_rank
from medbench_leaderboard.statistics.weighted import draw_counts, resampled_metric
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from medbench.engine.streams import numpy_stream
from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.findings import Comparison
from medbench_leaderboard.statistics.panel import Meeting, Panel
from medbench_leaderboard.statistics.spread import over_datasets, spread

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """Numbers of a board."""

    datasets: int
    rates: int
    pretexts: int
    methods: int
    seeds: int

    def __str__(self) -> str:
        return (
            f"{self.datasets} datasets x {self.rates} rates, "
            f"{self.pretexts} pretexts x {self.methods} methods, {self.seeds} seeds"
        )


SHAPES = (
    Shape(2, 4, 5, 3, 5),  # khanal2023
    Shape(5, 3, 4, 3, 3),
    Shape(12, 1, 3, 2, 1),
    Shape(1, 8, 3, 2, 8),
)

#: Standard deviations of one run's score: of the run alone, of its pretraining, and of
#: seed and dataset, which all entrants share.
RUN, PRETRAINING, SHARED = 0.02, 0.015, 0.05


def draw_board(shape: Shape, rng: np.random.Generator, better: float = 0.0) -> Panel:
    """Draw a board; the last pretext is better by ``better``."""
    names = [f"p{i}" for i in range(shape.pretexts)]
    methods = [f"m{i}" for i in range(shape.methods)]
    entrants = tuple(Entrant(p, m) for p, m in itertools.product(names, methods))
    meetings = []
    for dataset in range(shape.datasets):
        shared = rng.normal(0, SHARED, (shape.seeds, 1))
        pretraining = rng.normal(0, PRETRAINING, (shape.seeds, shape.pretexts))
        pretraining[:, 0] = 0  # the baseline trains nothing before
        for rate in range(shape.rates):
            scores = 0.6 + shared + np.repeat(pretraining, shape.methods, axis=1)
            scores = scores + rng.normal(0, RUN, scores.shape)
            scores[:, -shape.methods :] += better
            block = Block(f"d{dataset}", "symmetric", rate / 10)
            meetings.append(Meeting(block, tuple(range(shape.seeds)), scores))
    return Panel(entrants, tuple(meetings))


def facts() -> ProtocolFacts:
    return ProtocolFacts("simulation", baseline_pretext="p0", resamples=200)


def claims(panel: Panel) -> tuple[list[Comparison], bool]:
    """Return what a board claims, and whether Friedman's test says that entrants differ."""
    tested, friedman = test_questions(panel, facts())
    found = [c for of in tested.values() for c in of.comparisons if c.significant]
    return found, friedman is not None and friedman.significant


def share(hits: int, total: int) -> str:
    interval = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    return f"{hits / total:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def false_claims(boards: int) -> Iterator[str]:
    for shape in SHAPES:
        rng = numpy_stream(0, "false claims", str(shape))
        wrong = naive = omnibus = 0
        for _ in range(boards):
            panel = draw_board(shape, rng)
            found, differ = claims(panel)
            wrong += bool(found) or differ
            omnibus += differ
            # what one uncorrected dependence does: pretexts over blocks as if independent
            columns = panel.means.reshape(len(panel.means), shape.pretexts, -1).mean(axis=2)
            _, p = signed_rank(columns[:, 1:] - columns[:, :1])
            naive += bool((p * (shape.pretexts - 1)).min() <= 0.05)
        yield (
            f"{shape}: {share(wrong, boards)}, of Friedman's test {share(omnibus, boards)}; "
            f"pretexts over blocks alone {share(naive, boards)}"
        )


def power(boards: int) -> Iterator[str]:
    for shape in SHAPES:
        for better in (0.02, 0.05):
            rng = numpy_stream(0, "power", str(shape), better)
            marginal = any_true = false = 0
            last = f"p{shape.pretexts - 1}"
            for _ in range(boards):
                found, _ = claims(draw_board(shape, rng, better))
                true = [c for c in found if _is_true(c, last)]
                marginal += any(c.question == "pretraining" for c in true)
                any_true += bool(true)
                false += len(true) < len(found)
            yield (
                f"{shape}, better by {better}: pretraining helps {share(marginal, boards)}, any "
                f"true claim {share(any_true, boards)}, any false one {share(false, boards)}"
            )


def _is_true(comparison: Comparison, better: str) -> bool:
    sides = {"first": (comparison.first, comparison.second)}
    won, lost = sides.get(comparison.verdict, (comparison.second, comparison.first))
    return won.pretext == better and lost.pretext != better


@dataclass(frozen=True)
class Scene:
    """Two entrants, seeds and test images; standard deviations on the probit scale."""

    seeds: int
    groups: int
    per_group: int
    metric: str
    of_seed: float = 0.15
    of_image: float = 0.8
    of_entrant_and_image: float = 0.5
    classes: int = 3
    means: tuple[float, float] = (0.7, 0.55)

    def truth(self) -> float:
        """Return the true difference: over all seeds and images."""
        total = 1 + self.of_seed**2 + self.of_image**2 + self.of_entrant_and_image**2
        first, second = (norm.cdf(mean / total**0.5) for mean in self.means)
        return float(first - second)


SCENES = tuple(
    Scene(seeds, groups, per_group, "balanced_accuracy")
    for groups, per_group in ((300, 1), (80, 5))
    for seeds in (2, 3, 5, 10)
)


def draw_scene(scene: Scene, rng: np.random.Generator, resamples: int) -> Panel:
    """Draw one experiment, with its scores on resampled images, as the board has them."""
    units = np.repeat(np.arange(scene.groups), scene.per_group)
    number = len(units)
    labels = rng.integers(0, scene.classes, number)
    image = rng.normal(0, scene.of_image, scene.groups)
    own = rng.normal(0, scene.of_entrant_and_image, (2, scene.groups))
    counts = draw_counts(units, resamples, rng)
    full = np.ones((1, number), np.float32)
    scores, resampled = np.zeros((scene.seeds, 2)), np.zeros((scene.seeds, 2, resamples))
    for seed, entrant in itertools.product(range(scene.seeds), range(2)):
        latent = scene.means[entrant] + rng.normal(0, scene.of_seed)
        latent = latent + (image + own[entrant])[units] + rng.normal(0, 1, number)
        wrong = (labels + rng.integers(1, scene.classes, number)) % scene.classes
        predicted = np.where(latent > 0, labels, wrong)
        probabilities = np.eye(scene.classes)[predicted]
        scores[seed, entrant] = resampled_metric(scene.metric, full, labels, probabilities)[0]
        resampled[seed, entrant] = resampled_metric(scene.metric, counts, labels, probabilities)
    block = Block("d", "symmetric", 0.3)
    entrants = (Entrant("a", "m"), Entrant("b", "m"))
    meeting = Meeting(
        block, tuple(range(scene.seeds)), scores, resampled.astype(np.float32), scene.groups
    )
    return Panel(entrants, (meeting,))


def coverage(experiments: int, resamples: int = 300) -> Iterator[str]:
    contrast = np.array([[1.0, -1.0]])
    for scene in SCENES:
        rng = numpy_stream(0, "coverage", str(scene))
        truth, held, percentile = scene.truth(), 0, 0
        for _ in range(experiments):
            panel = draw_scene(scene, rng, resamples)
            interval = spread(panel).intervals(contrast, 0.95)[0]
            assert interval is not None
            held += interval.low <= truth <= interval.high
            # the plain bootstrap: seeds and images at once, percentiles
            replicates = panel.meetings[0].resampled
            assert replicates is not None
            drawn = rng.integers(0, scene.seeds, (resamples, scene.seeds))
            difference = (replicates[:, 0] - replicates[:, 1]).T  # (R, S)
            plain = np.take_along_axis(difference, drawn, axis=1).mean(axis=1)
            low, high = np.quantile(plain, [0.025, 0.975])
            percentile += low <= truth <= high
        yield (
            f"{scene.metric}, {scene.seeds} seeds, {scene.groups} groups of {scene.per_group}: "
            f"{share(held, experiments)}; percentiles {share(percentile, experiments)}"
        )


def dataset_coverage(experiments: int) -> Iterator[str]:
    """Hold the true mean difference over datasets that have differences of their own?"""
    for datasets in (2, 3, 5, 10):
        rng = numpy_stream(0, "dataset coverage", datasets)
        held = 0
        for _ in range(experiments):
            meetings = []
            for dataset in range(datasets):
                effect = 0.03 + rng.normal(0, 0.02)
                scores = rng.normal(0, 0.02, (2, 3, 2))
                scores[..., 0] += effect
                meetings += [
                    Meeting(Block(f"d{dataset}", "symmetric", rate / 10), (0, 1, 2), scores[rate])
                    for rate in range(2)
                ]
            panel = Panel((Entrant("a", "m"), Entrant("b", "m")), tuple(meetings))
            (interval,) = over_datasets(panel, np.array([[1.0, -1.0]]), 0.95, 1000, rng)
            assert interval is not None
            held += interval.low <= 0.03 <= interval.high
        yield f"{datasets} datasets: {share(held, experiments)}"


PARTS = {
    "false-claims": false_claims,
    "power": power,
    "coverage": coverage,
    "dataset-coverage": dataset_coverage,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate boards and check their claims.")
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--number", type=int, default=2000, help="boards or experiments each")
    given = parser.parse_args()
    for part in given.parts:
        sys.stdout.write(f"{part}, {given.number} each, with 95 % Monte-Carlo intervals\n")
        for line in PARTS[part](given.number):
            sys.stdout.write(f"  {line}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
