"""One command among several on the same results folder: what is whose to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medbench.interfaces.executor import JobEnd, JobState
from medbench.protocol.spec import PretrainingSpec, RunSpec
from medbench.store.atomic import sweep
from medbench.store.attempts import Attempt
from medbench.store.locks import Lock, Locks
from medbench.store.results import Results
from medbench.store.states import INTERRUPTED

#: What is shared: a run or a pretraining.
Item = RunSpec | PretrainingSpec


class Share:
    """What of the work is this command's to do.

    Parameters
    ----------
    results : Results
        The folder that is shared.
    locks : Locks
        This command's locks in it.
    known : mapping of str to int
        The last attempt at each key when this command made its plan. What failed since
        has been tried by another command, and is not tried once more.
    """

    def __init__(self, results: Results, locks: Locks, known: Mapping[str, int]) -> None:
        self._results = results
        self._claims = locks
        self._known = known

    def tidy(self) -> None:
        """Take away locks of dead commands on what is done: nobody will ask for it again."""
        for lock in self._results.locks():
            paths = (self._results.record_path, self._results.pretraining_path)
            if any(path(lock.key).exists() for path in paths):
                self._claims.clear(lock.key)

    def beat(self) -> None:
        """Show other commands that this one is alive; to be called every few seconds."""
        self._claims.beat()

    def ask(self, item: Item) -> int | JobEnd | None:
        """Ask for an item.

        Returns
        -------
        int, JobEnd or None
            The number of the attempt, if the item is this command's to do: it is locked
            then. How it ended, if another command has done it. ``None`` if another
            command is at it.
        """
        ended = self._ended(item)
        if ended is not None:
            return ended
        if self.is_anothers(item) or not self._claims.take(item.key, item.label):
            return None
        # it may have been done and released between the look and the lock
        ended = self._ended(item)
        if ended is not None:
            self._claims.release(item.key)
            return ended
        path = self._path(item)
        sweep(path.parent, path.stem)
        return self._results.next_attempt(item.key)

    def holds(self, item: Item) -> bool:
        """Tell whether an item that is being done here is still this command's.

        It is not if the command was suspended and taken for dead meanwhile.
        """
        found = self._claims.find(item.key)
        if found is None:  # a folder of locks that somebody has emptied
            return self._claims.take(item.key, item.label)
        return found.token == self._claims.token

    def again(self, item: Item) -> int:
        """Return the number of a further attempt at an item that is locked already."""
        return self._results.next_attempt(item.key)

    def release(self, item: Item) -> None:
        """Give an item up, done or not."""
        self._claims.release(item.key)

    def is_anothers(self, item: Item) -> bool:
        """Tell whether another command is still at an item.

        The lock of a dead command is taken away, and its attempt kept as interrupted.
        """
        if self._path(item).exists():
            return False
        if (dead := self._claims.clear(item.key)) is not None:
            self._keep_interrupted(item, dead)
        return self._claims.find(item.key) is not None

    def others(self) -> list[str]:
        """Return the hosts whose commands hold locks, this one's left out."""
        locks = self._results.locks()
        return sorted({c.holder.host for c in locks if c.token != self._claims.token})

    def _ended(self, item: Item) -> JobEnd | None:
        """Return how another command ended an item since the plan was made."""
        if self._path(item).exists():
            return JobEnd(item.key, "done")
        known = self._known.get(item.key, 0)
        last = self._results.last_attempt(item.key, known)
        if last is not None and last.failed:
            state: JobState = last.state  # type: ignore[assignment]
            return JobEnd(item.key, state, last.reason)
        return None

    def _keep_interrupted(self, item: Item, dead: Lock) -> None:
        number = self._results.next_attempt(item.key) - 1
        if number and not self._results.attempt_path(item.key, number).exists():
            self._results.write_attempt(
                Attempt(
                    key=item.key,
                    label=item.label,
                    kind=item.kind,
                    attempt=number,
                    state=INTERRUPTED,
                    reason=dead.end(),
                    host=dead.holder.host,
                )
            )

    def _path(self, item: Item) -> Path:
        if isinstance(item, RunSpec):
            return self._results.record_path(item.key)
        return self._results.pretraining_path(item.key)
