"""What all rooms of the board share: names of entrants and blocks, its files, a limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from medbench.plain import many as many

#: The files of a board and what they are.
FILES: Mapping[str, str] = {
    "leaderboard.csv": "entrant by block by reading by metric",
    "runs.csv": "one row a run",
    "runs.parquet": "the same for programs",
    "costs.csv": "what entrants cost",
    "tests.csv": "every comparison",
    "declared.csv": "what was declared after results existed",
    "tests.md": "what may be said, and the methods paragraph",
    "table.md": "the ranked table in Markdown",
    "table.tex": "the ranked table in LaTeX",
    "references.bib": "BibTeX of everything used",
    "index.html": "the page",
}

#: Records that are read whole without being asked to: some milliseconds each.
MOST_RECORDS = 5000


def listed(words: Sequence[str]) -> str:
    """Return words joined by commas and "and"."""
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def run_label(row: Mapping[Any, Any]) -> str:
    """Return what a person calls a run, a row of the table of runs."""
    return "{dataset}, {noise} {rate:g}, {pretext} + {method}, seed {seed}".format_map(row)


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
