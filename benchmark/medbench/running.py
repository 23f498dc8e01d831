"""Running a protocol: what the command ``medbench run`` and :func:`medbench.run` share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit

from medbench.errors import ProtocolError
from medbench.folders import RESULTS, default_cache
from medbench.interfaces.dataset import DataContext
from medbench.interfaces.events import Event, GridStarted
from medbench.plugins.callbacks import Callbacks, callbacks_of
from medbench.plugins.cells import file_of
from medbench.plugins.kinds import kind_named
from medbench.plugins.local import plugin_files
from medbench.plugins.manifest import Fault
from medbench.plugins.prepared import prepared_names
from medbench.plugins.registry import Registry, discover
from medbench.protocol.changes import changed, unlisted
from medbench.protocol.read import ProtocolFile, checked, parse_protocol, protocol_named
from medbench.protocol.runs import Expansion, expand
from medbench.protocol.schema import Protocol
from medbench.protocol.spec import REFINED_AXES
from medbench.results import Results, load
from medbench.runner.held_out import check_held_out
from medbench.runner.job_queue import JobQueue, clean_up
from medbench.runner.local.stopping import STOP_SECONDS
from medbench.runner.modules import built_in_modules
from medbench.runner.origin import origin, plugin_distributions
from medbench.runner.plan import JobMaker, Plan, check_prepared, declaration, make_plan, planned
from medbench.runner.progress import Progress, Summary
from medbench.runner.scheduler import Scheduler
from medbench.runner.slots import DeviceSlots
from medbench.runner.stop_signals import StopSignals
from medbench.store.locks import Locks
from medbench.store.registration import register
from medbench.store.results import ResultsFolder

#: Shows the progress of a grid: gives what is to be called on each event.
View = Callable[[Progress], AbstractContextManager[Callable[[Event], None]]]


@dataclass(frozen=True)
class RunOptions:
    """How runs are executed; nothing here changes their results.

    Parameters
    ----------
    results : Path
        The results folder.
    cache : Path
        Where prepared datasets are.
    jobs : int, optional
        Jobs at once; by default cores / threads, or one a GPU.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    timeout : float, optional
        Seconds that a run may take.
    memory : int, optional
        Bytes that a run may use, with all its processes.
    interval : tuple
        Seconds and epochs between checkpoints; ``None`` for no limit of that kind.
    executor : str
        Name of the executor.
    executor_settings : mapping
        Its settings, as strings.
    loggers : sequence of str
        Names of loggers.
    retry_failed : bool
        Whether failed runs are repeated.
    stop_seconds : float
        Seconds that jobs have, once asked to stop, to end their epoch.
    idle_seconds : float
        Seconds to wait for jobs of other commands, with nothing else to do.
    words : sequence of str
        Options of ``medbench run --all`` that start the same runs: see :func:`words_of`.
    """

    results: Path
    cache: Path
    jobs: int | None = None
    device: str = "auto"
    timeout: float | None = None
    memory: int | None = None
    interval: tuple[float | None, int | None] = (60.0, None)
    executor: str = "local"
    executor_settings: Mapping[str, str] = field(default_factory=dict)
    loggers: Sequence[str] = ()
    retry_failed: bool = False
    stop_seconds: float = STOP_SECONDS
    idle_seconds: float = math.inf
    words: Sequence[str] = ()


@dataclass(frozen=True)
class Opened:
    """A protocol that is ready to be expanded.

    Parameters
    ----------
    registry : Registry
        The plugins.
    file : ProtocolFile
        The protocol with changes made.
    joining : list of str
        What plugin files add to its grid.
    left_out : list of Fault
        Broken plugins that its ``"*"`` leaves out.
    """

    registry: Registry
    file: ProtocolFile
    joining: list[str]
    left_out: list[Fault]


@dataclass(frozen=True)
class Execution:
    """What came of runs: the plan, what became of it, and the signal that stopped it, or 0.

    ``left`` says whether other commands are still running jobs.
    """

    plan: Plan
    results: ResultsFolder
    summary: Summary
    signal: int = 0
    left: bool = False


def run(
    protocol: str | Path | Protocol = "quick",
    *,
    results: str | Path | None = None,
    plugins: Sequence[str | Path | type[Any]] = (),
    add: Sequence[str] = (),
    settings: Sequence[str] = (),
    jobs: int | None = None,
    device: str = "auto",
    executor: str = "local",
    log: Sequence[str] = (),
    retry_failed: bool = False,
    cache: str | Path | None = None,
    progress: bool = True,
    **axes: Any,
) -> Results:
    """Run a protocol, or a part of it; runs that are finished are not repeated.

    Failed runs raise nothing: see the column ``status`` of the returned ``.runs``.

    Parameters
    ----------
    protocol : str, path or Protocol
        Name of a protocol (``medbench list protocols``), a TOML file, or a protocol.
    results : path, optional
        Results folder; by default ``medbench-results/PROTOCOL``.
    plugins : sequence of path or class
        Files or folders with plugins, or classes, also of a notebook's cell that imports what
        they use; those that the protocol does not name join its grid.
    add, settings : sequence of str
        Changes to the protocol, as ``--add`` and ``--set`` of the command take them.
    jobs, device, executor, retry_failed
        As in :class:`RunOptions`.
    log : sequence of str
        Names of loggers.
    cache : path, optional
        Where prepared datasets are.
    progress : bool
        Whether progress is shown on stderr.
    **axes
        ``dataset``, ``noise``, ``rate``, ``pretext``, ``method``, ``seed`` or
        ``acquisition``: a value, or a list of values, to keep.

    Returns
    -------
    Results
        The results folder, as :func:`medbench.load` opens it.

    Raises
    ------
    MedbenchError
        If the protocol, a plugin or a dataset is not as it should be.
    KeyboardInterrupt
        If the run is interrupted; finished runs and checkpoints are kept.
    """
    if unknown := axes.keys() - set(REFINED_AXES):
        raise TypeError(f"run() got {sorted(unknown)}; the axes are {', '.join(REFINED_AXES)}")
    if jobs is not None and (not isinstance(jobs, int) or jobs < 1):
        raise ProtocolError(f"jobs={jobs!r}: give a whole number from 1 on, or None")
    values = {axis: _listed(value) for axis, value in axes.items()}
    if empty := [axis for axis, listed in values.items() if not listed]:
        raise ProtocolError(f"{empty[0]}=[] chooses nothing; leave {empty[0]} out for all of them")
    plugins, add, settings, log = map(_listed, (plugins, add, settings, log))
    cells = (Path(results).parent if results else RESULTS) / "cells"
    paths = [file_of(p, cells) if isinstance(p, type) else Path(p) for p in plugins]
    with plugin_files(paths):
        context = DataContext(Path(cache or default_cache()).absolute())
        opened = open_protocol(protocol, paths, add, settings, context)
        registry, file = opened.registry, opened.file
        folder = Path(results) if results else RESULTS / file.protocol.name
        options = RunOptions(
            folder.absolute(), context.cache, jobs, device,
            executor=executor, loggers=log, retry_failed=retry_failed,
            words=words_of(protocol, paths, add, settings, context.cache),
        )  # fmt: skip
        whole = expand(file, registry, context)
        chosen = expand(file, registry, context, values)
        from medbench.cli.progress import progress_view

        view = progress_view if progress else _hidden
        if execute(registry, file, whole, chosen, options, view).signal:
            raise KeyboardInterrupt
    return load(folder)


def words_of(
    protocol: str | Path | Protocol,
    plugins: Sequence[Path],
    additions: Sequence[str],
    settings: Sequence[str],
    cache: Path,
) -> list[str]:
    """Return the options of ``medbench run --all`` that start the same runs again.

    Paths are absolute. Without ``--protocol`` where it is an object: the results folder's
    ``protocol.toml`` says the same.
    """
    words: list[str] = []
    if not isinstance(protocol, Protocol):
        path = Path(protocol)
        words += ["--protocol", str(path.absolute() if path.is_file() else protocol)]
        words += [word for each in additions for word in ("--add", each)]
        words += [word for each in settings for word in ("--set", each)]
    words += [word for each in plugins for word in ("--plugin", str(each.absolute()))]
    return words if cache == default_cache().absolute() else [*words, "--cache", str(cache)]


def open_protocol(
    protocol: str | Path | Protocol,
    plugins: Sequence[Path] = (),
    additions: Sequence[str] = (),
    settings: Sequence[str] = (),
    context: DataContext | None = None,
) -> Opened:
    """Find plugins and a protocol, and change it as asked.

    Datasets that the user prepared can be added where ``context`` says where they are.

    Raises
    ------
    ProtocolError, PluginError
        If the protocol or a plugin file is not as it should be.
    """
    registry = discover(required=plugins)
    if isinstance(protocol, Protocol):
        # the file that says the same
        path = Path(f"{protocol.name}.toml")
        text = tomlkit.dumps(
            protocol.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        )
        file = ProtocolFile(path, text, parse_protocol(text, path.name))
    else:
        file = protocol_named(str(protocol), registry)
    everything = any("*" in grid.model_dump().values() for grid in file.protocol.grid)
    if everything:
        # "*" means every plugin that loads: classes are imported, and broken ones left out
        registry = discover(thorough=True, required=plugins)
    joining = unlisted(file.protocol, registry, plugins)
    prepared = prepared_names(registry, context) if context else ()
    file = changed(file, registry, [*joining, *additions], settings, prepared)
    return Opened(registry, file, joining, registry.broken if everything else [])


def execute(
    registry: Registry,
    file: ProtocolFile,
    whole: Expansion,
    chosen: Expansion,
    options: RunOptions,
    view: View,
) -> Execution:
    """Run what a results folder lacks of the chosen runs.

    Parameters
    ----------
    registry : Registry
        The plugins.
    file : ProtocolFile
        The protocol.
    whole, chosen : Expansion
        All its runs, which are registered and planned, and those to run.
    options : RunOptions
        How.
    view : callable
        Shows the progress.

    Raises
    ------
    MedbenchError
        If a dataset is not prepared, or the folder belongs to another protocol.
    KeyboardInterrupt
        At Ctrl-C after a first signal: jobs are ended at once.
    """
    check_prepared(chosen)
    callbacks = callbacks_of(registry, tuple(options.loggers))
    entry = registry.get(kind_named("executor"), options.executor)
    executor_class = entry.load()
    settings = checked(executor_class.Settings, dict(options.executor_settings), entry.who)
    threads = file.protocol.compute.threads
    devices, jobs = executor_class.places(settings, options.device, options.jobs, threads)
    results, line = open_folder(registry, file, whole, chosen, options)
    plan = make_plan(chosen, results, retry_failed=options.retry_failed)
    clean_up(results)
    if not plan.to_do:
        results.pixels.drop()
        return Execution(plan, results, Summary())

    from medbench.runner.costs import costs_seen

    # first, since it loads torch in another process
    executor = executor_class(jobs, settings, built_in_modules(registry, chosen))
    slots = DeviceSlots(devices, jobs)
    maker = JobMaker(
        results.root, options.cache, options.timeout, *options.interval,
        memory=options.memory, refined=plan.refined,
        origin=origin(file, plugin_distributions(registry.entries.values()), line),
    )  # fmt: skip
    costs = costs_seen(results)
    progress = Progress(plan, results, jobs, costs)
    try:
        # locks are released last, when all jobs have ended
        with (
            Locks(results.locks_folder) as locks,
            closing(executor),
            Callbacks(callbacks, results.root / "logs" / "callbacks") as told,
            view(progress) as show,
        ):

            def emit(event: Event) -> None:
                progress.apply(event)
                show(event)
                told.tell(event)

            emit(GridStarted(len(plan.to_do), len(plan.pretrainings_to_do), jobs, tuple(devices)))
            queue = JobQueue(results, locks, plan.attempts, progress.running, plan.refined)
            given = (plan, maker, executor, queue, slots, emit, options.stop_seconds)
            scheduler = Scheduler(*given, costs, options.idle_seconds)
            with StopSignals(scheduler.stop) as signals:
                scheduler.run()
    finally:
        results.pixels.drop()
    return Execution(plan, results, progress.summary, signals.received, scheduler.left)


def open_folder(
    registry: Registry,
    file: ProtocolFile,
    whole: Expansion,
    chosen: Expansion,
    options: RunOptions,
) -> tuple[ResultsFolder, str]:
    """Open or create the results folder, write its plan and register what is declared.

    Returns
    -------
    Results
        The folder.
    str
        Hash of the line of its registration.

    Raises
    ------
    StoreError
        If the folder belongs to another protocol or cannot be written.
    """
    results = ResultsFolder.create(options.results, file.protocol.name)
    results.write_plan(file.text, [planned(run) for run in whole.runs])
    results.write_words(options.words)
    check_held_out(chosen.runs, registry, DataContext(options.cache), results.pixels)
    declared = declaration(file, whole.runs, plugin_distributions(registry.entries.values()))
    return results, register(results.registration_path, declared, len(results.done("runs")))


def _listed(value: Any) -> list[Any]:
    single = isinstance(value, str) or not isinstance(value, Iterable)
    return [value] if single else list(value)


def _hidden(progress: Progress) -> AbstractContextManager[Callable[[Event], None]]:
    return nullcontext(lambda event: None)
