"""A grid on a real Ray cluster of two nodes, on this machine; needs ``medbench[ray]``."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from commandline import (
    Finished,
    command_line,
    digests,
    medbench_apart,
)

from medbench.check import ContractCase, PluginUnderTest, Rule, rules_of
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import discover
from medbench.store.results import ResultsFolder

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.cluster,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs medbench[ray]"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two nodes of one CPU, of which the second has two GPUs that do not exist."""
    from ray.cluster_utils import Cluster

    before = os.environ.get("RAY_ADDRESS")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.second = made.add_node(num_cpus=1, num_gpus=2)
    made.wait_for_nodes()
    os.environ["RAY_ADDRESS"] = made.address
    yield made
    made.shutdown()
    if before is None:
        os.environ.pop("RAY_ADDRESS", None)


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """The address of a cluster of one node that asks for a token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block"]
    command += ["--port", str(port), "--num-cpus", "1", "--include-dashboard=false"]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "right" * 8}
    process = subprocess.Popen(
        command, env={**os.environ, **token}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "--block" in line:
            break
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.communicate(timeout=60)


@pytest.mark.parametrize("token", ["wrong" * 8, ""])
def test_a_wrong_token_is_one_line(
    guarded: str, local: Finished, tmp_path: Path, token: str
) -> None:
    results = tmp_path / "results"
    line = words(local, results, "--address", guarded)
    ended = medbench_apart(*line, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
    assert (ended.status, ended.err.count("\n")) == (2, 1), ended.err
    assert "wants another token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN" in ended.err
    assert not results.exists()


def test_the_right_token_is_accepted(guarded: str, local: Finished, tmp_path: Path) -> None:
    line = words(local, tmp_path / "results", "--address", guarded, "-o", "cpus=64")
    ended = medbench_apart(*line, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="right" * 8)
    assert "no node of the Ray cluster has what a job reserves" in ended.err


def words(local: Finished, results: Path, *more: str) -> list[str]:
    return [
        *("run", "--all", "--protocol", str(local.file), "--results", str(results)),
        *("--on", "ray", *more),
    ]


def test_two_nodes_give_the_digests_of_a_local_run(
    cluster: Any, local: Finished, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    ended = medbench_apart(*words(local, results))
    assert ended.status == 0, ended.err
    assert digests(results) == digests(local.results)
    assert (results / "board" / "index.html").exists()
    assert list((results / "locks").iterdir()) == []


def test_a_command_that_is_stopped_keeps_checkpoints_and_continues(
    cluster: Any, local: Finished, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    process = subprocess.Popen(
        command_line(*words(local, results)), stderr=subprocess.PIPE, text=True
    )
    while not list(results.glob("runs/*/*.h5")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    states = {a.state for tried in ResultsFolder.open(results).attempts().values() for a in tried}
    assert states <= {"interrupted"}
    assert medbench_apart(*words(local, results)).status == 0
    assert digests(results) == digests(local.results)


def test_the_job_of_a_killed_worker_process_is_repeated(
    cluster: Any, local: Finished, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    process = subprocess.Popen(
        command_line(*words(local, results)), stderr=subprocess.PIPE, text=True
    )
    while not (found := _ray_workers()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    found[0].kill()
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    states = {a.state for tried in ResultsFolder.open(results).attempts().values() for a in tried}
    assert states == {"interrupted"}
    assert digests(results) == digests(local.results)


def _ray_workers() -> list[psutil.Process]:
    found = psutil.process_iter(["cmdline"])
    return [p for p in found if (p.info["cmdline"] or [""])[0].startswith("ray::carry_out")]


@pytest.mark.parametrize(
    "rule", [pytest.param(r, id=r.name) for r in rules_of("executor") if r.kind == "executor"]
)
def test_it_keeps_the_contract_of_executors(cluster: Any, rule: Rule) -> None:
    entry = discover().get(kind_named("executor"), "ray")
    ContractCase(rule, PluginUnderTest(entry)).check()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("-o", "gpus=3"), "no node of the Ray cluster has what a job reserves"),
        (("-o", "cpus=64"), "64 CPU"),
        (("--address", "127.0.0.1:1"), "no Ray cluster at address=127.0.0.1:1"),
        (("--address", "nonsense"), "no Ray cluster at address=nonsense"),
    ],
)
def test_what_cannot_run_is_one_line(
    cluster: Any, local: Finished, tmp_path: Path, more: tuple[str, ...], says: str
) -> None:
    results = tmp_path / "results"
    ended = medbench_apart(*words(local, results, *more))
    assert ended.status == 2
    assert says in ended.err.splitlines()[-1], ended.err
    assert not results.exists()
