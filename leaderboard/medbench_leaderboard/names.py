"""The names of what meets on the board: entrants and blocks."""

from __future__ import annotations

from typing import NamedTuple


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
