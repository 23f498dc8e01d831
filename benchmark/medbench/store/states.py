"""The states a run can be in: one word each, the same in every command, file and page."""

from __future__ import annotations

#: Its record is there.
DONE = "done"
#: A ``medbench run`` is working on it, here or on another machine.
RUNNING = "running"
#: Nothing is there yet.
PENDING = "pending"
#: Its last attempt was stopped, or its process vanished, through no fault of the run.
INTERRUPTED = "interrupted"
#: Its last attempt raised, its process crashed, or it was killed again and again.
FAILED = "failed"
#: Its last attempt took longer than it was allowed to.
TIMEOUT = "timeout"
#: Its last attempt asked for more memory than there was.
OUT_OF_MEMORY = "out-of-memory"
#: It cannot be done: what it starts from failed.
SKIPPED = "skipped"
#: Its record is damaged or of a newer version.
UNREADABLE = "unreadable"

#: Every state, in the order in which counts of them are shown.
STATES = (DONE, RUNNING, PENDING, INTERRUPTED, FAILED, TIMEOUT, OUT_OF_MEMORY, SKIPPED, UNREADABLE)
#: States of an attempt that count as failure: repeated only when asked for.
FAILURES = frozenset({FAILED, TIMEOUT, OUT_OF_MEMORY})
#: States in which a run is done by the next ``medbench run`` without being asked for.
OPEN = frozenset({PENDING, INTERRUPTED})
