"""The room of the statistics.

Tests of differences enter here and nowhere else: :func:`examine` is given the
cells and the protocol's declarations and returns what they allow to be said.
The page, the tables and the terminal show whatever stands in
:class:`Findings`, so none of them changes when tests are added.
"""

from medbench_leaderboard.statistics.findings import Findings, examine

__all__ = ["Findings", "examine"]
