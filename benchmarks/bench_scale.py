"""What 100,000 runs cost before anything is trained: `python benchmarks/bench_scale.py FOLDER`.

FOLDER is one that `synthetic_results.py` made (it is made if it is not there). Measured, each
in a process of its own, so that imports count:

- plan: reading the protocol, expanding it into runs and keys, comparing them with the folder
  (bar: 5 s);
- first: reading the header of every record, with no index there;
- again: reading the index, nothing having changed;
- status: `medbench status --json` (bar: 3 s);
- dry run: `medbench run --all --dry-run` with its estimate.

Wall seconds are those of a machine with nothing else to do; CPU seconds, of the process and
its children, say about as much on a busy one.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from synthetic_results import Shape, add_arguments, make

#: Seconds allowed, where the project promises a number.
BARS = {"plan": 5.0, "status": 3.0}

_PLAN = """
import sys
from pathlib import Path
from medbench.interfaces.dataset import DataContext
from medbench.plugins.registry import discover
from medbench.protocol.read import read_protocol
from medbench.protocol.runs import expand
from medbench.runner.plan import make_plan
from medbench.store.results import Results
results = Results.open(Path(sys.argv[1]))
file = read_protocol(results.protocol_path)
plan = make_plan(expand(file, discover(), DataContext(Path("no-cache"))), results,
                 retry_failed=False)
assert len(plan.runs) == int(sys.argv[2]) and not plan.to_do
"""

_INDEX = """
import sys
from pathlib import Path
from medbench.store.index import read_index
from medbench.store.results import Results
assert len(read_index(Results.open(Path(sys.argv[1])))) == int(sys.argv[2])
"""


def measure(name: str, command: list[str]) -> dict[str, float | str]:
    """Run a command; return its wall and CPU seconds and the most memory a process held."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"name": name, "wall": round(wall, 2), "cpu": round(cpu, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    add_arguments(parser)
    given = vars(parser.parse_args())
    folder, shape = given.pop("folder"), Shape(**given)
    make(folder, shape)
    shutil.rmtree(folder / "index", ignore_errors=True)
    where, runs = str(folder), str(shape.runs)
    protocol, results = str(folder / "protocol.toml"), ("--results", where)
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
    for row in rows:
        bar = BARS.get(str(row["name"]))
        said = f"  (bar: {bar:g} s)" if bar else ""
        print(f"{row['name']:8} {row['wall']:8.2f} s wall {row['cpu']:8.2f} s CPU{said}")
    print(json.dumps({"runs": shape.runs, "measures": rows}))
    late = [row["name"] for row in rows if float(row["wall"]) > BARS.get(str(row["name"]), 1e9)]
    sys.exit(f"over the bar: {', '.join(map(str, late))}" if late else 0)


if __name__ == "__main__":
    main()
