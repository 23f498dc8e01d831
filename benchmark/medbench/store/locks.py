"""Locks: who is at which run, so that several commands share a results folder.

A lock is the file ``locks/KEY.json``, with the process that holds it. It appears by a
hard link (:func:`medbench.store.atomic.appear`), which one of two succeeds in making and
the other not, on a network file system too; no lock is held and none can be left behind.

A lock lives as long as its holder. Whether that has ended, another process of the same
machine asks the system: by number and time of start. From elsewhere it watches the
holder's *beat*, the file ``locks/TOKEN.beat`` that a command touches every
:data:`BEAT` seconds. Only whether the time of the file changes counts, never what it is,
and how long it has not changed is measured by the observer's own monotonic clock: clocks
that differ, or are set back, do not matter.

A dead lock is taken away by renaming it to a name of one's own. Of two observers one
renames it and the other finds nothing; one that finds it renamed another's lock, made
in the meantime, puts it back.

Should a holder wake that was taken for dead, a run is done twice at once. Nothing comes
of it: the same key gives the same bits, and the record that appears first stays.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from medbench.store.atomic import appear, aside, sweep, writing
from medbench.store.heartbeat import heartbeat_path
from medbench.store.processes import Process

#: Seconds between two beats of a command.
BEAT = 10.0
#: Seconds without a beat after which a holder elsewhere is taken for dead. More than the
#: 60 s for which a client of a network file system may hold on to what it has read.
PATIENCE = 120.0

#: Seconds after which an observer takes another's turn at clearing a lock for left lying.
TURN = 60.0


@dataclass(frozen=True)
class Lock:
    """A lock as another command reads it.

    Parameters
    ----------
    key, label : str
        Key of the run or pretraining, and what a person calls it.
    token : str
        Of the command that holds it; empty if the file could not be read.
    holder : Process
        The command's process.
    since : float
        When it was made, by the holder's clock: for people alone.
    """

    key: str
    label: str
    token: str
    holder: Process
    since: float

    def end(self) -> str:
        """Say how it ended, if its holder is gone."""
        return f"process {self.holder.pid} on {self.holder.host} ended in the middle of it"


class Locks:
    """The locks of one ``medbench run`` in a results folder; a context manager.

    Parameters
    ----------
    folder : pathlib.Path
        Where locks stand.
    beat, patience : float
        Seconds; see :data:`BEAT` and :data:`PATIENCE`.
    clock : callable
        The observer's clock, in seconds; it must not be set.
    """

    def __init__(
        self,
        folder: Path,
        *,
        beat: float = BEAT,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.token = uuid4().hex
        self._process = Process.this()
        self._every, self._patience, self._clock = beat, patience, clock
        self._beaten = float("-inf")
        self._held: set[str] = set()
        self._seen: dict[str, tuple[int | None, float]] = {}
        self._turns: dict[str, float] = {}

    def __enter__(self) -> Locks:
        """Begin to beat, and sweep up what dead commands left half-written."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._beat_path(self.token).write_text(json.dumps(self._process.to_json()))
        sweep(self.folder)
        for path in self.folder.glob("*.beat"):
            if (process := _beating(path)) is not None and process.gone():
                path.unlink(missing_ok=True)
                heartbeat_path(self.folder, path.stem).unlink(missing_ok=True)
        self.beat()
        return self

    def __exit__(self, *_: object) -> None:
        """Release all locks and stop beating."""
        for key in list(self._held):
            self.release(key)
        self._beat_path(self.token).unlink(missing_ok=True)
        self.heartbeat_path.unlink(missing_ok=True)

    @property
    def heartbeat_path(self) -> Path:
        """Where this command tells how far its jobs are."""
        return heartbeat_path(self.folder, self.token)

    def beat(self) -> None:
        """Show that this command is alive; does something every :data:`BEAT` seconds only."""
        now = self._clock()
        if now - self._beaten >= self._every:
            self._beaten = now
            # a disk that is full or away for a moment is no reason to end: at worst others
            # come to do a run twice
            with suppress(OSError):
                self._beat_path(self.token).touch()

    def take(self, key: str, label: str) -> bool:
        """Lock a run or pretraining; tell whether it is this command's now.

        Raises
        ------
        UnwritableError
            If the folder cannot be written.
        """
        temporary = aside(self._path(key))
        values = {
            "key": key,
            "label": label,
            "token": self.token,
            "holder": self._process.to_json(),
            "since": time.time(),
        }
        try:
            with writing(self._path(key)):
                temporary.write_text(json.dumps(values), encoding="utf-8")
                taken = appear(temporary, self._path(key))
        finally:
            temporary.unlink(missing_ok=True)
        if taken:
            self._held.add(key)
        return taken

    def release(self, key: str) -> None:
        """Give a lock up; one that another has taken over stays."""
        self._held.discard(key)
        self._take_away(key, self.token)

    def find(self, key: str) -> Lock | None:
        """Return the lock there is, whoever holds it and whether they live or not."""
        return read_lock(self._path(key))

    def clear(self, key: str) -> Lock | None:
        """Take a lock away if it is dead; return it if it was this command that did so."""
        lock = self.find(key)
        if lock is None or not self._dead(lock):
            return None
        # one observer at a time: who moves aside a lock that is no longer the dead one, if only
        # to put it back, would leave a gap in which a third may come
        turn = self.folder / f"{key}.{lock.token or 'damaged'}.turn"
        if not self._in_turn(turn):
            return None
        try:
            cleared = self._take_away(key, lock.token)
        finally:
            turn.unlink(missing_ok=True)
        if not cleared:
            return None
        if lock.token:
            self._beat_path(lock.token).unlink(missing_ok=True)
        return lock

    def _in_turn(self, turn: Path) -> bool:
        """Take the turn at clearing a dead lock; one that was left lying goes after a while."""
        temporary = aside(turn)
        try:
            with writing(turn):
                temporary.write_text(self.token, encoding="utf-8")
                mine = appear(temporary, turn)
        finally:
            temporary.unlink(missing_ok=True)
        if mine:
            return True
        since = self._turns.setdefault(turn.name, self._clock())
        if self._clock() - since > TURN:
            del self._turns[turn.name]
            turn.unlink(missing_ok=True)
        return False

    def _dead(self, lock: Lock) -> bool:
        gone = lock.holder.gone()
        if gone is not None:
            return gone
        # what cannot be read has no holder to beat for it, only itself
        path = self._beat_path(lock.token) if lock.token else self._path(lock.key)
        beat, now = _changed(path), self._clock()
        watched = lock.token or lock.key
        if watched not in self._seen or beat not in (None, self._seen[watched][0]):
            self._seen[watched] = (beat, now)
        since = self._seen[watched][1]
        return now - since > self._patience

    def _take_away(self, key: str, token: str) -> bool:
        """Remove the lock of a key if it is still the one with this token."""
        path = self._path(key)
        taken = aside(path)
        found = read_lock(path)  # what it was at an earlier look says nothing now
        if found is None or found.token != token:
            return False
        try:
            path.rename(taken)
        except FileNotFoundError:
            if not taken.exists():  # else it was renamed, and only the server's answer lost
                return False
        found = read_lock(taken)
        right = found is not None and found.token == token
        if not right:
            appear(taken, path)
        taken.unlink(missing_ok=True)
        return right

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _beat_path(self, token: str) -> Path:
        return self.folder / f"{token}.beat"


def read_lock(path: Path) -> Lock | None:
    """Read a lock; ``None`` if there is none, and one without token if it is damaged."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Lock(**{**values, "holder": Process(**values["holder"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        return Lock(path.stem, "", "", Process("", "", 0, 0), 0.0)


def locks_in(folder: Path) -> list[Lock]:
    """Return the locks in a folder, whether their holders live or not."""
    found = [read_lock(path) for path in folder.glob("*.json")]
    return [lock for lock in found if lock is not None]


def _beating(path: Path) -> Process | None:
    try:
        return Process(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _changed(path: Path) -> int | None:
    """Return when a file was last touched, by whatever clock."""
    try:
        with path.open("rb") as file:  # opening asks the server anew, where there is one
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return None
