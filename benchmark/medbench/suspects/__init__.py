"""Which labels of a dataset are probably wrong.

:func:`scores` is the rule as a function of arrays; ``medbench suspects`` applies it to a dataset
and writes a table and a sheet for a specialist.
"""

from medbench.suspects.plan import Plan
from medbench.suspects.scoring import Scores, scores

__all__ = ["Plan", "Scores", "scores"]
