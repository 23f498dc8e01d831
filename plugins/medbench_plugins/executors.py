"""The built-in executors."""

from medbench import Plugin

EXECUTORS: tuple[Plugin, ...] = (
    Plugin(
        name="local",
        target="medbench.runner.local.executor:LocalExecutor",
        summary="this machine: a pair of processes a job, forked from a server with torch loaded",
        interface=1,
    ),
    Plugin(
        name="ray",
        target="medbench.runner.ray_executor:RayExecutor",
        summary="a Ray cluster that you have started: a task a job; needs medbench[ray]",
        interface=1,
        settings="medbench.runner.ray_executor:RaySettings",
    ),
)
