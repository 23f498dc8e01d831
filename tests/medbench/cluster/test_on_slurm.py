"""A grid on a real Slurm with accounting and two nodes, on this machine.

Needs root and Debian's slurmctld slurmd slurmdbd slurm-client munge mariadb-server. Fifty faults
are caused by ``performance/cluster_faults.py``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from commandline import Ended, Finished, digests, medbench_apart, tiny_protocol

from medbench.data.hdf5_reading import read_card
from medbench.interfaces.dataset import DataContext
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import discover
from medbench.store.records import read_record
from medbench.store.results import ResultsFolder

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.cluster,
    pytest.mark.skipif(
        not (shutil.which("slurmctld") and shutil.which("mariadbd") and os.geteuid() == 0),
        reason="needs root and the packages of docs/clusters.md",
    ),
]
TOOL = Path(__file__).parent / "slurm-cluster"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cluster")
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    subprocess.run([TOOL, "up", folder, "2"], check=True, stdout=subprocess.DEVNULL)
    yield folder
    subprocess.run([TOOL, "down", folder], check=False, capture_output=True)
    if before is None:
        del os.environ["SLURM_CONF"]


def submit(file: Path, results: Path, *words: object) -> Ended:
    return medbench_apart(
        *("run", "--all", "--protocol", file, "--results", results, "--on", "slurm", *words)
    )


def until(
    what: Callable[[], bool], results: Path, seconds: float = 150, *, release: bool = True
) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, logs(results)
        if release:
            release_held()
        time.sleep(0.3)


def release_held() -> None:
    """Let requeued workers start at once: Slurm holds them for two minutes."""
    said = subprocess.run(["squeue", "-h", "-r", "-o", "%i|%r"], capture_output=True, text=True)
    for line in said.stdout.splitlines():
        job, reason = line.split("|")
        if reason == "BeginTime":
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=False)


def logs(results: Path) -> str:
    return "\n".join(path.read_text() for path in (results / "cluster").glob("*.log"))


def workers(results: Path) -> list[dict[str, object]]:
    return medbench_apart("status", "--results", results, "--json").json["slurm"]["workers"]


def ended(results: Path) -> bool:
    alive = ("PENDING", "RUNNING", "COMPLETING", "REQUEUED")
    return not any(worker["state"] in alive for worker in workers(results))


def test_two_nodes_give_the_digests_of_a_local_run(
    cluster: Path, local: Finished, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    began = time.monotonic()
    said = submit(local.file, results, "--workers", "2")
    assert said.status == 0, said.err
    assert time.monotonic() - began < 20
    assert said.out.startswith("Submitted Slurm job ")
    until(lambda: ended(results), results)
    assert digests(results) == digests(local.results)
    assert (results / "board" / "index.html").exists()
    found = workers(results)
    assert [worker["state"] for worker in found] == ["COMPLETED"] * 2, logs(results)
    assert {worker["node"] for worker in found} == {"n1", "n2"}
    again = submit(local.file, results)
    assert (again.status, again.out) == (0, "")
    assert "Nothing to do" in again.err


def test_arrays_are_split_and_stop_cancels_them(
    cluster: Path, local: Finished, tmp_path: Path
) -> None:
    """This cluster's MaxArraySize is 6."""
    results = tmp_path / "results"
    said = submit(local.file, results, "--workers", "8", "-o", "at-once=2", "-o", "hold")
    assert said.status == 0, said.err
    found = workers(results)
    assert len(found) == 8
    assert {(worker["state"], worker["reason"]) for worker in found} == {("PENDING", "JobHeldUser")}
    shown = medbench_apart("status", "--results", results)
    assert "8 pending (JobHeldUser)" in shown.out
    assert medbench_apart("stop", "--results", results, "--yes").status == 0
    until(lambda: ended(results), results)
    assert "No worker" in medbench_apart("stop", "--results", results, "--yes").err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-o", "partition=nope"), "invalid partition.*asked: --partition=nope|Invalid partition"),
        (("-o", "mem=900G"), "Slurm refuses the workers"),
        (("-o", "partitoin=main"), "did you mean 'partition'"),
        (("-o", "time=1"), "is too short"),
        (("-o", "setup=echo no such module >&2; false"), "no such module|Exited"),
        (("-o", "command=/nowhere/medbench"), "No such file"),
    ],
)
def test_what_is_refused_leaves_nothing_submitted(
    cluster: Path, local: Finished, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    results = tmp_path / "results"
    said = submit(local.file, results, *words)
    assert said.status == 2, said.out
    assert said.err.count("\n") == 1 and re.search(says, said.err), said.err
    assert not list(results.glob("cluster/*"))
    assert subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout == ""


def test_a_dead_node_costs_nothing_but_time(cluster: Path, local: Finished, tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert submit(local.file, results, "--workers", "2").status == 0
    until(lambda: bool(list(results.glob("runs/*/*.h5"))), results)
    subprocess.run([TOOL, "kill-node", cluster, "1"], check=True)
    time.sleep(2)
    subprocess.run([TOOL, "start-node", cluster, "1"], check=True)
    until(lambda: ended(results), results)
    assert digests(results) == digests(local.results)


# ---------------------------------------------------------------- stopped workers


_SLOW = '''
import time
from pathlib import Path

from medbench_plugins.methods.cross_entropy import CrossEntropy


class Slow(CrossEntropy):
    """Waits before each epoch while the file ``slow`` is next to this one."""

    def train_epoch(self, *arguments, **named):
        if Path(__file__).with_name("slow").exists():
            time.sleep(0.5)
        return super().train_epoch(*arguments, **named)
'''


@dataclass(frozen=True)
class SlowRun:
    """A protocol of one run of 240 epochs, which takes two minutes while ``slow`` exists."""

    folder: Path
    digests: dict[str, str]

    @property
    def slow(self) -> Path:
        return self.folder / "slow"

    def submit(self, results: Path, *words: object) -> None:
        plugin = ("--plugin", self.folder / "slow_method.py")
        said = submit(self.folder / "slow.toml", results, "--workers", "1", *plugin, *words)
        assert said.status == 0, said.err

    def resumed(self, results: Path) -> list[int]:
        """Return the epochs at which further attempts at the run started."""
        (path,) = results.glob("runs/*/*.h5")
        return list(read_record(path).header.metadata["resumed"])


@pytest.fixture(scope="module")
def slow_run(tmp_path_factory: pytest.TempPathFactory) -> SlowRun:
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow_method.py").write_text(_SLOW)
    (folder / "slow.toml").write_text(
        tiny_protocol(methods=["slow"]).replace("epochs = 2", "epochs = 240")
    )
    words = ("--plugin", folder / "slow_method.py", "--results", folder / "local")
    ended = medbench_apart("run", "--all", "--protocol", folder / "slow.toml", *words)
    assert ended.status == 0, ended.err
    (folder / "slow").touch()
    return SlowRun(folder, digests(folder / "local"))


def test_a_worker_near_its_time_limit_is_requeued_and_continues(
    cluster: Path, slow_run: SlowRun, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    slow_run.submit(results, "-o", "time=2", "-o", "stop-before=2")
    until(lambda: ended(results), results, 400)
    (worker,) = workers(results)
    assert worker["state"] == "COMPLETED", logs(results)
    assert worker["requeued"] >= 1, logs(results)
    (tried,) = ResultsFolder.open(results).attempts().values()
    assert {attempt.state for attempt in tried} == {"interrupted"}
    assert 0 < slow_run.resumed(results)[0] < 240
    assert digests(results) == slow_run.digests


def test_a_cancelled_worker_keeps_a_checkpoint(
    cluster: Path, slow_run: SlowRun, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    slow_run.submit(results, "--checkpoint-every", "1h")
    until(lambda: epochs_done(results) > 3, results)
    assert medbench_apart("stop", "--results", results, "--yes").status == 0
    until(lambda: ended(results), results)
    (tried,) = ResultsFolder.open(results).attempts().values()
    assert [attempt.state for attempt in tried] == ["interrupted"], logs(results)
    assert workers(results)[0]["requeued"] == 0
    slow_run.submit(results, "-o", f"setup=rm -f {slow_run.slow}")
    until(lambda: ended(results), results)
    slow_run.slow.touch()
    assert slow_run.resumed(results)[0] > 3
    assert digests(results) == slow_run.digests


def epochs_done(results: Path) -> int:
    return max((lock.job.done for lock in ResultsFolder(results).locks()), default=0)


def test_a_worker_that_only_waits_leaves_its_node_for_half_an_hour(
    cluster: Path, local: Finished, tmp_path: Path
) -> None:
    command = tmp_path / "command"
    command.write_text("#!/bin/sh\n[ $1 = node ] || exit 3\n")
    command.chmod(0o755)
    results = tmp_path / "results"
    said = submit(local.file, results, "--workers", "1", "-o", f"command={command}")
    assert said.status == 0, said.err
    until(lambda: workers(results)[0]["reason"] == "BeginTime", results, release=False)
    line = ["squeue", "-h", "-r", "-o", "%S"]
    starts = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    away = datetime.fromisoformat(starts) - datetime.now()
    assert timedelta(minutes=25) < away < timedelta(minutes=31)
    assert medbench_apart("stop", "--results", results, "--yes").status == 0


# ---------------------------------------------------------------- data


def test_each_node_copies_a_prepared_dataset_to_its_scratch(
    cluster: Path, local: Finished, tmp_path: Path
) -> None:
    cache, results, here = (tmp_path / name for name in ("cache", "results", "here"))
    cache.mkdir()
    entry = discover().get(kind_named("dataset"), "pneumonia-mnist")
    source = entry.create("pneumonia-mnist", {}).path(DataContext(cache))
    (cache / "images.h5").write_bytes(source.read_bytes())
    file = tmp_path / "tiny.toml"
    file.write_text(tiny_protocol(datasets=["images"], seeds=range(4)))
    words = ("--cache", cache, "--protocol", file, "--results", here)
    assert medbench_apart("run", "--all", *words).status == 0
    scratch = f"scratch={tmp_path}/$SLURMD_NODENAME"
    said = submit(file, results, "--cache", cache, "--workers", "2", "-o", scratch)
    assert said.status == 0, said.err
    until(lambda: ended(results), results)
    assert [worker["state"] for worker in workers(results)] == ["COMPLETED"] * 2, logs(results)
    copies = [tmp_path / node / "images.h5" for node in ("n1", "n2")]
    assert not any(copy.is_symlink() for copy in copies)
    assert {read_card(copy).content_hash for copy in copies} == {
        read_card(cache / "images.h5").content_hash
    }
    assert digests(results) == digests(here)


# ---------------------------------------------------------------- memory


_GREEDY = '''
import time

import numpy as np

from medbench_plugins.methods.cross_entropy import CrossEntropy


class Greedy(CrossEntropy):
    """Holds all memory there is."""

    def train_epoch(self, *arguments, **named):
        held = []
        while True:
            held.append(np.ones(2**24))
            time.sleep(0.05)
'''


def test_a_worker_that_slurm_ends_for_its_memory(cluster: Path, tmp_path: Path) -> None:
    results, plugin = tmp_path / "results", tmp_path / "greedy.py"
    plugin.write_text(_GREEDY)
    file = tmp_path / "tiny.toml"
    file.write_text(tiny_protocol(methods=["greedy"]))
    said = submit(file, results, "--workers", "1", "--plugin", plugin, "-o", "mem=2200M")
    assert said.status == 0, said.err
    until(lambda: ended(results), results)
    (worker,) = workers(results)
    assert worker["state"] == "OUT_OF_MEMORY", (worker, logs(results))
    assert "out of memory" in medbench_apart("status", "--results", results).out
    second = submit(file, results, "--workers", "1", "--plugin", plugin)
    assert second.status == 0, second.err
    until(lambda: ended(results), results)
    (tried,) = ResultsFolder.open(results).attempts().values()
    assert tried[0].state == "out-of-memory", tried
    assert len(tried) == 1, "nobody tries it again"
