"""Simulations of boards: how often they claim a difference that is not there, and one that is.

    uv run python performance/bench_statistics.py --boards 500

Boards share what real boards share: the test images of a dataset, and the images, noisy
labels and initial weights of a seed. Standard deviations are those measured on histology:
.011 from the test images and .012 from a seed, for the difference of two methods.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from medbench_leaderboard.names import Block, Entrant
from medbench_leaderboard.protocol_facts import ProtocolFacts
from medbench_leaderboard.statistics.compare import test_questions
from medbench_leaderboard.statistics.panel import Meeting, Panel

FACTS = ProtocolFacts("simulation", baseline_pretext="p0", baseline_method="m0", resamples=200)


@dataclass(frozen=True)
class Shape:
    """Size of a board."""

    datasets: int
    seeds: int
    rates: int = 2
    pretexts: int = 2
    methods: int = 3


SHAPES = (Shape(1, 8), Shape(2, 4), Shape(2, 6), Shape(3, 3))


def draw_panel(shape: Shape, rng: np.random.Generator, gain: float = 0.0) -> Panel:
    """Draw a board on which the last method is better by ``gain``."""
    places = [(p, m) for p in range(shape.pretexts) for m in range(shape.methods)]
    gains = np.array([gain * (m == shape.methods - 1) for _, m in places])
    meetings = []
    for dataset in range(shape.datasets):
        images = np.tile(rng.normal(0, 0.011 / 2**0.5, shape.methods), shape.pretexts)
        shaken = np.tile(rng.normal(0, 0.011 / 2**0.5, (shape.methods, 200)), (shape.pretexts, 1))
        own = np.tile(rng.normal(0, 0.012 / 2**0.5, (shape.seeds, shape.methods)), shape.pretexts)
        for rate in range(shape.rates):
            noise = rng.normal(0, 0.01, (shape.seeds, len(places)))
            scores = 0.6 + gains + images + own + noise
            resampled = (scores[:, :, None] + shaken).astype(np.float32)
            block = Block(f"d{dataset}", "symmetric", rate / 10)
            meetings.append(Meeting(block, tuple(range(shape.seeds)), scores, resampled, 320))
    return Panel(tuple(Entrant(f"p{p}", f"m{m}") for p, m in places), tuple(meetings))


def share(hits: int, total: int) -> str:
    """Return a share with its 95 % interval."""
    interval = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    return f"{hits / total:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def claimed(panel: Panel, question: str | None = None) -> bool:
    """Return whether a board claims any difference."""
    found = test_questions(panel, FACTS)
    return any(asked.claims for name, asked in found.items() if question in (None, name))


def main() -> None:
    """Print false claims and power by the size of the board."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boards", type=int, default=200)
    boards = parser.parse_args().boards
    for shape in SHAPES:
        rng = np.random.default_rng([shape.datasets, shape.seeds])
        false = sum(claimed(draw_panel(shape, rng)) for _ in range(boards))
        print(f"{shape}: any claim without a difference {share(false, boards)}", flush=True)
        for gain in (0.02, 0.03, 0.05):
            hits = sum(claimed(draw_panel(shape, rng, gain), "methods") for _ in range(boards))
            print(f"  a method better by {gain}: claimed on {share(hits, boards)}", flush=True)


if __name__ == "__main__":
    main()
