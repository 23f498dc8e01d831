"""Statistics: :func:`analyse` turns scores and declarations into :class:`Findings`."""

from medbench_leaderboard.statistics.analyse import analyse
from medbench_leaderboard.statistics.findings import Findings

__all__ = ["Findings", "analyse"]
