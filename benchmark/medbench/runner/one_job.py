"""One job in a process of its own: ``python -m medbench.runner.one_job JOB.json``.

For executors that start processes elsewhere, as a cluster's scheduler does. The file holds
:meth:`Job.to_json`'s values. The job writes its record or attempt to the results folder as
always; on stdout it prints one line of JSON per event::

    {"key": "abcd…", "done": 3, "total": 30}
    {"key": "abcd…", "state": "done", "reason": ""}

SIGTERM asks the job to save a checkpoint and end; it then ends as ``"interrupted"``. The
exit status is 0 even if the job failed, which stdout and the folder say; another status
means that this process itself failed.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from medbench.interfaces.executor import Job, JobEnd, JobProgress
from medbench.runner.local.executor import LocalExecutor
from medbench.runner.local.stopping import STOP_SECONDS


def main(path: Path) -> None:
    """Carry out the job of a file and print its events."""
    job = Job.from_json(json.loads(path.read_text(encoding="utf-8")))
    with closing(LocalExecutor(1)) as executor:
        signal.signal(signal.SIGTERM, lambda *_: executor.stop(STOP_SECONDS))
        executor.submit(job)
        ended = False
        while not ended:
            for event in executor.events(wait=1.0):
                sys.stdout.write(event_to_line(event))
                sys.stdout.flush()
                ended = isinstance(event, JobEnd)


def event_to_line(event: JobProgress | JobEnd) -> str:
    """Return an event as a line of JSON."""
    return json.dumps(asdict(event)) + "\n"


def line_to_event(line: str) -> JobProgress | JobEnd:
    """Return the event of a line.

    Raises
    ------
    ValueError
        If the line is none.
    """
    try:
        values = json.loads(line)
        return JobEnd(**values) if "state" in values else JobProgress(**values)
    except TypeError as error:
        raise ValueError(f"no event: {line!r}") from error


if __name__ == "__main__":
    main(Path(sys.argv[1]))
