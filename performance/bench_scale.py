"""What 10,000 runs cost besides training: `python performance/bench_scale.py FOLDER`.

FOLDER is one that `synthetic_results.py` made (it is made if it is not there). Measured, each
in a process of its own, so that imports count:

- plan: reading the protocol, expanding it into runs and keys, comparing them with the folder
  (bar: 1 s);
- first: reading the header of every record, with no index there;
- again: reading the index, nothing having changed;
- status: `medbench status --json` (bar: 1 s);
- dry run: `medbench run --all --dry-run` with its estimate;
- board first: `medbench leaderboard` with no index there (bar: 15 s);
- board again: the same, nothing having changed (bar: 2 s);
- board changed: the same after one record was touched, so that everything is computed again.

In addition to seconds, the most memory that a command and its processes held together, as the sum
of their resident sets: pages that they share are counted more than once, so it is an upper
bound (bar of the board: 2 GiB). A board is made once before, so that compiling modules is
not counted.

Wall seconds are those of a machine with nothing else to do; CPU seconds, of the process and
its children, say about as much on a busy one; workers that read headers are not among them.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from synthetic_results import Shape, add_arguments, make

#: Seconds allowed, where the project promises a number.
BARS = {"plan": 1.0, "status": 1.0, "board first": 15.0, "board again": 2.0}

#: GiB of memory that making a board may take.
MEMORY_BAR = 2.0

#: Seconds between two looks at the memory.
_LOOK = 0.1

_PLAN = """
import sys
from pathlib import Path
from medbench.interfaces.dataset import DataContext
from medbench.plugins.registry import discover
from medbench.protocol.read import read_protocol
from medbench.protocol.runs import expand
from medbench.runner.plan import make_plan
from medbench.store.results import ResultsFolder
results = ResultsFolder.open(Path(sys.argv[1]))
file = read_protocol(results.protocol_path)
plan = make_plan(expand(file, discover(), DataContext(Path("no-cache"))), results,
                 retry_failed=False)
if len(plan.runs) != int(sys.argv[2]) or plan.to_do:
    sys.exit("FOLDER is of another shape, or its records have the keys of another medbench: "
             "remove it, and it is rebuilt")
"""

_INDEX = """
import sys
from pathlib import Path
from medbench.store.index import read_index
from medbench.store.results import ResultsFolder
assert len(read_index(ResultsFolder.open(Path(sys.argv[1])))) == int(sys.argv[2])
"""


def measure(name: str, command: list[str]) -> dict[str, float | str]:
    """Run a command; return its wall and CPU seconds and the most memory it held."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began, peak = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK)
    wall = time.perf_counter() - began
    if process.returncode:
        sys.exit(f"{name} ended with status {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "name": name, "wall": round(wall, 2), "cpu": round(cpu, 2), "gib": round(peak / 2**30, 2),
    }  # fmt: skip


def resident(pid: int) -> int:
    """Return the bytes that a process and all below it hold."""
    total = 0
    with suppress(OSError, ValueError, IndexError):
        total = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(map(resident, map(int, (task / "children").read_text().split())))
    return total


def touch(folder: Path) -> None:
    """Move the times of one record, as an edit would."""
    record = min((folder / "runs").glob("*/*.h5"))
    record.touch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    add_arguments(parser)
    given = vars(parser.parse_args())
    folder, shape = given.pop("folder"), Shape(**given)
    make(folder, shape)
    board = ["-m", "medbench", "leaderboard", "--results", str(folder)]
    with tempfile.TemporaryDirectory() as scratch:
        rows = measured(folder, shape, [*board, "--out", scratch])
    report(rows, shape)


def measured(folder: Path, shape: Shape, board: list[str]) -> list[dict[str, float | str]]:
    """Return all measures; ``board`` is the command that makes one."""
    where, runs = str(folder), str(shape.runs)
    protocol, results = str(folder / "protocol.toml"), ("--results", where)
    subprocess.run([sys.executable, *board], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(folder / "index")
    rows = [
        measure("plan", ["-c", _PLAN, where, runs]),
        measure("first", ["-c", _INDEX, where, runs]),
        measure("again", ["-c", _INDEX, where, runs]),
        measure("status", ["-m", "medbench", "status", *results, "--json"]),
        measure(
            "dry run",
            ["-m", "medbench", "run", "--all", "--dry-run", *("--protocol", protocol, *results)],
        ),
    ]
    shutil.rmtree(folder / "index")
    rows += [measure("board first", board), measure("board again", board)]
    touch(folder)
    return [*rows, measure("board changed", board)]


def report(rows: list[dict[str, float | str]], shape: Shape) -> None:
    """Print the measures; ends with status 1 where one is over its bar."""
    late = []
    for row in rows:
        name = str(row["name"])
        bar = BARS.get(name)
        said = f"  (bar: {bar:g} s)" if bar else ""
        print(
            f"{name:13} {row['wall']:8.2f} s wall {row['cpu']:8.2f} s CPU {row['gib']:6.2f} GiB"
            f"{said}"
        )
        if float(row["wall"]) > (bar or 1e9):
            late.append(name)
        if name.startswith("board") and float(row["gib"]) > MEMORY_BAR:
            late.append(f"memory of {name}")
    print(json.dumps({"runs": shape.runs, "measures": rows}))
    sys.exit(f"over the bar: {', '.join(late)}" if late else 0)


if __name__ == "__main__":
    main()
