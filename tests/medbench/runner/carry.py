"""Carrying a protocol out as `medbench run` does, without the board that it ends with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from medbench.interfaces.dataset import DataContext
from medbench.plugins.registry import discover
from medbench.protocol.read import read_protocol
from medbench.protocol.runs import expand
from medbench.runner.costs import JobCosts
from medbench.runner.job_queue import JobQueue
from medbench.runner.local.executor import LocalExecutor
from medbench.runner.origin import origin, plugin_distributions
from medbench.runner.plan import JobMaker, declaration, make_plan, planned
from medbench.runner.progress import Progress, Summary
from medbench.runner.scheduler import Scheduler
from medbench.runner.slots import DeviceSlots
from medbench.store.locks import Locks
from medbench.store.records import read_record
from medbench.store.registration import register
from medbench.store.results import ResultsFolder


def carry_out(
    file: Path,
    root: Path,
    *,
    jobs: int = 1,
    methods: Sequence[str] = (),
    retry: bool = False,
    **limits: Any,
) -> Summary:
    """Do what there is to do; ``limits`` are the job maker's."""
    protocol = read_protocol(file)
    context = DataContext(root.parent / "cache")
    expansion = expand(protocol, discover(), context, {"method": methods})
    results = ResultsFolder.create(root, protocol.protocol.name)
    whole = expand(protocol, discover(), context)
    results.write_plan(protocol.text, [planned(run) for run in whole.runs])
    versions = plugin_distributions(discover().entries.values())
    declared = declaration(protocol, whole.runs, versions)
    line = register(results.registration_path, declared, len(results.done("runs")))
    plan = make_plan(expansion, results, retry_failed=retry)
    limits = {"timeout": None, "origin": origin(protocol, versions, line), **limits}
    maker = JobMaker(root, context.cache, refined=plan.refined, **limits)
    progress = Progress(plan, results, jobs, JobCosts())
    with Locks(results.locks_folder) as locks, closing(LocalExecutor(jobs)) as executor:
        queue = JobQueue(results, locks, plan.attempts, refined=plan.refined)
        slots = DeviceSlots(("cpu",), jobs)
        Scheduler(plan, maker, executor, queue, slots, progress.apply).run()
    return progress.summary


def digests_of(results: ResultsFolder) -> dict[str, str]:
    """Return the digest of each record by key."""
    paths = (results.root / "runs").glob("*/*.h5")
    return {path.stem: read_record(path).header.digest for path in paths}
