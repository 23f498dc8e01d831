"""What was declared before the runs, and what is exploratory because it came later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from medbench.errors import StoreError
from medbench.results import Change, Registration, Results
from medbench.store.registration import KEY_DIGITS
from medbench_leaderboard.names import Entrant, listed, many
from medbench_leaderboard.table import ENTRANT

#: The columns of ``declared.csv`` and what they mean, in order.
COLUMNS: Mapping[str, str] = {
    "what": "registration, statistics, protocol, records, or runs added or removed",
    "detail": "what changed",
    "time": "when it was declared, UTC; empty where it never was",
    "finished": "runs that had finished then",
    "runs": "runs that it concerns; 0 for all",
}


@dataclass(frozen=True)
class Declared:
    """How far the analysis is the one declared before the runs.

    Parameters
    ----------
    before : tuple of str
        What each results folder declared first, and when, in sentences.
    changes : tuple of Change
        What was declared after results existed, or never.
    late : frozenset of Entrant
        Entrants with runs declared later: comparisons that involve them are exploratory.
    reason : str
        Why everything is exploratory; empty where it is not.
    """

    before: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    late: frozenset[Entrant] = frozenset()
    reason: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is exploratory by name, and then what was declared when."""
        late = listed(sorted(map(str, self.late)))
        added = [f"Exploratory, because runs of theirs were declared later: {late}."]
        return (*(added if self.late and not self.reason else ()), *self.before)


def read_declared(results: Results, runs: pd.DataFrame) -> Declared:
    """Compare the registrations with the protocol, the plan and the records.

    Parameters
    ----------
    results : Results
        Of one results folder or several.
    runs : pandas.DataFrame
        One row a run, as :attr:`medbench.Results.runs`.
    """
    try:
        before = tuple(dict.fromkeys(map(_before, filter(None, results.registrations))))
        changes = tuple(dict.fromkeys(results.declared_later()))
    except StoreError as error:
        changes, before = (Change("registration", str(error), "", 0),), ()
    added = [change for change in changes if change.what == "added"]
    digits = {key for change in added for key in change.runs}
    of_late = runs["run_key"].str[:KEY_DIGITS].isin(digits)
    late = {Entrant(*names) for names in runs.loc[of_late, ENTRANT].itertuples(index=False)}
    others = [when(change) for change in changes if change.what != "added"]
    return Declared(before, changes, frozenset(late), "; ".join(dict.fromkeys(others)))


def changes_table(declared: Declared) -> pd.DataFrame:
    """Return one row a change, with the columns of :data:`COLUMNS`."""
    rows = [(c.what, c.detail, c.time, c.finished, len(c.runs)) for c in declared.changes]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def when(change: Change) -> str:
    """Return what was declared later, and when."""
    if not change.time or change.what == "registration":
        return change.detail
    return f"{change.detail} when {many(change.finished, 'run')} had finished ({change.time})"


def _before(lines: Sequence[Registration]) -> str:
    first = lines[0]
    asked = ", ".join(first.declaration.statistics.get("questions", ()))
    return (
        f"Declared on {first.time[:10]}, when {many(first.finished, 'run')} had finished: "
        f"{many(len(first.declaration.runs), 'run')}; questions {asked} at level "
        f"{first.declaration.statistics.get('alpha')} (registration {first.hash[:12]})."
    )
