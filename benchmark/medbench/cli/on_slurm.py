"""``medbench run --on slurm``: workers that run the same command are submitted to Slurm."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from medbench.cli.common import clock, print_json, short_path
from medbench.cluster.options import ClusterOptions, cluster_options, read_pairs, read_table
from medbench.cluster.slurm import known_options, largest_array
from medbench.cluster.submission import Submitter, cluster_folder, margin_for
from medbench.data.datasets import Hdf5Dataset
from medbench.folders import user_file
from medbench.interfaces.dataset import DataContext
from medbench.plugins.registry import Registry
from medbench.protocol.read import ProtocolFile
from medbench.protocol.runs import Expansion
from medbench.protocol.spec import REFINED_AXES
from medbench.runner.costs import costs_seen, work_of
from medbench.runner.plan import Plan, PlanItem, check_prepared, describe, make_plan
from medbench.running import RunOptions, open_folder
from medbench.store.attempts import Attempt
from medbench.store.results import ResultsFolder
from medbench.store.states import INTERRUPTED

#: Options of ``medbench run`` that each worker gets as they are, with their names.
_SAME = {
    **{axis: f"--{axis}" for axis in REFINED_AXES},
    "plugins": "--plugin",
    "device": "--device",
    "timeout": "--timeout",
    "memory": "--memory",
    "loggers": "--log",
}


def submit(
    registry: Registry,
    file: ProtocolFile,
    whole: Expansion,
    chosen: Expansion,
    options: RunOptions,
    given: Mapping[str, Any],
    words: Sequence[str],
    *,
    workers: int | None,
    estimate_from: Path | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Submit workers, or print their script; return the exit status.

    Parameters
    ----------
    registry, file, whole, chosen, options
        As for :func:`medbench.running.execute`.
    given : mapping
        The parameters of ``medbench run``, by name.
    words : sequence of str
        Options of the cluster, as ``-o`` takes them.
    workers : int or None
        As ``--workers``.
    estimate_from : pathlib.Path or None
        Results folder that tells how long an epoch takes.
    dry_run : bool
        Whether only the script is printed.
    as_json : bool
        Whether what was submitted is printed as JSON.
    """
    known = known_options()
    values = {**read_table(user_file()), **read_pairs(words)}
    if workers is not None:
        values["workers"] = workers
    check_prepared(chosen)
    exists = (options.results / "medbench.json").exists()
    results = ResultsFolder.open(options.results) if exists else None
    plan = make_plan(chosen, results, retry_failed=options.retry_failed)
    if not plan.to_do:
        click.echo(f"Nothing to do: {len(plan.runs)} runs are done or failed.", err=True)
        if as_json:
            print_json({"jobs": [], "workers": 0, "runs": 0, "results": str(options.results)})
        return 0
    asked = cluster_options(values, known)
    asked = replace(asked, workers=min(asked.workers, len(plan.to_do)))
    jobs = options.jobs or 1
    if not {"cpus-per-task", "cpus-per-gpu"} & asked.sbatch.keys():
        asked = _with(asked, "cpus-per-task", str(jobs * file.protocol.compute.threads))
    if "job-name" not in asked.sbatch:
        asked = _with(asked, "job-name", f"medbench-{file.protocol.name}")
    source = ResultsFolder.open(estimate_from, "--estimate-from") if estimate_from else results
    epoch = longest_epoch(plan, source) if source else None
    submitter = Submitter(
        asked, options.results, options.cache, [*worker_arguments(given), "--jobs", str(jobs)],
        largest_array(), margin_for(asked, epoch),
    )  # fmt: skip
    if dry_run:
        for script in submitter.scripts(submitter.next_number()):
            click.echo(script)
        return 0
    submitter.check()
    results = open_folder(registry, file, whole, chosen, options)[0]
    if options.retry_failed:
        reopen(plan, results)
    files = dataset_files(chosen, registry, options.cache)
    submission, unprobed = submitter.submit(file.text, files)
    if unprobed:
        click.echo(f"No node was checked ({unprobed}); each worker checks its own.", err=True)
    if as_json:
        jobs_of = {"jobs": list(submission.arrays), "workers": asked.workers}
        print_json({**jobs_of, "runs": len(plan.to_do), "results": str(options.results)})
    else:
        _say(submission.arrays, asked, submitter.margin, options.results, len(plan.to_do))
    return 0


def _with(options: ClusterOptions, key: str, value: str) -> ClusterOptions:
    return replace(options, sbatch={**options.sbatch, key: value})


def _say(arrays: Sequence[str], asked: ClusterOptions, margin: int, root: Path, runs: int) -> None:
    cap = f", at most {asked.at_once} at once" if asked.at_once else ""
    click.echo(f"Submitted Slurm job {', '.join(arrays)}: {asked.workers} workers{cap}.")
    click.echo(
        f"{runs} runs to do. Workers stop {clock(margin)} before their time limit and continue "
        f"in a further turn. Logs: {short_path(cluster_folder(root))}",
        err=True,
    )
    watch = shlex.join(["medbench", "status", "--results", str(short_path(root))])
    click.echo(f"Watch: {watch}", err=True)


def worker_arguments(given: Mapping[str, Any]) -> list[str]:
    """Return what each worker's ``medbench run`` gets of the options of this one."""
    words = ["--all"] if not any(given[axis] for axis in REFINED_AXES) else []
    for name, option in _SAME.items():
        value = given[name]
        for each in value if isinstance(value, tuple) else [value]:
            if each is not None:
                text = str(each.absolute()) if isinstance(each, Path) else str(each)
                words += [option, text]
    seconds, epochs = given["interval"]
    every = f"{seconds:g}s" if seconds else f"{epochs} epochs" if epochs else "never"
    return [*words, "--checkpoint-every", every]


def longest_epoch(plan: Plan, source: ResultsFolder) -> float | None:
    """Return the seconds of the longest epoch among what is to do, from costs seen before."""
    costs = costs_seen(source)
    items: list[PlanItem] = [*plan.pretrainings_to_do, *plan.to_do]
    epochs = []
    for item in items:
        about = describe(item)
        seconds, _ = costs.of(work_of(about["kind"], about["axes"]))
        epochs.append(seconds / max(1, item.epochs))
    return max(epochs, default=0.0) or None


def reopen(plan: Plan, results: ResultsFolder) -> None:
    """Let the next command repeat what failed: the last attempt counts as interrupted.

    Workers with --retry-failed would repeat those of other workers, too.
    """
    items: list[PlanItem] = [*plan.pretrainings_to_do, *plan.to_do]
    wanted = {item.key: item for item in items}
    for key, tried in results.attempts().items():
        if key in wanted and tried[-1].failed:
            item = wanted[key]
            number = results.next_attempt(key)
            named = (key, item.label, item.kind, number)
            results.write_attempt(Attempt(*named, INTERRUPTED, "to be repeated: --retry-failed"))


def dataset_files(chosen: Expansion, registry: Registry, cache: Path) -> dict[str, str]:
    """Return the content hash of each file of the cache that some runs read, by its stem.

    Variants may share a file, and steps of a curriculum may have one of their own.
    """
    context = DataContext(cache)
    files: dict[str, str] = {}
    specs = (spec for run in chosen.runs for spec in (run.dataset, *(s.dataset for s in run.steps)))
    for spec in {spec.key: spec for spec in specs}.values():
        dataset = spec.create(registry, "dataset")
        if isinstance(dataset, Hdf5Dataset) and spec.content_hash is not None:
            path = dataset.path(context)
            if path.parent == cache:  # others come with a package
                files[path.stem] = spec.content_hash
    return files
