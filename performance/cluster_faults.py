"""Break a Slurm cluster of two nodes fifty times while a grid runs; compare with a local run.

    python performance/cluster_faults.py FOLDER [--faults 50] [--every 6]

Starts tests/medbench/cluster/slurm-cluster in FOLDER (root; Debian's slurmctld slurmd slurmdbd
slurm-client munge mariadb-server), runs the grid once here, then by workers on the cluster, and
meanwhile causes faults in turn. At the end all runs must be done, with the digests and the board
of the local run, and only what a fault hit may have been attempted again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tests/medbench/cluster/slurm-cluster"
#: Images and network of small runs.
SMALL = """
[images]
size = 16
train = 256
validation = 32
test = 64
[backbone]
name = "narrow"
width = 8
"""
GRID = """
name = "faults"
[grid]
datasets = ["pneumonia-mnist"]
noise = ["symmetric"]
rates = [0.0, 0.25]
pretexts = ["none", "rotation"]
methods = ["cross-entropy", "co-teaching", "elr"]
seeds = [{seeds}]
[pretraining]
epochs = 6
batch_size = 16
[training]
epochs = {epochs}
batch_size = 16
"""
#: In the command line of each worker.
WORKER = "-m medbench run --protocol"


class Cluster:
    """A cluster, and a grid that workers carry out on it."""

    def __init__(self, folder: Path, protocol: Path, results: Path) -> None:
        self.folder, self.protocol, self.results = folder, protocol, results
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        self.random = random.Random(0)
        self.submitted = 0

    def tool(self, *words: str) -> None:
        subprocess.run([TOOL, words[0], self.folder, *words[1:]], check=True, capture_output=True)

    def submit(self) -> None:
        """Submit two workers."""
        words = ("--on", "slurm", "--workers", "2", "-o", "mem=3500")
        medbench("run", "--all", "--protocol", self.protocol, "--results", self.results, *words)
        self.submitted += 1

    def alive(self) -> list[str]:
        """Return the pending and running workers, those held by Slurm released."""
        said = subprocess.run(
            ["squeue", "-h", "-r", "-o", "%i|%T|%r|%j"], capture_output=True, text=True
        ).stdout
        rows = [line.split("|") for line in said.splitlines()]
        rows = [row for row in rows if row[3].startswith("medbench")]
        for job, state, reason, _ in rows:
            if state == "PENDING" and reason in ("BeginTime", "JobHeldUser", "Cleaning"):
                subprocess.run(
                    ["scontrol", "update", f"JobId={job}", "StartTime=now"], capture_output=True
                )
        return [row[0] for row in rows]

    def processes(self, *words: str) -> list[psutil.Process]:
        """Return processes of workers on the nodes whose command holds all the words."""
        found = []
        for process in psutil.process_iter(["environ", "cmdline"]):
            environ, line = process.info["environ"] or {}, " ".join(process.info["cmdline"] or ())
            if "SLURMD_NODENAME" in environ and all(word in line for word in words):
                found.append(process)
        return found

    def kill(self, *words: str) -> str:
        return self.kill_one({"": self.processes(*words)})

    def kill_one(self, found: Mapping[str, Sequence[psutil.Process]]) -> str:
        """Kill a process of one of the kinds found; return its kind and number."""
        kinds = [kind for kind, processes in found.items() if processes]
        if not kinds:
            return NOBODY
        kind = self.random.choice(kinds)
        process = self.random.choice(found[kind])
        process.send_signal(signal.SIGKILL)
        return f"{kind} {process.pid}".strip()

    # faults: each returns what it did

    def worker(self) -> str:
        return self.kill(WORKER)

    def job_process(self) -> str:
        return self.kill_one(self.job_processes())

    def job_processes(self) -> dict[str, list[psutil.Process]]:
        """Return the servers that jobs are forked from, evaluators and training processes."""
        forked = self.processes("multiprocessing.forkserver")
        numbers = {process.pid for process in forked}
        found: dict[str, list[psutil.Process]] = {"server": [], "evaluator": [], "training": []}
        for process in forked:
            with suppress(psutil.Error):  # it has ended
                above = sum(parent.pid in numbers for parent in process.parents())
                found[list(found)[min(above, 2)]].append(process)
        return found

    def batch_script(self) -> str:
        return self.kill("slurm_script")

    def node(self) -> str:
        found = self.processes(WORKER)
        busy = {process.info["environ"]["SLURMD_NODENAME"][1:] for process in found}
        if not busy:
            return NOBODY
        node = self.random.choice(sorted(busy))
        self.tool("kill-node", node)
        time.sleep(14)  # Slurm takes a node for dead after SlurmdTimeout, 10 s
        self.tool("start-node", node)
        return f"n{node}"

    def controller(self) -> str:
        self.tool("kill-head")
        time.sleep(3)
        self.tool("start-head")
        time.sleep(2)
        return ""

    def member(self) -> str:
        alive = self.alive()
        if not alive:
            return NOBODY
        member = self.random.choice(alive)
        subprocess.run(["scancel", member], check=False)
        return member

    def urgent(self) -> str:
        if not self.processes(WORKER):
            return NOBODY
        subprocess.run(
            ["sbatch", "-p", "urgent", "--mem=3500", "-J", "urgent", "--wrap", "sleep 2"],
            capture_output=True,
            check=True,
            cwd="/tmp",
        )
        return "pre-empting job"

    def stop_all(self) -> str:
        if not self.alive():
            return NOBODY
        medbench("stop", "--results", self.results, "--yes")
        return "medbench stop"

    def folder_away(self) -> str:
        away = self.results.with_name("away")
        self.results.rename(away)
        time.sleep(30)
        if self.results.exists():  # what a process made meanwhile
            subprocess.run(["rm", "-rf", self.results], check=True)
        away.rename(self.results)
        return "30 s"

    def submitter(self) -> str:
        """Kill a submitting process a moment after it has started."""
        command = [
            *(sys.executable, "-m", "medbench", "run", "--all", "--on", "slurm", "--workers", "1"),
            *("--protocol", str(self.protocol), "--results", str(self.results)),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(self.random.uniform(0.5, 4))
        process.kill()
        process.wait()
        return "killed"


#: What a fault says that found no process to kill; it does not count.
NOBODY = "nobody to kill"
#: Faults in turn: the frequent ones of a cluster more often.
FAULTS = (
    "worker", "node", "job_process", "urgent", "member", "controller", "worker", "batch_script",
    "urgent", "job_process", "submitter", "node", "stop_all",
)  # fmt: skip


def medbench(*words: object) -> str:
    command = [sys.executable, "-m", "medbench", *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1):
        print("   ", ended.stderr.strip())
    return ended.stdout


def digests(results: Path) -> dict[str, str]:
    rows = json.loads(medbench("results", "--results", results, "--format", "json"))
    return {row["run_key"]: row["digest"] for row in rows if row["status"] == "done"}


def board(results: Path) -> str:
    return (results / "board" / "leaderboard.csv").read_text()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--every", type=float, default=6.0)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=6)
    given = parser.parse_args()
    folder = given.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    protocol, local, results = folder / "faults.toml", folder / "local", folder / "results"
    seeds = ", ".join(map(str, range(given.seeds)))
    protocol.write_text(GRID.format(seeds=seeds, epochs=given.epochs) + SMALL)
    command = [sys.executable, "-m", "medbench", "run", "--all", "--jobs", "1"]
    command += ["--protocol", str(protocol), "--results", str(local)]
    apart = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    runs = 12 * given.seeds

    cluster = Cluster(folder / "cluster", protocol, results)
    cluster.tool("up", "2")
    caused: Counter[str] = Counter()
    try:
        cluster.submit()
        while len(done_keys(results)) < runs:
            if not cluster.alive():
                cluster.submit()
            time.sleep(given.every)
            # a fault while nothing is trained would hit nothing
            if sum(caused.values()) < given.faults and cluster.job_processes()["training"]:
                number = sum(caused.values())
                name = "folder_away" if number == 20 else FAULTS[number % len(FAULTS)]
                fault: Callable[[], str] = getattr(cluster, name)
                said = fault()
                if said == NOBODY:
                    continue
                kind = f"{name}: {said.split()[0]}" if name == "job_process" else name
                caused[kind] += 1
                print(f"{number + 1:3} {name}: {said}; {len(done_keys(results))} done", flush=True)
        while cluster.alive():
            time.sleep(1)
        medbench("leaderboard", "--results", results)
    finally:
        cluster.tool("down")
    apart.wait()
    report(cluster, caused, digests(local), local)


def done_keys(results: Path) -> set[str]:
    return {path.stem for path in results.glob("runs/*/*.h5")}


def report(cluster: Cluster, caused: Counter[str], truth: dict[str, str], local: Path) -> None:
    results = cluster.results
    logs = Counter(path.name.partition(".")[0] for path in (results / "logs").glob("??/*.log"))
    again = sum(logs.values()) - len(logs)
    locks = list((results / "locks").iterdir())
    print(f"faults: {sum(caused.values())} {dict(caused)}; submissions: {cluster.submitted}")
    print(f"digests equal: {digests(results) == truth}; attempts beyond the first: {again}")
    print(f"boards equal: {board(results) == board(local)}; locks left: {len(locks)}")
    states = Counter(
        json.loads(path.read_text())["state"] for path in (results / "attempts").rglob("*.json")
    )
    print(f"attempts without a record: {dict(states)}")


if __name__ == "__main__":
    main()
