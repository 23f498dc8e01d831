"""``medbench run``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from medbench.cli.common import (
    RESULTS,
    add_option,
    axis_option,
    cache_option,
    discover_with,
    json_option,
    plugin_option,
    protocol_option,
    set_option,
)
from medbench.cli.interval import Interval
from medbench.cli.run_end import conclude
from medbench.cli.run_plan import show_plan
from medbench.cli.run_stop import StoppedCommand, StopSignals
from medbench.errors import ProtocolError
from medbench.interfaces.dataset import DataContext
from medbench.interfaces.events import Event
from medbench.interfaces.executor import Executor
from medbench.plain import plain
from medbench.plugins.callbacks import Callback, Callbacks, callbacks_of
from medbench.plugins.kinds import kind_named
from medbench.protocol.changes import Changes, changed, unlisted
from medbench.protocol.read import find_protocol, read_protocol
from medbench.protocol.runs import Filters, expand
from medbench.protocol.shipped import protocol_paths
from medbench.runner.job_queue import JobQueue, clean_up
from medbench.runner.machine import default_jobs, devices_of, resolve_device
from medbench.runner.modules import built_in_modules
from medbench.runner.origin import origin, plugin_distributions
from medbench.runner.plan import (
    JobMaker,
    Plan,
    check_prepared,
    declaration,
    failed_part,
    make_plan,
    planned,
)
from medbench.runner.progress import Summary
from medbench.runner.scheduler import Scheduler
from medbench.runner.slots import DeviceSlots
from medbench.store.locks import Locks
from medbench.store.registration import register
from medbench.store.results import Results


@click.command(
    epilog="""\b
Examples:
  medbench run --all                         the protocol `quick`: no download, no GPU
  medbench run --all --protocol my.toml      your own protocol
  medbench run --method dividemix --seed 0   a part of `quick`
  medbench run --all --dry-run               what there is to do
  medbench run --all                         again: continues where it stopped
  medbench run --only-failed                 once the cause is fixed
  medbench run --all --plugin mine.py        your method next to those of `quick`
  medbench run --all --add mine --set mine.alpha=0.3"""
)
@click.option("--all", "everything", is_flag=True, help="Every run of the protocol.")
@protocol_option
@plugin_option
@add_option
@set_option
@axis_option("dataset")
@axis_option("noise")
@axis_option("rate", float)
@axis_option("pretext")
@axis_option("method")
@axis_option("seed", int)
@click.option(
    "--results",
    "results_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Results folder.  [default: medbench-results/PROTOCOL]",
)
@cache_option
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Runs at once.  [default: cores / threads, or one a GPU]",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda or cuda:N.",
)
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds a run may take."
)
@click.option(
    "--memory",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GIB",
    help="Memory that a run may use, with all its processes, in GiB.",
)
@click.option(
    "--checkpoint-every",
    "interval",
    type=Interval(),
    default="1m",
    show_default=True,
    help="How often to save a checkpoint: 30s, 5m, 1h, '10 epochs' or never.",
)
@click.option(
    "--log",
    "loggers",
    multiple=True,
    metavar="NAME",
    help="Log to tensorboard, mlflow or another of `medbench list loggers`.",
)
@click.option("--executor", default="local", show_default=True, help="Where jobs run.")
@click.option("--retry-failed", is_flag=True, help="Also repeat failed runs.")
@click.option("--only-failed", is_flag=True, help="Repeat failed runs, and nothing else.")
@click.option(
    "--dry-run", is_flag=True, help="Only show what there is to do and what it will cost."
)
@click.option(
    "--estimate-from",
    type=click.Path(path_type=Path, file_okay=False),
    help="Results folder to estimate time and disk from.  [default: this protocol's own]",
)
@json_option
def run(
    everything: bool,
    protocol_name: str,
    plugins: Sequence[Path],
    additions: Sequence[str],
    settings: Sequence[str],
    results_dir: Path | None,
    cache: Path,
    jobs: int | None,
    device: str,
    timeout: float | None,
    memory: float | None,
    interval: tuple[float | None, int | None],
    loggers: tuple[str, ...],
    executor: str,
    retry_failed: bool,
    only_failed: bool,
    dry_run: bool,
    estimate_from: Path | None,
    as_json: bool,
    **axes: Sequence[Any],
) -> int:
    """Run a protocol, or a part of it, and make the board.

    Finished runs are not repeated: the same command continues where it stopped.
    Exit status: 0 all done, 1 some runs failed, 2 wrong usage, 128 plus the
    signal's number if stopped by one.

    Ctrl-C or SIGTERM: runs save a checkpoint within 10 seconds. Again: end now.
    """
    if not (everything or any(axes.values()) or dry_run or only_failed):
        raise ProtocolError(
            "give --all to run the whole protocol, or choose with --dataset, --noise, --rate, "
            "--pretext, --method, --seed"
        )
    registry = discover_with(plugins)
    file = read_protocol(find_protocol(protocol_name, protocol_paths(registry)))
    if any("*" in (g.datasets, g.noise, g.pretexts, g.methods) for g in file.protocol.grid):
        # "*" means every plugin that loads: classes are imported, and broken ones left out
        registry = discover_with(plugins, thorough=True)
        for fault in registry.broken:
            click.echo(f"left out: {plain(fault.distribution)}: {fault.reason}", err=True)
    joining = unlisted(file.protocol, registry, plugins)
    file = changed(file, Changes([*joining, *additions], settings), registry)
    for word in joining:
        click.echo(f"{word} joins the grid of {file.protocol.name}", err=True)
    context = DataContext(cache.absolute())
    expansion = expand(file, registry, context, Filters(axes))
    root = (results_dir or RESULTS / file.protocol.name).absolute()
    chosen = failed_part(expansion, Results.open(root)) if only_failed else expansion
    retry_failed = retry_failed or only_failed
    if only_failed and not chosen.runs:
        click.echo("No run has failed.", err=True)
        return 0
    if dry_run:
        return show_plan(
            file,
            chosen,
            root,
            retry_failed=retry_failed,
            jobs=jobs or default_jobs([device], file.protocol.compute.threads),
            estimate_from=estimate_from,
            as_json=as_json,
        )

    check_prepared(expansion)
    callbacks = callbacks_of(registry, loggers)
    device = resolve_device(device)
    results = Results.create(root, file.protocol.name)
    whole = expansion if not any(axes.values()) else expand(file, registry, context)
    results.write_plan(file.text, [planned(run) for run in whole.runs])
    versions = plugin_distributions(registry.entries.values())
    finished = len(results.done("runs"))
    declared = declaration(file, whole.runs, versions)
    registration = register(results.registration_path, declared, finished)
    plan = make_plan(chosen, results, retry_failed=retry_failed)
    clean_up(results)

    devices = devices_of(device)
    slots = DeviceSlots(devices, jobs or default_jobs(devices, file.protocol.compute.threads))
    maker = JobMaker(
        root,
        context.cache,
        timeout,
        *interval,
        memory=round(memory * 2**30) if memory else None,
        origin=origin(file, versions, registration),
    )
    chosen_executor = registry.get(kind_named("executor"), executor).load()
    loaded = chosen_executor(slots.jobs, None, built_in_modules(registry, expansion))
    summary = _execute(plan, maker, loaded, slots, callbacks)
    return conclude(registry, plan, summary, results, as_json=as_json)


def _execute(
    plan: Plan,
    maker: JobMaker,
    executor: Executor,
    slots: DeviceSlots,
    callbacks: Sequence[Callback],
) -> Summary:
    """Run what there is to do; if interrupted, end the jobs and say how to continue."""
    if not plan.to_do:
        return Summary()
    from medbench.cli.progress import progress_view
    from medbench.runner.costs import costs_seen
    from medbench.runner.progress import Progress

    results = Results(maker.results)
    progress = Progress(plan, results, slots.jobs, costs_seen(results))
    click.echo(
        f"{len(plan.to_do)} runs and {len(plan.pretrainings_to_do)} pretrainings to do, "
        f"{slots.jobs} at once on {slots}",
        err=True,
    )
    try:
        # locks are released last, when all jobs have ended
        with (
            Locks(results.locks_folder) as locks,
            closing(executor),
            Callbacks(callbacks, results.root / "logs" / "callbacks") as running_callbacks,
            progress_view(progress) as show,
        ):

            def emit(event: Event) -> None:
                progress.apply(event)
                show(event)
                running_callbacks.tell(event)

            queue = JobQueue(results, locks, plan.attempts, progress.running)
            scheduler = Scheduler(plan, maker, executor, queue, slots, emit)
            with StopSignals(scheduler.stop) as signals:
                scheduler.run()
    except KeyboardInterrupt:
        raise StoppedCommand(
            "ended at once; finished runs and earlier checkpoints are kept. "
            "The same command continues from here",
            status=130,
        ) from None
    finally:
        results.pixels.drop()
    if signals.received:
        raise StoppedCommand(
            "stopped; finished runs are kept, and checkpoints of the others. "
            "The same command continues from here",
            status=128 + signals.received,
        )
    return progress.summary
