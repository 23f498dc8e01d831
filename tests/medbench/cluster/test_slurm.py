"""What Slurm prints, the options it takes and the script of a worker; no Slurm is needed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medbench.cluster.options import (
    ClusterOptions,
    cluster_options,
    read_pairs,
    read_table,
    seconds_of,
)
from medbench.cluster.script import LEFT, NODE_FAULT, arrays, script
from medbench.cluster.slurm import from_sacct, from_squeue, last_error
from medbench.cluster.submission import margin_for
from medbench.errors import ClusterError

KNOWN = {"partition", "account", "time", "mem", "gres", "exclusive", "cpus-per-task", "array"}

# ---------------------------------------------------------------- options


def test_options_of_ours_and_of_sbatch_are_told_apart() -> None:
    values = {
        "workers": 3, "at_once": "2", "setup": ["module load cuda", "ulimit -n 4096"],
        "partition": "gpu", "time": "1-00", "exclusive": True, "mem": False,
    }  # fmt: skip
    found = cluster_options(values, KNOWN)
    assert (found.workers, found.at_once) == (3, 2)
    assert found.setup == ("module load cuda", "ulimit -n 4096")
    assert found.sbatch == {"partition": "gpu", "time": "1-00", "exclusive": ""}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"partitoin": "gpu"}, "did you mean 'partition'"),
        ({"array": "0-3"}, "medbench sets it itself"),
        ({"workers": "0"}, "at least 1"),
        ({"workers": "many"}, "whole number"),
        ({"at-once": -1}, "at least 1"),
        ({"setup": [1]}, "list of strings"),
        ({"partition": ["a"]}, "a string or a number"),
        ({"partition": "gpu\n#SBATCH --uid=0"}, "a string or a number"),
    ],
)
def test_a_wrong_option_is_one_line(values: dict[str, object], says: str) -> None:
    with pytest.raises(ClusterError, match=says) as error:
        cluster_options(values, KNOWN)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [("cluster = 3", "must be a table"), ("[cluster", "cannot be read")],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ClusterError, match=says):
        read_table(tmp_path / "config.toml")


def test_a_missing_file_has_no_options(tmp_path: Path) -> None:
    assert read_table(tmp_path / "config.toml") == {}
    assert read_pairs(["partition=gpu", "exclusive", "comment=a=b"]) == {
        "partition": "gpu", "exclusive": "", "comment": "a=b",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        ("90", 5400), ("1:30", 90), ("01:00:00", 3600), ("2-00", 172800), ("1-2:30", 95400),
        ("1-00:00:01", 86401), ("UNLIMITED", float("inf")),
    ],
)  # fmt: skip
def test_a_time_limit_is_read_as_slurm_reads_it(limit: str, seconds: float) -> None:
    assert seconds_of(limit) == seconds


def test_a_time_limit_shorter_than_an_epoch_is_refused() -> None:
    short = ClusterOptions(sbatch={"time": "0:30:00"})
    assert margin_for(short, 60.0) == 150
    with pytest.raises(ClusterError, match="an epoch takes up to 1500 s"):
        margin_for(short, 1500.0)
    with pytest.raises(ClusterError, match="is too short"):
        margin_for(ClusterOptions(sbatch={"time": "2"}), None)
    with pytest.raises(ClusterError, match="no time limit"):
        margin_for(ClusterOptions(sbatch={"time": "a day"}), None)


# ---------------------------------------------------------------- arrays


@given(st.integers(1, 5000), st.integers(1, 1500))
def test_arrays_hold_all_workers_and_none_is_too_large(workers: int, largest: int) -> None:
    found = arrays(workers, None, largest)
    assert sum(len(tasks) for tasks, _ in found) == workers
    assert all(0 < len(tasks) <= largest and tasks.start == 0 for tasks, _ in found)


@given(st.integers(1, 5000), st.integers(1, 1500), st.integers(1, 5000))
def test_shares_of_the_cap_add_up_to_it(workers: int, largest: int, at_once: int) -> None:
    if at_once < len(arrays(workers, None, largest)):
        with pytest.raises(ClusterError, match="MaxArraySize"):
            arrays(workers, at_once, largest)
    else:
        assert sum(cap or 0 for _, cap in arrays(workers, at_once, largest)) == at_once


# ---------------------------------------------------------------- what Slurm prints

#: As Slurm 22.05 prints it for an array of which one member was requeued.
SACCT = """\
7_[3-5%2]|PENDING|0:0|None assigned|0|60|4000M|1|00:00:00|
7_0|COMPLETED|0:0|n1|65|60|4000M|1|01:02.500|
7_0.batch|COMPLETED|0:0|n1|65||| 1|01:02.500|123456K
7_1|NODE_FAIL|1:0|n2|10|60|4000M|1|00:00:00|
7_1|OUT_OF_MEMORY|0:125|n1|20|60|4000M|1|00:30.000|
7_1.batch|OUT_OF_MEMORY|0:125|n1|20|||1|00:30.000|4.50G
7_2|CANCELLED by 1000|0:15|n1|5|60|4000M|1|00:00:00|
"""


def test_the_accounts_give_the_last_start_of_each_worker() -> None:
    found = {worker.job: worker for worker in from_sacct(SACCT)}
    assert set(found) == {"7_0", "7_1", "7_2"}
    assert found["7_0"].state == "COMPLETED"
    assert found["7_0"].memory == 123456 * 1024
    assert (found["7_0"].limit, found["7_0"].cpu_seconds) == (3600.0, 62.5)
    killed = found["7_1"]
    assert (killed.state, killed.node, killed.requeued) == ("OUT_OF_MEMORY", "n1", 1)
    assert killed.reason == "signal 125"
    assert (killed.memory, killed.memory_asked) == (4.5 * 2**30, 4000 * 2**20)
    assert found["7_2"].state == "CANCELLED"
    assert not any(worker.alive for worker in found.values())


def test_a_worker_killed_above_its_memory_is_out_of_memory() -> None:
    """As Slurm 22.05 with OverMemoryKill accounts for it."""
    text = "3_0|FAILED|0:9|n1|12|60|2200M|1|00:09.5|\n3_0.batch|FAILED|0:9|n1|12|||1|00:09.5|{}\n"
    (over,) = from_sacct(text.format("2310336K"))
    (under,) = from_sacct(text.format("310336K"))
    assert (over.state, under.state) == ("OUT_OF_MEMORY", "FAILED")


def test_the_queue_gives_state_and_reason() -> None:
    text = "7_3|PENDING|Priority||0:00|1:00:00\n7_4|RUNNING|None|n2|1-01:00:05|UNLIMITED\n"
    waiting, running = from_squeue(text)
    assert (waiting.job, waiting.state, waiting.reason) == ("7_3", "PENDING", "Priority")
    assert (running.node, running.seconds, running.limit) == ("n2", 90005.0, 0.0)
    assert running.reason == ""
    assert waiting.alive and running.alive


def test_of_slurms_errors_the_last_counts() -> None:
    said = "sbatch: error: invalid partition\nsbatch: error: Batch job submission failed: no\n"
    assert last_error(said) == "Batch job submission failed: no"
    assert last_error("") == ""


# ---------------------------------------------------------------- the script, run by bash


def worker(
    tmp_path: Path, node: str, run: str, setup: Sequence[str] = (), **environment: str
) -> subprocess.Popen[str]:
    """Start the script of a worker whose command and ``scontrol`` are small scripts."""
    folder = tmp_path / "results" / "cluster"
    folder.mkdir(parents=True, exist_ok=True)
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    for name, text in {
        "scontrol": f'echo "$@" >> {tmp_path}/scontrol',
        "medbench": f"if [ $1 = node ]; then {node}; else {run}; fi",
    }.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (tools / name).chmod(0o755)
    options = ClusterOptions(command="medbench", setup=("export SET=up", *setup))
    text = script(options, folder, 1, ["--all", "--set", "a b"], range(4), 2, 120)
    (tmp_path / "worker.sh").write_text(text)
    slurm = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2", "SLURMD_NODENAME": "n1"}
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", tmp_path / "worker.sh"],
        env={**os.environ, **slurm, "PATH": path, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def asked(tmp_path: Path) -> list[str]:
    file = tmp_path / "scontrol"
    return file.read_text().splitlines() if file.exists() else []


def until(file: Path) -> None:
    end = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_script_says_what_it_asks_for(tmp_path: Path) -> None:
    options = ClusterOptions(sbatch={"partition": "gpu", "exclusive": ""}, scratch="/tmp/$USER")
    text = script(options, tmp_path, 1, ["--all"], range(4), 2, 90)
    for line in ("--partition=gpu", "--exclusive", "--array=0-3%2", "--requeue"):
        assert f"#SBATCH {line}\n" in text
    assert "#SBATCH --signal=B:USR1@90\n" in text
    assert 'scratch="/tmp/$USER"' in text
    assert '--scratch "$scratch"' in text and '--cache "$scratch"' in text


def test_a_worker_passes_on_the_exit_status(tmp_path: Path) -> None:
    process = worker(tmp_path, "true", 'echo "$SET $*"; exit 1')
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "up run --all --set a b\n")
    assert asked(tmp_path) == []


@pytest.mark.parametrize("status", [1, 3])
def test_so_does_one_that_has_ended_before_the_script_looks(tmp_path: Path, status: int) -> None:
    slow = 'kill() { sleep 0.5; builtin kill "$@"; }'
    process = worker(tmp_path, "true", f"exit {status}", [slow])
    process.communicate(timeout=20)
    assert process.returncode == status
    assert bool(asked(tmp_path)) == (status == LEFT)


@pytest.mark.parametrize(
    ("number", "requeued"), [(signal.SIGUSR1, ["requeue 7_2"]), (signal.SIGTERM, [])]
)
def test_before_the_time_limit_a_worker_stops_and_is_requeued(
    tmp_path: Path, number: int, requeued: list[str]
) -> None:
    """After TERM it is not: it was cancelled, or Slurm requeues it itself."""
    run = f"trap 'exit 143' TERM; touch {tmp_path}/up; while :; do sleep 0.05; done"
    process = worker(tmp_path, "true", run)
    until(tmp_path / "up")
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert asked(tmp_path) == requeued


def test_a_worker_that_only_waits_for_others_looks_again_later(tmp_path: Path) -> None:
    process = worker(tmp_path, "true", "exit 3")
    process.communicate(timeout=20)
    assert process.returncode == 3
    assert asked(tmp_path) == ["requeue 7_2", "update JobId=7_2 StartTime=now+30minutes"]


def test_a_worker_that_ends_well_before_its_limit_is_not_requeued(tmp_path: Path) -> None:
    run = f"trap 'exit 0' TERM; touch {tmp_path}/up; while :; do sleep 0.05; done"
    process = worker(tmp_path, "true", run)
    until(tmp_path / "up")
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert asked(tmp_path) == []


def test_a_node_that_fails_twice_is_excluded(tmp_path: Path) -> None:
    expected = []
    for node, more in (("n1", []), ("n2", []), ("n1", ["update JobId=7 ExcNodeList=n1"])):
        process = worker(tmp_path, "exit 2", "echo never", SLURMD_NODENAME=node)
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, out) == (NODE_FAULT, "")
        expected += ["requeue 7_2", *more]
        assert asked(tmp_path) == expected
    process = worker(tmp_path, "exit 2", "echo never", SLURM_RESTART_COUNT="5")
    process.communicate(timeout=20)
    assert asked(tmp_path) == expected, "it is not requeued for ever"
