"""The first function of a job's process. Importing it loads no torch."""

from __future__ import annotations

from multiprocessing.connection import Connection


def start_evaluator(connection: Connection, announced: str) -> None:
    """Become the evaluator of one job; see :mod:`medbench.runner.local.evaluator_process`."""
    from medbench.runner.local.evaluator_process import evaluator_main

    evaluator_main(connection, announced)
