"""Whether the board's statistics keep what they promise: `python performance/bench_statistics.py`.

Simulations, whose results are in docs/statistics.md:

- no entrant differs: on how many boards is any claim made? Runs of a dataset share test
  images, those of a dataset and seed a pretraining, at all rates;
- one method and one pretext are better by a known amount: on how many boards is it claimed?
- two entrants are scored with several seeds on test images, single ones or in groups: how
  often do the 95 % intervals hold the true difference?
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from medbench.engine.streams import numpy_stream
from medbench.metrics import resampled
from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.resampling import draw_counts
from medbench_leaderboard.statistics.compare import test_questions
from medbench_leaderboard.statistics.findings import Answer
from medbench_leaderboard.statistics.panel import Meeting, Panel
from medbench_leaderboard.statistics.spread import over_datasets, spread

Values = NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, ...]], Values]


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
            f"{self.datasets} x {self.rates}, {self.pretexts} x {self.methods}, {self.seeds} "
            f"({self.datasets * self.seeds} pairs)"
        )


KHANAL, QUICK = Shape(2, 3, 5, 5, 5), Shape(2, 1, 5, 3, 4)
MINI = Shape(2, 4, 5, 3, 6)
SHAPES = (
    Shape(1, 2, 3, 2, 3),
    Shape(2, 2, 3, 2, 3),
    QUICK,
    Shape(1, 4, 3, 2, 8),
    Shape(3, 2, 4, 3, 3),
    KHANAL,
    Shape(12, 1, 3, 2, 1),
)

#: Standard deviations of one run's score: of the run alone, of its pretraining, of a seed
#: with a method, and of a method on the test images.
RUN, PRETRAINING, SEED, IMAGES = 0.01, 0.008, 0.008, 0.008
REPLICATES = 100


def heavy_tails(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Student's t with three degrees of freedom, of variance one."""
    return rng.standard_t(3, shape) / 3**0.5


NOISES: dict[str, Noise] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy tails": heavy_tails,
    # a dataset, seed or image set may vary three times as much as another
    "unequal variances": lambda rng, shape: (
        rng.normal(size=shape) * rng.uniform(0.5, 1.5, (*shape[:-1], 1))
    ),
}


def draw_board(
    shape: Shape,
    rng: np.random.Generator,
    noise: Noise,
    method: float = 0,
    pretext: float = 0,
    scale: float = 1,
) -> Panel:
    """Draw a board; the last method and the last pretext are better by so much.

    ``scale`` multiplies all standard deviations.
    """
    entrants = tuple(
        Entrant(f"p{p}", f"m{m}") for p in range(shape.pretexts) for m in range(shape.methods)
    )
    gain = np.zeros((shape.pretexts, shape.methods))
    gain[:, -1] += method
    gain[-1] += pretext
    size = (shape.seeds, shape.pretexts, shape.methods)
    meetings = []
    for dataset in range(shape.datasets):
        images = scale * IMAGES * noise(rng, (1, 1, shape.methods))
        shaken = scale * IMAGES * rng.normal(size=(1, 1, shape.methods, REPLICATES))
        seeds = scale * SEED * noise(rng, (shape.seeds, 1, shape.methods))
        pretraining = scale * PRETRAINING * noise(rng, (shape.seeds, shape.pretexts, 1))
        pretraining[:, 0] = 0  # the baseline trains nothing before
        for rate in range(shape.rates):
            own = scale * RUN * noise(rng, size)
            scores = 0.6 + gain + images + seeds + pretraining + own
            again = (scores[..., None] + shaken).reshape(shape.seeds, len(entrants), -1)
            block = Block(f"d{dataset}", "symmetric", rate / 10)
            flat = scores.reshape(shape.seeds, -1)
            meetings.append(
                Meeting(block, tuple(range(shape.seeds)), flat, again.astype(np.float32), 320)
            )
    return Panel(entrants, tuple(meetings))


FACTS = ProtocolFacts(
    "simulation", baseline_pretext="p0", baseline_method="m0", resamples=200, rope=0.0
)


def tests(panel: Panel) -> dict[str, Answer]:
    """Return the questions of the protocol; claims that their own interval denies stop all."""
    found = {q: of for q, of in test_questions(panel, FACTS).items() if q in FACTS.questions}
    for claim in (claim for of in found.values() for claim in of.claims):
        assert claim.interval is not None
        assert claim.interval.low * claim.interval.high > 0
    return found


def share(hits: int, total: int) -> str:
    interval = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    return f"{hits / total:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def false_claims(boards: int) -> Iterator[str]:
    for shape, (name, noise) in itertools.product(SHAPES, NOISES.items()):
        rng = numpy_stream(0, "false claims", str(shape), name)
        wrong = by_pairs = 0
        for _ in range(boards):
            found = tests(draw_board(shape, rng, noise))
            wrong += any(of.claims for of in found.values())
            # the exact test by itself, of methods, which share the test images
            methods = found["methods"].comparisons
            by_pairs += any(len(methods) * c.p_pairs <= c.alpha for c in methods)
        yield f"{shape}, {name}: {share(wrong, boards)}; pairs alone {share(by_pairs, boards)}"


def partly_false(boards: int) -> Iterator[str]:
    """Yield the share of boards with a false claim where the last method is far better."""
    for shape in (QUICK, KHANAL, Shape(3, 2, 4, 3, 3)):
        rng = numpy_stream(0, "partly false", str(shape))
        wrong = 0
        for _ in range(boards):
            found = tests(draw_board(shape, rng, NOISES["normal"], method=0.1))
            last = f"m{shape.methods - 1}"
            wrong += any(c.better.method != last for of in found.values() for c in of.claims)
        yield f"{shape}: {share(wrong, boards)}"


def power(boards: int) -> Iterator[str]:
    # runs of 32 px vary twice as much
    shapes = ((QUICK, 1), (KHANAL, 1), (MINI, 2))
    for (shape, scale), better in itertools.product(shapes, (0.02, 0.03, 0.05)):
        rng = numpy_stream(0, "power", str(shape), better)
        method = pretext = 0
        for _ in range(boards):
            found = tests(draw_board(shape, rng, NOISES["normal"], method=better, scale=scale))
            last = f"m{shape.methods - 1}"
            method += any(c.better.method == last for c in found["methods"].claims)
            # as the first question of its protocol
            board = draw_board(shape, rng, NOISES["normal"], pretext=better, scale=scale)
            claims = test_questions(board, PRETEXTS_FIRST)["pretraining"].claims
            pretext += any(c.better.pretext == f"p{shape.pretexts - 1}" for c in claims)
        yield (
            f"{shape}, better by {better}: method {share(method, boards)}, "
            f"pretext {share(pretext, boards)}"
        )


PRETEXTS_FIRST = ProtocolFacts(
    "simulation", baseline_pretext="p0", resamples=200, rope=0.0, questions=("pretraining",)
)


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
    scores, again = np.zeros((scene.seeds, 2)), np.zeros((scene.seeds, 2, resamples))
    for seed, entrant in itertools.product(range(scene.seeds), range(2)):
        latent = scene.means[entrant] + rng.normal(0, scene.of_seed)
        latent = latent + (image + own[entrant])[units] + rng.normal(0, 1, number)
        wrong = (labels + rng.integers(1, scene.classes, number)) % scene.classes
        predicted = np.where(latent > 0, labels, wrong)
        probabilities = np.eye(scene.classes)[predicted]
        scores[seed, entrant] = resampled(scene.metric, labels, probabilities, full)[0]
        again[seed, entrant] = resampled(scene.metric, labels, probabilities, counts)
    block = Block("d", "symmetric", 0.3)
    entrants = (Entrant("a", "m"), Entrant("b", "m"))
    meeting = Meeting(
        block, tuple(range(scene.seeds)), scores, again.astype(np.float32), scene.groups
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
    "partly-false": partly_false,
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
