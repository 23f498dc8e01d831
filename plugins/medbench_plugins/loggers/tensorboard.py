"""Logs finished runs as TensorBoard events.

A copy for looking at, made from records; nothing is read back from it. A folder a run,
named by axes and key, in ``logs/tensorboard`` of the results folder.
"""

from __future__ import annotations

from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from medbench import hookimpl
from medbench.interfaces.events import JobEnded
from medbench_plugins.loggers.reading import curves_of, readings_of, record_of


@hookimpl
def medbench_job_ended(event: JobEnded) -> None:
    """Write the curves and readings of a run that is done."""
    if event.kind != "run" or event.state != "done":
        return
    record = record_of(event.record)
    name = "-".join(str(value).replace("/", "_") for value in event.axes.values())
    folder = Path(event.results) / "logs" / "tensorboard" / f"{name}-{event.key[:8]}"
    writer = EventFileWriter(str(folder))
    try:
        for tag, epoch, value in curves_of(record):
            writer.add_event(_scalar(tag, epoch, value))
        for tag, value in readings_of(record):
            writer.add_event(_scalar(f"readings/{tag}", record.header.summary["epochs"], value))
    finally:
        writer.close()


def _scalar(tag: str, step: int, value: float) -> Event:
    # wall time 0: the events of a record are the same whenever they are written
    return Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))
