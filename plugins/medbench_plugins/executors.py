"""The built-in executor."""

from medbench import Plugin

EXECUTORS: tuple[Plugin, ...] = (
    Plugin(
        name="local",
        target="medbench.runner.local.executor:LocalExecutor",
        summary="this machine: a pair of processes a job, forked from a server with torch loaded",
        interface=1,
    ),
)
