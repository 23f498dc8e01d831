"""``medbench run``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from medbench.cli.common import (
    FOLDER,
    axis_options,
    cache_option,
    change_options,
    json_option,
    print_json,
    protocol_option,
)
from medbench.cli.interval import Interval
from medbench.cli.run_end import NOTHING_DONE, conclude
from medbench.cli.run_plan import show_plan
from medbench.cluster.options import read_pairs
from medbench.cluster.script import LEFT
from medbench.errors import ClusterError, ProtocolError, StoreError
from medbench.folders import RESULTS
from medbench.interfaces.dataset import DataContext
from medbench.plain import many, plain
from medbench.plugins.local import plugin_files
from medbench.protocol.runs import Expansion, expand
from medbench.protocol.spec import REFINED_AXES
from medbench.runner.local.stopping import STOP_SECONDS
from medbench.runner.plan import failed_part
from medbench.running import RunOptions, execute, open_protocol, words_of
from medbench.store.results import PlannedRun, ResultsFolder

#: What ``--on`` calls workers that Slurm starts; all else are executors.
SLURM = "slurm"


@click.command(
    epilog="""\b
Examples:
  medbench run --all                         the protocol `quick`: no download, no GPU
  medbench run --all --protocol my.toml      your own protocol
  medbench run --method dividemix --seed 0   a part of `quick`
  medbench run --all --dry-run               what there is to do
  medbench run --all                         again: continues where it stopped
  medbench run --only-failed                 once the cause is fixed
  medbench run --all --on slurm --workers 8 -o partition=gpu
  medbench run --all --plugin mine.py        your method next to those of `quick`
  medbench run --all --add mine --set mine.alpha=0.3"""
)
@click.option("--all", "everything", is_flag=True, help="Every run of the protocol.")
@protocol_option
@change_options
@axis_options(*REFINED_AXES)
@click.option(
    "--results",
    "results_dir",
    type=FOLDER,
    help="Results folder.  [default: medbench-results/PROTOCOL]",
)
@cache_option
@click.option(
    "--jobs", type=click.IntRange(1), help="Runs at once.  [default: cores / threads, or one a GPU]"
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
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
@click.option(
    "--on",
    "executor",
    default="local",
    show_default=True,
    help="Where jobs run: local, slurm, ray or another of `medbench list executors`.",
)
@click.option("--workers", type=click.IntRange(1), help="With --on slurm: workers.  [default: 8]")
@click.option(
    "-o",
    "cluster",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of sbatch, or a setting of what --on names; may be repeated.",
)
@click.option("--address", help="With --on ray: of the cluster; the same as -o address=.")
@click.option(
    "--stop-within",
    "stop_seconds",
    type=click.FloatRange(min=1),
    default=STOP_SECONDS,
    show_default=True,
    help="Seconds that runs have, once stopped, to end their epoch.",
)
@click.option(
    "--idle",
    "idle_seconds",
    type=click.FloatRange(min=1),
    default=math.inf,
    help="Seconds to wait for runs of other commands, with nothing else to do.",
)
@click.option("--retry-failed", is_flag=True, help="Also repeat failed runs.")
@click.option("--only-failed", is_flag=True, help="Repeat failed runs, and nothing else.")
@click.option(
    "--dry-run", is_flag=True, help="Only show what there is to do and what it will cost."
)
@click.option(
    "--estimate-from",
    type=FOLDER,
    help="Results folder to estimate time, disk and the effects that are found from.  "
    "[default: this protocol's own]",
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
    memory: float | None,
    executor: str,
    workers: int | None,
    cluster: Sequence[str],
    address: str | None,
    retry_failed: bool,
    only_failed: bool,
    dry_run: bool,
    estimate_from: Path | None,
    as_json: bool,
    **others: Any,
) -> int:
    """Run a protocol, or a part of it, and make the board.

    Finished runs are not repeated: the same command continues where it stopped.
    Exit status: 0 all done, 1 some runs failed, 2 wrong usage, 3 other commands
    are still running some (--idle), 128 plus the signal's number if stopped by one.

    Ctrl-C or SIGTERM: runs save a checkpoint within 10 seconds. Ctrl-C again: end now.
    """
    axes = {axis: others.pop(axis) for axis in REFINED_AXES}
    if not (everything or any(axes.values()) or dry_run or only_failed):
        raise ProtocolError(
            "give --all to run the whole protocol, or choose with --dataset, --noise, --rate, "
            "--pretext, --method, --seed"
        )
    click.get_current_context().with_resource(plugin_files(plugins))
    words = [*cluster, f"address={address}"] if address else list(cluster)
    if executor == SLURM and only_failed:
        raise ClusterError("--only-failed cannot be combined with --on slurm; use --retry-failed")
    if executor != SLURM and workers is not None:
        raise ClusterError("--workers needs --on slurm; elsewhere --jobs says how many run at once")
    if estimate_from is not None and not dry_run and executor != SLURM:
        raise ProtocolError("--estimate-from needs --dry-run, or --on slurm")
    context = DataContext(cache.absolute())
    opened = open_protocol(protocol_name, plugins, additions, settings, context)
    registry, file = opened.registry, opened.file
    for fault in opened.left_out:
        click.echo(f"left out: {plain(fault.distribution)}: {fault.reason}", err=True)
    for word in opened.joining:
        click.echo(f"{word} joins the grid of {file.protocol.name}", err=True)
    asked = expand(file, registry, context, axes)
    root = (results_dir or RESULTS / file.protocol.name).absolute()
    chosen = failed_part(asked, ResultsFolder.open(root)) if only_failed else asked
    if only_failed and not chosen.runs:
        click.echo("No run has failed.", err=True)
        if as_json:
            print_json({**NOTHING_DONE, "results": str(root), "board": None})
        return 0
    options = RunOptions(
        root,
        context.cache,
        memory=round(memory * 2**30) if memory else None,
        executor=executor,
        executor_settings=read_pairs(words),
        retry_failed=retry_failed or only_failed,
        words=words_of(protocol_name, plugins, additions, settings, context.cache),
        **others,
    )
    if dry_run and executor != SLURM:
        return show_plan(file, chosen, options, estimate_from, as_json=as_json)
    whole = asked if not any(axes.values()) else expand(file, registry, context)
    if executor == SLURM:
        from medbench.cli.on_slurm import submit

        given = click.get_current_context().params
        return submit(
            registry, file, whole, chosen, options, given, words,
            workers=workers, estimate_from=estimate_from, dry_run=dry_run, as_json=as_json,
        )  # fmt: skip
    _say_leaving(root, file.protocol.name, whole)
    from medbench.cli.progress import progress_view

    try:
        ended = execute(registry, file, whole, chosen, options, progress_view)
    except KeyboardInterrupt:
        raise StoppedCommand(f"ended at once; finished runs and earlier {_KEPT}", 130) from None
    if ended.signal:
        raise StoppedCommand(f"stopped; finished runs and {_KEPT}", 128 + ended.signal)
    if ended.left:
        raise StoppedCommand("only runs of other commands are left, which continue", LEFT)
    return conclude(registry, ended.plan, ended.summary, ended.results, as_json=as_json)


_KEPT = "checkpoints are kept. The same command continues from here"


class StoppedCommand(click.exceptions.Abort):
    """The command ended before all runs have; ``status`` is its exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def _say_leaving(root: Path, name: str, whole: Expansion) -> None:
    """Say which finished runs are no longer planned: an option was left out, perhaps."""
    leaving: list[PlannedRun] = []
    with suppress(StoreError):  # there is no folder, or no plan that can be read
        results, planned = ResultsFolder.open(root), {run.key for run in whole.runs}
        if results.protocol_name == name:
            done = results.done("runs")
            leaving = [run for run in results.plan() if run.key in done - planned]
    if leaving:
        runs = f"{many(len(leaving), 'finished run')}, such as {leaving[0].label}"
        click.echo(
            f"no longer planned: {runs}; to keep them, give --plugin, --add and --set as before",
            err=True,
        )
