"""The built-in loggers; each needs an optional extra. Loads neither."""

from __future__ import annotations

from medbench import Logger

LOGGERS = (
    Logger(
        name="tensorboard",
        target="medbench_plugins.loggers.tensorboard",
        summary="curves of each job, epoch by epoch, and readings, for TensorBoard",
        needs="tensorboard: pip install 'medbench[tensorboard]'",
    ),
    Logger(
        name="mlflow",
        target="medbench_plugins.loggers.mlflow",
        summary="axes, curves and readings of each run in MLflow's file store, in logs/mlruns",
        needs="mlflow: pip install 'medbench[mlflow]'",
    ),
)
