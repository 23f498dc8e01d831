"""The room of the statistics.

Tests of differences enter here and nowhere else: :func:`examine` is given what
the records say and what the protocol declares, and returns :class:`Findings`.
The page, the tables and the terminal show whatever stands there.
"""

from medbench_leaderboard.statistics.examine import examine
from medbench_leaderboard.statistics.findings import Findings

__all__ = ["Findings", "examine"]
