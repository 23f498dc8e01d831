"""``medbench run``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from medbench.cli.common import RESULTS, cache_option, json_option, print_json
from medbench.errors import DeviceError, ProtocolError
from medbench.interfaces.dataset import DataContext
from medbench.interfaces.executor import Executor
from medbench.plugins.kinds import KINDS, kind_named
from medbench.plugins.markers import PROJECT
from medbench.plugins.registry import Registry, discover
from medbench.protocol.read import ProtocolFile, find_protocol, read_protocol
from medbench.protocol.runs import Expansion, Filters, expand
from medbench.protocol.shipped import protocol_paths
from medbench.runner.plan import JobMaker, Plan, check_prepared, make_plan, planned
from medbench.store.results import Results

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _filter(name: str, kind: Any = str) -> Callable[[Decorated], Decorated]:
    return click.option(
        f"--{name}", multiple=True, type=kind, help=f"Only this {name}; may be repeated."
    )


@click.command(
    epilog="""\b
Examples:
  medbench run --all                         the protocol `quick`: no download, no GPU
  medbench run --all --protocol my.toml      your own protocol
  medbench run --method dividemix --seed 0   a part of `quick`
  medbench run --all --dry-run               what there is to do
  medbench run --all                         again: goes on where it stopped"""
)
@click.option("--all", "everything", is_flag=True, help="Every run of the protocol.")
@click.option(
    "--protocol", "protocol_name", default="quick", show_default=True, help="A name or a TOML file."
)
@_filter("dataset")
@_filter("noise")
@_filter("rate", float)
@_filter("pretext")
@_filter("method")
@_filter("seed", int)
@click.option(
    "--results",
    "results_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Results folder.  [default: medbench-results/PROTOCOL]",
)
@cache_option
@click.option(
    "--jobs", type=click.IntRange(1), help="Runs at once.  [default: cores / threads a run; GPU: 1]"
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
@click.option("--executor", default="local", show_default=True, help="Where jobs are carried out.")
@click.option("--retry-failed", is_flag=True, help="Do failed runs again.")
@click.option("--dry-run", is_flag=True, help="Only say what there is to do.")
@json_option
def run(
    everything: bool,
    protocol_name: str,
    results_dir: Path | None,
    cache: Path,
    jobs: int | None,
    device: str,
    timeout: float | None,
    executor: str,
    retry_failed: bool,
    dry_run: bool,
    as_json: bool,
    **axes: Sequence[Any],
) -> int:
    """Run a protocol, or a part of it, and make the board.

    What is done already is not done again: rerunning the command goes on where
    it stopped. Exit status: 0 all done, 1 some runs failed, 2 wrong usage.
    """
    if not everything and not any(axes.values()) and not dry_run:
        raise ProtocolError(
            "say --all to run the whole protocol, or choose with --dataset, --noise, --rate, "
            "--pretext, --method, --seed"
        )
    registry = discover()
    file = read_protocol(find_protocol(protocol_name, protocol_paths(registry)))
    context = DataContext(cache.absolute())
    expansion = expand(file, registry, context, Filters(axes))
    root = (results_dir or RESULTS / file.protocol.name).absolute()
    if dry_run:
        return _dry_run(file, expansion, root, retry_failed=retry_failed, as_json=as_json)
    check_prepared(expansion)
    device = resolve_device(device)
    results = Results.create(root, file.protocol.name)
    whole = expansion if not any(axes.values()) else expand(file, registry, context)
    results.write_plan(file.text, [planned(run) for run in whole.runs])
    plan = make_plan(expansion, results, retry_failed=retry_failed)
    slots = jobs or default_jobs(device, file.protocol.compute.threads)
    maker = JobMaker(root, context.cache, device, timeout)
    carrier: Executor = registry.get(kind_named("executor"), executor).load()(
        slots, None, _modules(registry, expansion)
    )
    outcome = _carry_out(plan, maker, carrier)
    return _conclude(registry, plan, outcome, results, as_json=as_json)


def _carry_out(plan: Plan, maker: JobMaker, executor: Executor) -> Any:
    """Do what there is to do; interrupted, end the jobs and say how to go on."""
    from medbench.cli.progress import show_progress
    from medbench.runner.scheduler import Outcome, Scheduler

    if not plan.to_do:
        return Outcome()
    try:
        with show_progress(plan, executor.slots, maker.device) as observer:
            return Scheduler(plan, maker, executor, observer).run()
    except KeyboardInterrupt:
        raise click.exceptions.Abort(
            "stopped; finished runs are kept. The same command goes on from here"
        ) from None
    finally:
        executor.close()


def _conclude(
    registry: Registry, plan: Plan, outcome: Any, results: Results, *, as_json: bool
) -> int:
    """Make the board and say what became of the runs."""
    failed = [key for key in outcome.failed if key in {run.key for run in plan.runs}]
    before = plan.runs_failed
    old = {run.key for run in plan.runs if run.key in plan.done}
    unreadable = [
        state for state in results.states() if state.status == "unreadable" and state.run.key in old
    ]
    counts = {
        "runs": len(plan.runs),
        "done_before": len(old) - len(unreadable),
        "done_now": sum(run.key in set(outcome.done) for run in plan.runs),
        "failed": len(failed) + len(before),
        "skipped": len(outcome.skipped),
        "unreadable": len(unreadable),
        "results": str(results.root),
    }
    board: Path | None = None
    if counts["done_before"] or counts["done_now"]:
        nothing_new = not outcome.done and (results.board / "index.html").exists()
        board = results.board
        if not nothing_new:
            board = registry.manager.hook.medbench_build_board(
                results=results.root, out=results.board
            )
    counts["board"] = str(board) if board else None
    if as_json:
        print_json(counts)
    else:
        _say(registry, counts, board, results, changed=bool(outcome.done))
    for failure in before[:5]:
        click.echo(f"failed before: {failure.label}: {failure.reason}", err=True)
    if before:
        click.echo("failed runs are not repeated; use --retry-failed to do so", err=True)
    for state in unreadable[:5]:
        click.echo(state.reason, err=True)
    return 1 if counts["failed"] or counts["skipped"] or counts["unreadable"] else 0


def _say(
    registry: Registry,
    counts: dict[str, Any],
    board: Path | None,
    results: Results,
    *,
    changed: bool,
) -> None:
    if board is not None and changed:
        table = registry.manager.hook.medbench_show_board(results=results.root)
        if table:
            click.echo(table)
    if not changed and counts["done_before"] == counts["runs"]:
        click.echo(f"Nothing to do: all {counts['runs']} runs are done.", err=True)
    else:
        click.echo(
            f"{counts['done_now']} runs done now, {counts['done_before']} before, "
            f"{counts['failed']} failed, {counts['skipped']} skipped, "
            + (f"{counts['unreadable']} unreadable, " if counts["unreadable"] else "")
            + f"of {counts['runs']}.",
            err=True,
        )
    if board is not None:
        click.echo(f"Board: {_short(board / 'index.html')}", err=True)
        click.echo(f"Table: {_short(board / 'leaderboard.csv')}", err=True)


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _dry_run(
    file: ProtocolFile, expansion: Expansion, root: Path, *, retry_failed: bool, as_json: bool
) -> int:
    exists = (root / "medbench.json").exists()
    results = Results.create(root, file.protocol.name) if exists else None
    plan = make_plan(expansion, results, retry_failed=retry_failed)
    grid = {
        axis: len({run.axes[axis] for run in plan.runs})
        for axis in ("dataset", "noise", "rate", "pretext", "method", "seed")
    }
    counts = {
        "protocol": file.protocol.name,
        "grid": grid,
        "runs": len(plan.runs),
        "done": sum(run.key in plan.done for run in plan.runs),
        "failed": len(plan.runs_failed),
        "to_do": len(plan.to_do),
        "pretrainings": len(expansion.pretrainings()),
        "pretrainings_to_do": len(plan.pretrainings_to_do),
        "not_prepared": dict(expansion.not_prepared),
        "unlearnable": [list(block) for block in expansion.unlearnable],
        "results": str(root),
    }
    if as_json:
        print_json(counts)
        return 0
    shape = " x ".join(f"{count} {axis}{'s' * (count > 1)}" for axis, count in grid.items())
    click.echo(f"Protocol {file.protocol.name}: {shape}")
    click.echo(
        f"{counts['runs']} runs: {counts['done']} done, {counts['failed']} failed, "
        f"{counts['to_do']} to do"
    )
    click.echo(
        f"{counts['pretrainings']} pretrainings shared by them, "
        f"{counts['pretrainings_to_do']} to do"
    )
    click.echo(f"Results folder: {_short(root)}")
    for dataset, noise, rate in expansion.unlearnable:
        click.echo(
            f"Unlearnable: {dataset} with {noise} noise at {rate:g} leaves another class more "
            "frequent than the true one"
        )
    for message in expansion.not_prepared.values():
        click.echo(f"Not prepared: {message}")
    return 0


def default_jobs(device: str, threads: int) -> int:
    """Return how many runs go at once if the user does not say."""
    if device.startswith("cuda"):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // threads)


def resolve_device(device: str) -> str:
    """Turn ``auto`` into a device, and check that a GPU asked for is there.

    torch is imported only where an NVIDIA driver shows itself or a GPU was
    asked for.

    Raises
    ------
    DeviceError
        If the device is unknown or not there.
    """
    if device == "cpu":
        return device
    if device == "auto" and not (
        Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi")
    ):
        return "cpu"
    if device != "auto" and not (
        device == "cuda" or (device.startswith("cuda:") and device[5:].isdigit())
    ):
        raise DeviceError(f"--device {device} is unknown; use auto, cpu, cuda or cuda:N")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if count else "cpu"
    wanted = int(device[5:]) if ":" in device else 0
    if wanted >= count:
        raise DeviceError(
            f"--device {device} was asked for, but torch {torch.__version__} sees {count} GPUs; "
            "use --device cpu, or check the driver with `medbench doctor`"
        )
    return device


def _modules(registry: Registry, expansion: Expansion) -> list[str]:
    """Return the modules of the built-in plugins that the runs use, to load them once.

    Other distributions' modules are loaded in each run's own process: what
    they do at import harms no other run.
    """
    used: set[str] = set()
    for run_ in expansion.runs:
        specs = [
            run_.spec,
            *(s.spec for s in (run_.pretraining.chain() if run_.pretraining else ())),
        ]
        for spec in specs:
            for kind in KINDS:
                named = spec.get(kind.name)
                if isinstance(named, dict):
                    used.add(f"{kind.axis}/{named['plugin']}")
    found = [
        entry.plugin.target.partition(":")[0]
        for (axis, name), entry in registry.entries.items()
        if f"{axis}/{name}" in used and entry.distribution == PROJECT
    ]
    return sorted(set(found))
