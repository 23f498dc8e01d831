"""The built-in loggers; each needs an optional extra. Loads neither."""

from __future__ import annotations

from medbench import Logger
from medbench.installing import install_extra

LOGGERS = (
    Logger(
        name="tensorboard",
        target="medbench_plugins.loggers.tensorboard",
        summary="curves of each job, epoch by epoch, and readings, for TensorBoard",
        needs=f"tensorboard: {install_extra('tensorboard')}",
    ),
    Logger(
        name="mlflow",
        target="medbench_plugins.loggers.mlflow",
        summary="axes, curves and readings of each run in MLflow's file store, in logs/mlruns",
        needs=f"mlflow: {install_extra('mlflow')}",
    ),
)
