"""Logs runs and pretrainings as TensorBoard events, epoch by epoch.

A copy for looking at; nothing is read back from it. A folder a job, named by axes and key, in
``logs/tensorboard`` of the results folder. What an epoch's event does not report comes from the
record once the run is done.
"""

from __future__ import annotations

import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from medbench import hookimpl
from medbench.interfaces.events import EpochEnded, JobEnded, JobEvent
from medbench_plugins.loggers.reading import curves_of, readings_of, record_of


class _Log:
    """The events of one job; each value is written once."""

    def __init__(self, event: JobEvent, results: str) -> None:
        axes = (event.kind,) if event.kind == "pretraining" else ()
        name = "-".join(str(value).replace("/", "_") for value in (*axes, *event.axes.values()))
        folder = Path(results) / "logs" / "tensorboard" / f"{name}-{event.key[:8]}"
        self._writer = EventFileWriter(str(folder))
        self._written: set[tuple[str, int]] = set()

    def write(self, tag: str, step: int, value: float) -> None:
        """Write a value, unless there is one of this step."""
        if (tag, step) not in self._written:
            self._written.add((tag, step))
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Let TensorBoard see what was written."""
        self._writer.flush()

    def close(self) -> None:
        """End the file."""
        self._writer.close()


#: Logs of the jobs that are running, by key.
_LOGS: dict[str, _Log] = {}


@hookimpl
def medbench_epoch_ended(event: EpochEnded) -> None:
    """Write the scores of an epoch."""
    if event.key not in _LOGS:
        _LOGS[event.key] = _Log(event, event.results)
    for tag, value in event.scores.items():
        _LOGS[event.key].write(tag, event.epoch, value)
    _LOGS[event.key].flush()


@hookimpl
def medbench_job_ended(event: JobEnded) -> None:
    """Write what is missing of the curves, and the readings, of a run that is done."""
    log = _LOGS.pop(event.key, None)
    if event.kind == "run" and event.state == "done":
        log = log or _Log(event, event.results)
        record = record_of(event.record)
        for tag, epoch, value in curves_of(record):
            log.write(tag, epoch, value)
        for tag, value in readings_of(record):
            log.write(f"readings/{tag}", record.header.summary["epochs"], value)
    if log:
        log.close()
