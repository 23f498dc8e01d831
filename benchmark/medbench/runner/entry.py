"""The first function of a job's process. Importing it loads no torch."""

from __future__ import annotations

from multiprocessing.connection import Connection


def start_judge(connection: Connection, log: str, announced: str) -> None:
    """Become the judge of one job; see :mod:`medbench.runner.judge_process`."""
    from medbench.runner.judge_process import judge_main

    judge_main(connection, log, announced)
