"""Logs finished and failed runs in MLflow's file store.

A copy for looking at, made from records; nothing is read back from it, and no
tracking server is asked: the store is ``logs/mlruns`` of the results folder, the
experiment the folder's protocol.
"""

from __future__ import annotations

import os
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from medbench import hookimpl
from medbench.interfaces.events import JobEnded
from medbench.store.results import ResultsFolder
from medbench_plugins.loggers.reading import curves_of, readings_of, record_of


@hookimpl
def medbench_job_ended(event: JobEnded) -> None:
    """Write a run's axes, and its curves and readings where it is done."""
    if event.kind != "run":
        return
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # newer releases ask for it
    client = MlflowClient(tracking_uri=(Path(event.results) / "logs" / "mlruns").as_uri())
    name = ResultsFolder(Path(event.results)).protocol_name
    known = client.get_experiment_by_name(name)
    experiment = known.experiment_id if known else client.create_experiment(name)
    run = client.create_run(experiment, run_name=event.label).info.run_id
    params = [Param(axis, str(value)) for axis, value in event.axes.items()]
    tags = [RunTag("medbench.key", event.key), RunTag("medbench.state", event.state)]
    if event.reason:
        tags.append(RunTag("medbench.reason", event.reason[:5000]))
    client.log_batch(run, params=params, tags=tags)
    if event.state == "done":
        record = record_of(event.record)
        metrics = [Metric(tag, value, 0, epoch) for tag, epoch, value in curves_of(record)]
        metrics += [Metric(f"readings/{tag}", value, 0, 0) for tag, value in readings_of(record)]
        for start in range(0, len(metrics), 1000):  # MLflow takes no more at once
            client.log_batch(run, metrics=metrics[start : start + 1000])
    client.set_terminated(run, "FINISHED" if event.state == "done" else "FAILED")
