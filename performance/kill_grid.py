"""Kill random processes of a small grid at random moments; nothing may be lost by it.

    uv run python performance/kill_grid.py --kills 100

Each kill is a SIGKILL to the command, to the server its jobs are forked from, to an evaluator
or to a training process; the command is given again whenever it is gone. When a grid is done it is
compared with an undisturbed one and the next begins, until all kills are spent. Checked:
every record is there, with the digest of the undisturbed grid; no finished run was done
again; no file is left half-written, no lock and no checkpoint; no process is left.

Ctrl-C: no more kills; the current grid is completed and what was found so far is printed.
Prints one JSON line. Exit status 0 if all holds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PROTOCOL = """
name = "kills"
images = { size = 16, train = 48, validation = 16, test = 24 }
backbone = { name = "narrow", width = 8 }
pretraining = { epochs = 6, batch_size = 16 }
training = { epochs = 8, batch_size = 16 }

[grid]
datasets = ["pneumonia-mnist"]
noise = ["symmetric"]
rates = [0.25]
pretexts = ["none", "rotation", "two-steps"]
methods = ["cross-entropy", "co-teaching", "dividemix"]
seeds = [0, 1]

[pretexts.two-steps]
steps = [{ plugin = "rotation" }, { plugin = "jigsaw" }]

[methods.dividemix]
warmup_epochs = 2
"""
RUNS = 18
VICTIMS = ("runner", "server", "evaluator", "training")


@dataclass
class Findings:
    """What was done and what was found wrong."""

    kills: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    grids: int = 0
    resumed: int = 0
    wrong: list[str] = field(default_factory=list)
    enough: bool = False


def command(folder: Path, results: Path) -> subprocess.Popen[bytes]:
    """Start the command, always the same."""
    line = [sys.executable, "-m", "medbench", "run", "--all", "--protocol"]
    line += [str(folder / "kills.toml"), "--results", str(results), "--device", "cpu"]
    line += ["--jobs", "2", "--retry-failed", "--checkpoint-every", "1 epochs"]
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(line, stdout=output, stderr=output, start_new_session=True)


def cast(runner: int) -> Mapping[str, list[psutil.Process]]:
    """Return the processes of a running command by what they are."""
    found: dict[str, list[psutil.Process]] = {name: [] for name in VICTIMS}
    with suppress(psutil.Error):
        process = psutil.Process(runner)
        found["runner"] = [process]
        for child in process.children():
            if "forkserver" in " ".join(child.cmdline()):
                found["server"].append(child)
                found["evaluator"] += child.children()
    for evaluator in found["evaluator"]:
        with suppress(psutil.Error):
            found["training"] += evaluator.children()
    return found


def digests(results: Path) -> dict[str, str]:
    """Return the digest of each record by key."""
    from medbench.store.records import read_record

    return {p.stem: read_record(p).header.digest for p in sorted(results.glob("runs/*/*.h5"))}


def records(results: Path) -> dict[str, tuple[int, int]]:
    """Return what changes if a record is written again, by path."""
    return {
        str(path.relative_to(results)): (path.stat().st_mtime_ns, path.stat().st_ino)
        for pattern in ("runs/*/*.h5", "pretrainings/*/*.safetensors")
        for path in results.glob(pattern)
    }


def disturbed_grid(
    folder: Path,
    results: Path,
    kills: int,
    pace: float,
    chance: random.Random,
    found: Findings,
) -> None:
    """Carry a grid out, killing up to ``kills`` of its processes on the way."""
    seen: dict[str, tuple[int, int]] = {}
    pids: dict[int, psutil.Process] = {}
    running = command(folder, results)
    found.commands += 1
    left = kills
    while running.poll() is None or left > 0:
        left = 0 if found.enough else left
        if running.poll() is not None:
            if running.returncode == 0:
                break
            running = command(folder, results)
            found.commands += 1
        wait = time.monotonic() + chance.uniform(0.05, 2 * pace)
        while running.poll() is None and time.monotonic() < wait:
            time.sleep(0.05)
        processes = cast(running.pid)
        pids |= {p.pid: p for several in processes.values() for p in several}
        there = [(who, process) for who in VICTIMS for process in processes[who]]
        # before there are jobs there is little to harm
        if left > 0 and there and (processes["evaluator"] or chance.random() < 0.03):
            who, victim = chance.choice(there)
            with suppress(psutil.Error):
                victim.kill()
                found.kills[who] += 1
                left -= 1
        now = records(results)
        found.wrong += [f"{name} was done again" for name in seen if now.get(name) != seen[name]]
        seen = now
    for _ in range(20):
        if running.wait() == 0:
            break
        running = command(folder, results)
        found.commands += 1
    if command(folder, results).wait() != 0:  # once more, with nothing to do but to clean up
        found.wrong.append("the command does not end well though all is done")
    now = records(results)
    found.wrong += [f"{name} was done again" for name in seen if now.get(name) != seen[name]]
    _, alive = psutil.wait_procs(list(pids.values()), timeout=30)
    found.wrong += [f"process {process.pid} is left" for process in alive if runs(process)]


def runs(process: psutil.Process) -> bool:
    """Tell whether a process is there and no zombie."""
    with suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def inspect(results: Path, expected: Mapping[str, str], found: Findings) -> None:
    """Compare what a grid left with what an undisturbed one gives."""
    from medbench.store.records import read_header

    got = digests(results)
    found.wrong += [f"record {key} is missing" for key in expected if key not in got]
    found.wrong += [f"digest of {k} differs" for k in got if got[k] != expected.get(k)]
    for pattern in (".*.part", "checkpoints/*/*.safetensors", "locks/*.json"):
        where = results.rglob(pattern) if pattern.startswith(".") else results.glob(pattern)
        found.wrong += [f"{path.relative_to(results)} is left" for path in where if path.is_file()]
    headers = [read_header(path) for path in results.glob("runs/*/*.h5")]
    found.resumed += sum(bool(header.metadata["resumed"]) for header in headers)
    verified = subprocess.run(
        [sys.executable, "-m", "medbench", "verify", "--results", str(results)],
        capture_output=True,
        check=False,
    )
    if verified.returncode != 0:
        found.wrong.append(f"verify: {verified.stdout.decode()[-300:]}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Spend all kills; print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    parser.add_argument(
        "--pace", type=float, help="mean seconds between kills; by default as the machine is fast"
    )
    given = parser.parse_args(arguments)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="kill-grid-"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kills.toml").write_text(PROTOCOL)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    found, began = Findings(), time.monotonic()
    chance = random.Random(given.seed)
    if command(folder, folder / "undisturbed").wait() != 0:
        sys.stderr.write(f"the undisturbed grid failed; see {folder / 'output.txt'}\n")
        return 1
    pace = given.pace or (time.monotonic() - began) / 12
    expected = digests(folder / "undisturbed")
    if len(expected) != RUNS:
        found.wrong.append(f"the undisturbed grid has {len(expected)} records, not {RUNS}")

    def enough(*_: object) -> None:
        found.enough = True

    signal.signal(signal.SIGINT, enough)
    while (spent := sum(found.kills.values())) < given.kills and not found.enough:
        found.grids += 1
        results = folder / f"grid-{found.grids}"
        disturbed_grid(folder, results, given.kills - spent, pace, chance, found)
        inspect(results, expected, found)
        sys.stderr.write(
            f"grid {found.grids}: {dict(found.kills)} kills so far, wrong: {found.wrong}\n"
        )
    line = {
        "kills": sum(found.kills.values()),
        "by_victim": dict(found.kills),
        "grids": found.grids,
        "commands": found.commands,
        "records": found.grids * RUNS,
        "resumed": found.resumed,
        "wrong": found.wrong,
        "seconds": round(time.monotonic() - began),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
