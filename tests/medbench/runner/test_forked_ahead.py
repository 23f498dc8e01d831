"""The processes of the next job are forked while others run: used once, replaced if they die."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from commandline import tiny_protocol

from medbench.interfaces.dataset import DataContext
from medbench.interfaces.executor import Job, JobEnd
from medbench.plugins.registry import discover
from medbench.protocol.read import read_protocol
from medbench.protocol.runs import expand
from medbench.runner.local.executor import LocalExecutor
from medbench.runner.plan import JobMaker
from medbench.store.results import ResultsFolder

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Job]:
    file = tmp_path / "tiny.toml"
    file.write_text(tiny_protocol(seeds=range(6)))
    context = DataContext(tmp_path / "cache")
    maker = JobMaker(ResultsFolder.create(tmp_path / "results", "tiny").root, context.cache, None)
    return (
        maker.job(run, 1, "cpu") for run in expand(read_protocol(file), discover(), context).runs
    )


def begin(executor: LocalExecutor, job: Job) -> psutil.Process:
    """Submit a job and let the executor work; return the job's evaluator."""
    evaluator = psutil.Process(int(executor.submit(job).where.removeprefix("process ")))
    executor.events(0.0)
    return evaluator


def end(executor: LocalExecutor) -> str:
    """Return how the job that runs ends."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for event in executor.events(0.5):
            if isinstance(event, JobEnd):
                return event.state + event.reason
    return "never"


def training_process(evaluator: psutil.Process) -> psutil.Process:
    while not (children := evaluator.children()):
        time.sleep(0.01)
    return children[0]


def test_a_pair_serves_one_job_and_is_replaced_where_it_has_died(jobs: Iterator[Job]) -> None:
    with closing(LocalExecutor(1)) as executor:
        used = [begin(executor, next(jobs))]
        server = used[0].parent()
        assert server is not None
        assert server.children() == used, "a single job needs no second pair"
        assert end(executor) == "done"
        used.append(begin(executor, next(jobs)))
        for fate in ("used", "killed", "without training process", "asked to end"):
            (ahead,) = {*server.children()} - {*used}
            match fate:
                case "killed":
                    ahead.kill()
                case "without training process":
                    training_process(ahead).kill()
                case "asked to end":
                    training_process(ahead)  # from then on it is ready for the signal
                    ahead.send_signal(signal.SIGTERM)
            if fate != "used":
                assert psutil.wait_procs([ahead], 10)[1] == []
            assert end(executor) == "done"
            used.append(begin(executor, next(jobs)))
            assert (used[-1] == ahead) == (fate == "used")
        assert end(executor) == "done"
        assert len({*used}) == len(used)
        (ahead,) = {*server.children()} - {*used}
    assert psutil.wait_procs([*used, ahead], 10)[1] == []
