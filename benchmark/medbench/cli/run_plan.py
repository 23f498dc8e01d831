"""``medbench run --dry-run``: what there is to do, without doing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from medbench.cli.common import clock, print_json, short_path
from medbench.pilot import pair_deviation
from medbench.plain import many
from medbench.protocol.decidable import Decidability, decidability
from medbench.protocol.read import ProtocolFile
from medbench.protocol.runs import Expansion
from medbench.protocol.spec import REFINED_AXES
from medbench.runner.costs import JobCosts, costs_seen, count_work
from medbench.runner.machine import default_jobs
from medbench.runner.plan import Plan, make_plan
from medbench.runner.status import running_jobs
from medbench.running import RunOptions
from medbench.store.results import ResultsFolder

if TYPE_CHECKING:
    import pandas as pd


def show_plan(
    file: ProtocolFile,
    expansion: Expansion,
    options: RunOptions,
    estimate_from: Path | None,
    *,
    as_json: bool,
) -> int:
    """Print what a ``medbench run`` would do; creates no folder, and no file but the index."""
    root = options.results
    exists = (root / "medbench.json").exists()
    results = ResultsFolder.create(root, file.protocol.name) if exists else None
    plan = make_plan(expansion, results, retry_failed=options.retry_failed)
    jobs = options.jobs or default_jobs([options.device], file.protocol.compute.threads)
    source = ResultsFolder.open(estimate_from, "--estimate-from") if estimate_from else results
    estimate = _estimate(plan, source, jobs) if source else None
    seen = None
    if source:
        from medbench.runs_table import read_runs  # loads h5py, and that pandas

        seen = read_runs(source)
    questions = [_question(found, file, seen) for found in decidability_of(file, expansion)]
    values = _values(file, expansion, plan, root, estimate) | {"questions": questions}
    values["running"] = len(running_jobs(results)) if results else 0
    if as_json:
        print_json(values)
    else:
        _say(values, expansion, root)
        for question in questions:
            click.echo(_question_line(question, file.protocol.evaluation.primary))
    return 0


def decidability_of(file: ProtocolFile, expansion: Expansion) -> tuple[Decidability, ...]:
    """Return which questions of a protocol its design can decide."""
    points = (run.axes for run in expansion.runs if run.refinement is None)
    return decidability(points, file.protocol.statistics, expansion.unlearnable)


def _question(found: Decidability, file: ProtocolFile, seen: pd.DataFrame | None) -> dict[str, Any]:
    """Return what a question's design can decide, and which effect it finds."""
    deviation = None
    if found.decidable and seen is not None:
        protocol = file.protocol
        metric = protocol.evaluation.primary
        deviation = pair_deviation(seen, found.question, metric, protocol.statistics)
    return {
        **asdict(found),
        "decidable": found.decidable,
        "smallest_p": found.smallest_p,
        "smallest_effect": found.smallest_effect,
        "pair_deviation": deviation,
        "text": str(found),
        "effect_text": found.effect_line,
    }


def _question_line(question: Mapping[str, Any], metric: str) -> str:
    line = f"Question {question['text']}"
    if question["effect_text"]:
        line += f"\n  {question['effect_text']}"
    if deviation := question["pair_deviation"]:
        line += f", {question['smallest_effect'] * deviation:.3f} of {metric} in these results"
    return line


def _estimate(plan: Plan, source: ResultsFolder, jobs: int) -> dict[str, Any] | None:
    """Return what the plan will cost, or ``None`` if no job was seen yet."""
    costs = costs_seen(source)
    left = count_work([*plan.pretrainings_to_do, *plan.to_do])
    seconds = costs.time_left(left, (), jobs)
    if seconds is None:
        return None
    return {
        "seconds": round(seconds, 1),
        "jobs": jobs,
        "seconds_a_seed": _seconds_a_seed(plan, costs, jobs),
        "bytes": round(costs.total(left)[1]),
        "seen": costs.seen,
        "results": str(source.root),
    }


def _seconds_a_seed(plan: Plan, costs: JobCosts, jobs: int) -> float:
    """Return what one more seed would cost: the mean over those that are planned."""
    steps = {step.key: step for run in plan.runs for step in run.steps}
    seconds, _ = costs.total(count_work([*steps.values(), *plan.runs]))
    return round(seconds / jobs / len({run.axes["seed"] for run in plan.runs}), 1)


def _values(
    file: ProtocolFile, expansion: Expansion, plan: Plan, root: Path, estimate: Any
) -> dict[str, Any]:
    return {
        "protocol": file.protocol.name,
        "grid": {
            axis: len(found)
            for axis in REFINED_AXES
            if (found := {run.axes[axis] for run in plan.runs if axis in run.axes})
        },
        "runs": len(plan.runs),
        "done": sum(run.key in plan.done for run in plan.runs),
        "failed": len(plan.runs_failed),
        "to_do": len(plan.to_do),
        "pretrainings": len(expansion.pretrainings()),
        "pretrainings_to_do": len(plan.pretrainings_to_do),
        "estimate": estimate,
        "not_prepared": dict(expansion.not_prepared),
        "unlearnable": [list(block) for block in expansion.unlearnable],
        "results": str(root),
    }


def _say(values: dict[str, Any], expansion: Expansion, root: Path) -> None:
    words = {"noise": "noise model", "acquisition": "acquisition function"}
    shape = " x ".join(many(n, words.get(axis, axis)) for axis, n in values["grid"].items())
    elsewhere = f", {many(values['running'], 'job')} running now" if values["running"] else ""
    click.echo(f"Protocol {values['protocol']}: {shape}")
    click.echo(
        f"{many(values['runs'], 'run')}: {values['done']} done, {values['failed']} failed, "
        f"{values['to_do']} to do{elsewhere}"
    )
    started = f"{values['pretrainings_to_do']} to do"
    click.echo(f"{many(values['pretrainings'], 'pretraining')} shared by them, {started}")
    click.echo(_expectation(values, values["estimate"]))
    click.echo(f"Results folder: {short_path(root)}")
    for dataset, noise, rate in expansion.unlearnable:
        click.echo(
            f"Unlearnable: {dataset} with {noise} noise at {rate:g} makes another class more "
            "frequent than the true one: a learner that takes labels at face value is misled"
        )
    for message in expansion.not_prepared.values():
        click.echo(f"Not prepared: {message}")


def _expectation(values: dict[str, Any], estimate: dict[str, Any] | None) -> str:
    if not values["to_do"]:
        more = f"; each further seed {clock(estimate['seconds_a_seed'])}" if estimate else ""
        return f"Nothing to do{more}."
    if estimate is None:
        return (
            "Time and disk: no finished run to estimate them from; "
            "--estimate-from FOLDER takes those of another results folder"
        )
    return (
        f"About {clock(estimate['seconds'])} with {estimate['jobs']} at once, and "
        f"{decimal(estimate['bytes'])} of disk, from the {estimate['seen']} runs and pretrainings "
        f"in {short_path(Path(estimate['results']))}; each further seed "
        f"{clock(estimate['seconds_a_seed'])}"
    )
