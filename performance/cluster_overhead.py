"""Overhead of a worker on a Slurm cluster of one machine.

    python performance/cluster_overhead.py FOLDER [--submissions 3]

Starts tests/medbench/cluster/slurm-cluster in FOLDER and submits one worker with 24 small runs,
several times. Shown are medians of the seconds from a worker's start, which is the first line of
its script, to the first step of its first run (bar: 8 s), and of the seconds between the ends of
two runs beyond training and evaluation (bar: 1 s). The seconds of CPU up to the first step are
shown, too: on a busy machine they say what an idle one would take. Then 10,000 runs are submitted
to 100 workers that Slurm holds (bar: 10 s), and their status is asked for (bar: 2 s).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from cluster_faults import SMALL, TOOL, medbench

from medbench.store.records import read_record

#: Bars, in seconds.
MOST_START, MOST_RUN, MOST_SUBMIT, MOST_STATUS = 8.0, 1.0, 10.0, 2.0

PLUGIN = '''
import time

import psutil

from medbench_plugins.methods.cross_entropy import CrossEntropy


class FirstStep(CrossEntropy):
    """Cross-entropy that prints when its first step is about to begin, and the CPU used so far."""

    def train_epoch(self, epoch):
        if epoch == 0:
            script = psutil.Process().parents()[3]  # above evaluator, server and command
            times = [script.cpu_times(), *(p.cpu_times() for p in script.children(recursive=True))]
            print("begins", time.time(), sum(sum(each[:4]) for each in times))
        return super().train_epoch(epoch)
'''
PROTOCOL = (
    """
name = "overhead"
[grid]
datasets = ["pneumonia-mnist"]
noise = ["symmetric"]
rates = [0.1, 0.2, 0.3, 0.4]
pretexts = ["none"]
methods = ["first-step"]
seeds = [0, 1, 2, 3, 4, 5]
[training]
epochs = 4
batch_size = 16
"""
    + SMALL
)


def measured(folder: Path) -> tuple[float, float, list[float]]:
    """Submit a worker; return seconds and CPU to its first step, and seconds beyond each run."""
    results = folder / "results"
    words = ("--plugin", folder.parent / "first_step.py", "--results", results)
    on = ("--on", "slurm", "--workers", "1", "-o", "setup=echo started $(date +%s.%N)")
    medbench("run", "--all", "--protocol", folder.parent / "overhead.toml", *words, *on)
    while subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True).stdout:
        time.sleep(1)
    (log,) = (results / "cluster").glob("*.log")
    (started,) = _after("started", log.read_text())
    records = sorted(results.glob("runs/*/*.h5"), key=lambda path: path.stat().st_mtime)
    logs = (results / "logs").glob("*/*.log")
    first, cpu = min(_after("begins", path.read_text()) for path in logs)
    beyond = []
    for before, after in pairwise(records):
        times = read_record(after).header.metadata["times"]
        asked = times["training"] + times["evaluation"]
        beyond.append(after.stat().st_mtime - before.stat().st_mtime - asked)
    return first - started, cpu, beyond


def large(folder: Path) -> tuple[float, float]:
    """Submit 10,000 runs to 100 workers; return the seconds of that, and of their status."""
    folder.mkdir()
    file, results = folder / "large.toml", folder / "results"
    text = PROTOCOL.replace('"first-step"', '"cross-entropy"')
    file.write_text(text.replace("0, 1, 2, 3, 4, 5", ", ".join(map(str, range(2500)))))
    words = ("--on", "slurm", "--workers", "100", "-o", "hold")
    began = time.monotonic()
    medbench("run", "--all", "--protocol", file, "--results", results, *words)
    submitted = time.monotonic()
    said = medbench("status", "--results", results)
    ended = time.monotonic()
    assert "100 pending (JobHeldUser)" in said, said
    medbench("stop", "--results", results, "--yes")
    return submitted - began, ended - submitted


def _after(word: str, text: str) -> list[float]:
    line = next(line for line in text.splitlines() if line.startswith(word))
    return [float(number) for number in line.split()[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--submissions", type=int, default=3)
    given = parser.parse_args()
    folder = given.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "first_step.py").write_text(PLUGIN)
    (folder / "overhead.toml").write_text(PROTOCOL)
    os.environ["SLURM_CONF"] = str(folder / "cluster" / "slurm.conf")
    subprocess.run([TOOL, "up", folder / "cluster", "1"], check=True, capture_output=True)
    starts, beyond = [], []
    try:
        for number in range(given.submissions):
            start, cpu, more = measured(folder / str(number))
            starts.append(start)
            beyond += more
            load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
            print(f"{start:.2f} s to the first step, {cpu:.2f} s of CPU; load {load}", flush=True)
        submit, status = large(folder / "large")
    finally:
        subprocess.run([TOOL, "down", folder / "cluster"], check=False, capture_output=True)
    start, run = statistics.median(starts), statistics.median(beyond)
    print(f"to the first step: median {start:.2f} s, most {max(starts):.2f} s")
    print(f"beyond a run: median {run:.2f} s, most {max(beyond):.2f} s, of {len(beyond)}")
    print(f"10,000 runs submitted: {submit:.2f} s; status of 100 workers: {status:.2f} s")
    found = (start, run, submit, status)
    bars = (MOST_START, MOST_RUN, MOST_SUBMIT, MOST_STATUS)
    sys.exit(0 if all(map(float.__lt__, found, bars)) else "over a bar")


if __name__ == "__main__":
    main()
