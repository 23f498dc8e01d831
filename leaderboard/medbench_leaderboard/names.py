"""What all rooms of the board share: names of entrants and blocks, its files, a limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

#: The files of a board and what they are.
FILES: Mapping[str, str] = {
    "leaderboard.csv": "entrant by block by reading by metric",
    "runs.csv": "one row a run",
    "runs.parquet": "the same for programs",
    "tests.csv": "every comparison",
    "tests.md": "what may be said, and the methods paragraph",
    "table.md": "the ranked table in Markdown",
    "table.tex": "the ranked table in LaTeX",
    "index.html": "the page",
}

#: Records that are read whole without being asked to: some milliseconds each.
MOST_RECORDS = 5000


class Entrant(NamedTuple):
    """What competes: a pretext with a method."""

    pretext: str
    method: str

    def __str__(self) -> str:
        return f"{self.pretext} + {self.method}"


class Block(NamedTuple):
    """Where entrants meet: dataset, noise model and rate."""

    dataset: str
    noise: str
    rate: float

    def __str__(self) -> str:
        return f"{self.dataset}, {self.noise} {self.rate:g}"
