"""What the harness itself costs: `uv run python performance/bench_overhead.py`.

Overhead: the protocol `quick` is run whole, one run at a time, by the command that a user
gives. Of its wall seconds, those that jobs spent in training (pretraining and prediction
in it) and in evaluation are what was asked for; all others are overhead: starting, reading
and drawing data, noise, processes, records, checkpoints, and the board (bar: 3 %). Its
parts are shown: before the first job is planned, data, what else jobs cost (processes,
records, locks; of the first, loading torch), and the board at the end.

First step: a method of its own tells how long ago its run was locked, right before its
submission, when the first mini-batch is about to be asked for, and when the first step of
the optimiser is done (bar: 0.2 s on the CPU, for the former). The first run of each dataset
and seed is shown apart: it reads the images, which the others find.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from medbench.plugins.registry import discover
from medbench.protocol.shipped import protocol_paths
from medbench.store.index import read_index, read_pretraining_index
from medbench.store.results import ResultsFolder

#: What is allowed: a share of the wall time, and seconds.
MOST_OVERHEAD, MOST_SECONDS = 0.03, 0.2

PLUGIN = '''
import json, os, time
from pathlib import Path
from medbench_plugins.methods.cross_entropy import CrossEntropy


def age():
    """Return the seconds since the run was locked."""
    log = Path(os.readlink("/proc/self/fd/1"))
    lock = log.parents[2] / "locks" / f"{log.name.partition('.')[0]}.json"
    return time.time() - json.loads(lock.read_text())["since"]


class FirstStep(CrossEntropy):
    """Cross-entropy that tells when its first step begins and is done."""

    def start(self, task):
        super().start(task)
        step, self.told = self.optimiser.step, False

        def first(loss):
            step(loss)
            if not self.told:
                self.told = True
                print("done", age())

        self.optimiser.step = first

    def train_epoch(self, epoch):
        if epoch == 0:
            print("begins", age())
        return super().train_epoch(epoch)

'''


def command(*arguments: str) -> list[float]:
    """Run medbench; return the seconds until each line of its stderr and until its end."""
    began = time.perf_counter()
    line = [sys.executable, "-m", "medbench", *arguments]
    with subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = [(text, time.perf_counter() - began) for text in process.stderr]
    if process.returncode:
        sys.exit(f"{line}: {''.join(text for text, _ in said)}")
    return [*(at for text, at in said if re.match(r"\[|\d+ runs? .* to do", text)),
            time.perf_counter() - began]  # fmt: skip


def overhead(folder: Path, protocol: str) -> dict[str, float]:
    """Run a protocol; return its wall seconds and what they were spent on."""
    planned, *_, ended, wall = command(
        "run", "--all", "--protocol", protocol, "--results", str(folder), "--jobs", "1"
    )
    board = command("leaderboard", "--results", str(folder))[-1]
    results = ResultsFolder.open(folder)
    asked, jobs, stages = 0.0, 0, {}
    for table in (read_index(results), read_pretraining_index(results)):
        for text in table["times"].to_pylist():
            times: Mapping[str, float] = json.loads(text)
            jobs += 1
            asked += times.get("training", 0.0) + times.get("evaluation", 0.0)
            for name, seconds in times.items():
                stages[name] = stages.get(name, 0.0) + seconds
    data = stages.get("data", 0.0)
    return {
        "wall": wall, "asked": asked, "overhead": 1 - asked / wall, "jobs": jobs,
        "before jobs": planned, "data": data, "around jobs": ended - planned - asked - data,
        "board": wall - ended, "second board": board,
        **{f"stage {name}": value for name, value in stages.items()},
    }  # fmt: skip


def first_steps(folder: Path) -> dict[str, float]:
    """Return seconds from a run's process to its first step, medians over the runs."""
    folder.mkdir()
    plugin, protocol = folder / "first_step.py", folder / "first-step.toml"
    plugin.write_text(PLUGIN)
    text = protocol_paths(discover())["quick"].read_text("utf-8")
    # several runs of each dataset and seed: the first reads the images, the others find them
    text = text.replace('name = "quick"', 'name = "first-step"')
    protocol.write_text(re.sub(r"rates = \[.*\]", "rates = [0.1, 0.2, 0.3, 0.4]", text))
    results = folder / "results"
    command(
        "run", "--protocol", str(protocol), "--plugin", str(plugin), "--method", "first-step",
        "--pretext", "none", "--jobs", "1", "--results", str(results),
        "--set", "training.epochs=2",
    )  # fmt: skip
    found: dict[str, list[float]] = {"begins": [], "done": [], "reading, begins": []}
    read = set()
    opened = ResultsFolder.open(results)
    for run in opened.plan():
        if run.axes["method"] != "first-step" or run.axes["pretext"] != "none":
            continue
        images = run.axes["dataset"], run.axes["seed"]
        for line in opened.log_path(run.key, 1).read_text().splitlines():
            word, _, seconds = line.partition(" ")
            if images in read and word in found:
                found[word].append(float(seconds))
            elif word == "begins":
                found["reading, begins"].append(float(seconds))
        read.add(images)
    return {
        "runs": len(found["begins"]),
        **{f"{word} {name}": function(values) for word, values in found.items()
           for name, function in (("median", statistics.median), ("max", max))},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--protocol", default="quick")
    parser.add_argument("--only", choices=("overhead", "first-step"))
    parser.add_argument("--keep", type=Path, help="folder in which the grid's results are to stay")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found: dict[str, dict[str, float]] = {}
        if given.only != "overhead":
            found["first step"] = first_steps(Path(name, "first"))
        if given.only != "first-step":
            folder = given.keep or Path(name, "grid")
            found["overhead"] = overhead(folder, given.protocol)
    for title, values in found.items():
        print(title)
        for word, value in values.items():
            print(f"  {word:18} {value:9.4f}")
    print(json.dumps(found))
    late = []
    if found.get("overhead", {}).get("overhead", 0) > MOST_OVERHEAD:
        late.append(f"overhead over {MOST_OVERHEAD:.0%}")
    if found.get("first step", {}).get("begins median", 0) > MOST_SECONDS:
        late.append(f"first step after more than {MOST_SECONDS} s")
    sys.exit("; ".join(late) if late else 0)


if __name__ == "__main__":
    main()
