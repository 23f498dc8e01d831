"""``medbench run --dry-run``: what there is to do, and nothing done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from medbench.cli.common import clock, print_json, short_path
from medbench.protocol.decidable import Decidability, decidability
from medbench.protocol.read import ProtocolFile
from medbench.protocol.runs import Expansion
from medbench.protocol.spec import AXES
from medbench.runner.costs import amount, costs_seen
from medbench.runner.plan import Plan, make_plan
from medbench.runner.status import running_jobs
from medbench.store.results import Results


@dataclass(frozen=True)
class Estimate:
    """What a plan is expected to cost, by what was seen before.

    Parameters
    ----------
    seen : int
        Runs and pretrainings that it rests on.
    folder : pathlib.Path
        The results folder they are in.
    work : float
        Seconds of all jobs, one after the other.
    jobs : int
        Jobs at once.
    size : float
        Bytes of all records and weights.
    """

    seen: int
    folder: Path
    work: float
    jobs: int
    size: float

    @property
    def seconds(self) -> float:
        """Wall seconds."""
        return self.work / self.jobs


def show_plan(
    file: ProtocolFile,
    expansion: Expansion,
    root: Path,
    *,
    retry_failed: bool,
    jobs: int,
    estimate_from: Path | None,
    as_json: bool,
) -> int:
    """Say what a ``medbench run`` would do; makes no folder and, but for the index, no file."""
    exists = (root / "medbench.json").exists()
    results = Results.create(root, file.protocol.name) if exists else None
    plan = make_plan(expansion, results, retry_failed=retry_failed)
    source = Results.open(estimate_from) if estimate_from else results
    estimate = _estimate(plan, source, jobs) if source else None
    values = _values(file, expansion, plan, root, estimate)
    values["running"] = len(running_jobs(results)) if results else 0
    if as_json:
        print_json(values)
    else:
        _say(values, expansion, estimate, root)
        for found in decidability_of(file, expansion):
            click.echo(f"Question {found}")
    return 0


def decidability_of(file: ProtocolFile, expansion: Expansion) -> tuple[Decidability, ...]:
    """Return which questions of a protocol its design can decide."""
    points = (run.axes for run in expansion.runs)
    return decidability(points, file.protocol.statistics, expansion.unlearnable)


def _estimate(plan: Plan, source: Results, jobs: int) -> Estimate | None:
    """Return what the plan will cost, or ``None`` if nothing was seen yet."""
    costs = costs_seen(source)
    left = amount([*plan.pretrainings_to_do, *plan.to_do])
    work, size = costs.total_seconds(left), costs.total_size(left)
    if work is None or size is None:
        return None
    return Estimate(costs.seen, source.root, work, jobs, size)


def _values(
    file: ProtocolFile, expansion: Expansion, plan: Plan, root: Path, estimate: Estimate | None
) -> dict[str, Any]:
    return {
        "protocol": file.protocol.name,
        "grid": {axis: len({run.axes[axis] for run in plan.runs}) for axis in AXES},
        "runs": len(plan.runs),
        "done": sum(run.key in plan.done for run in plan.runs),
        "failed": len(plan.runs_failed),
        "to_do": len(plan.to_do),
        "pretrainings": len(expansion.pretrainings()),
        "pretrainings_to_do": len(plan.pretrainings_to_do),
        "estimate": estimate
        and {
            "seconds": round(estimate.seconds, 1),
            "jobs": estimate.jobs,
            "bytes": round(estimate.size),
            "seen": estimate.seen,
            "results": str(estimate.folder),
        },
        "not_prepared": dict(expansion.not_prepared),
        "unlearnable": [list(block) for block in expansion.unlearnable],
        "questions": [
            {**asdict(found), "decidable": found.decidable, "smallest_p": found.smallest_p}
            for found in decidability_of(file, expansion)
        ],
        "results": str(root),
    }


def _say(
    values: dict[str, Any], expansion: Expansion, estimate: Estimate | None, root: Path
) -> None:
    shape = " x ".join(f"{n} {axis}{'s' * (n > 1)}" for axis, n in values["grid"].items())
    elsewhere = f", {values['running']} jobs running now" if values["running"] else ""
    click.echo(f"Protocol {values['protocol']}: {shape}")
    click.echo(
        f"{values['runs']} runs: {values['done']} done, {values['failed']} failed, "
        f"{values['to_do']} to do{elsewhere}"
    )
    click.echo(
        f"{values['pretrainings']} pretrainings shared by them, "
        f"{values['pretrainings_to_do']} to do"
    )
    click.echo(_expectation(values, estimate))
    click.echo(f"Results folder: {short_path(root)}")
    for dataset, noise, rate in expansion.unlearnable:
        click.echo(
            f"Unlearnable: {dataset} with {noise} noise at {rate:g} makes another class more "
            "frequent than the true one: a learner that takes labels at face value is misled"
        )
    for message in expansion.not_prepared.values():
        click.echo(f"Not prepared: {message}")


def _expectation(values: dict[str, Any], estimate: Estimate | None) -> str:
    if not values["to_do"]:
        return "Nothing to do."
    if estimate is None:
        return (
            "Time and disk: no run was seen yet to estimate them from; "
            "--estimate-from FOLDER takes those of another results folder"
        )
    return (
        f"About {clock(estimate.seconds)} with {estimate.jobs} at once, and "
        f"{_size(estimate.size)} of disk, by the {estimate.seen} runs and pretrainings in "
        f"{short_path(estimate.folder)}"
    )


def _size(size: float) -> str:
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.3g} {unit}"
    return f"{size / 1000:.3g} TB"
