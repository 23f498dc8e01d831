"""The hooks a plugin package may implement.

A package declares an entry point in the group ``medbench`` that names a module
(or object) holding functions marked with :data:`medbench.hookimpl`::

    [project.entry-points.medbench]
    my-lab = "my_lab.medbench_hooks"

Every registering hook returns :class:`medbench.Plugin` records, which name the
classes without importing them. The built-ins use the same hooks.
"""

# mypy: disable-error-code="empty-body"

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medbench.plugins.markers import Command, Logger, Plugin, hookspec

if TYPE_CHECKING:
    from medbench.interfaces.events import EpochEnded, JobEnded, JobStarted
    from medbench.interfaces.sections import BoardSection
    from medbench.results import Results


@hookspec
def medbench_datasets() -> Iterable[Plugin]:
    """Announce datasets: subclasses of :class:`medbench.interfaces.Dataset`.

    Returns
    -------
    iterable of Plugin
        One record a dataset.
    """


@hookspec
def medbench_noise_models() -> Iterable[Plugin]:
    """Announce noise models: subclasses of :class:`medbench.interfaces.NoiseModel`.

    Returns
    -------
    iterable of Plugin
        One record a noise model.
    """


@hookspec
def medbench_pretexts() -> Iterable[Plugin]:
    """Announce pretexts: subclasses of :class:`medbench.interfaces.Pretext`.

    Returns
    -------
    iterable of Plugin
        One record a pretext.
    """


@hookspec
def medbench_methods() -> Iterable[Plugin]:
    """Announce methods: subclasses of :class:`medbench.interfaces.LNLMethod`.

    Returns
    -------
    iterable of Plugin
        One record a method.
    """


@hookspec
def medbench_backbones() -> Iterable[Plugin]:
    """Announce backbones: subclasses of :class:`medbench.interfaces.Backbone`.

    Returns
    -------
    iterable of Plugin
        One record a backbone.
    """


@hookspec
def medbench_acquisitions() -> Iterable[Plugin]:
    """Announce acquisition functions: subclasses of :class:`medbench.interfaces.Acquisition`.

    Returns
    -------
    iterable of Plugin
        One record an acquisition function.
    """


@hookspec
def medbench_executors() -> Iterable[Plugin]:
    """Announce executors: subclasses of :class:`medbench.interfaces.Executor`.

    Returns
    -------
    iterable of Plugin
        One record an executor.
    """


@hookspec
def medbench_protocols() -> Iterable[Path]:
    """Announce protocol files that a package ships.

    Returns
    -------
    iterable of pathlib.Path
        TOML files; the file's stem is the name for ``--protocol``.
    """


@hookspec
def medbench_commands() -> Iterable[Command]:
    """Announce further commands of the ``medbench`` command line.

    Returns
    -------
    iterable of Command
        Each names a click command by its import path and has the line
        shown by ``medbench --help``, so that help imports nothing.
    """


@hookspec(firstresult=True)
def medbench_build_board(results: Path, out: Path) -> str:
    """Make the board of a results folder; called when ``medbench run`` ends.

    Only medbench's own board is made this way; packages add to it by
    :func:`medbench_board_sections`.

    Parameters
    ----------
    results : pathlib.Path
        The results folder.
    out : pathlib.Path
        Folder for the board's files.

    Returns
    -------
    str
        The ranked table for the terminal, at most 100 columns wide.
    """


@hookspec(firstresult=True)
def medbench_read_board(results: Results) -> Any:
    """Return the board of loaded results, for :meth:`medbench.Results.board`.

    As :func:`medbench_build_board`, for medbench's own board only.

    Parameters
    ----------
    results : Results
        What :func:`medbench.load` returned.

    Returns
    -------
    object
        The board.
    """


@hookspec
def medbench_loggers() -> Iterable[Logger]:
    """Announce callbacks that are chosen with ``medbench run --log NAME``.

    Returns
    -------
    iterable of Logger
        Each names a module whose functions implement ``medbench_job_started``,
        ``medbench_epoch_ended`` or ``medbench_job_ended``.
    """


@hookspec
def medbench_job_started(event: JobStarted) -> None:
    """React to the start of a run or a pretraining.

    This hook and the two below are callbacks. They are called in a process of the
    package's own, one after the other; no run waits for them, and nothing that goes
    wrong in them harms a run. What they print goes to ``logs/callbacks`` in the results
    folder.

    Parameters
    ----------
    event : JobStarted
        The job, its attempt and device.

    Examples
    --------
    >>> @hookimpl
    ... def medbench_job_started(event):
    ...     print(event.label, "starts, attempt", event.attempt)
    """


@hookspec
def medbench_epoch_ended(event: EpochEnded) -> None:
    """React to a finished epoch of a run or a pretraining.

    Parameters
    ----------
    event : EpochEnded
        The job, the epochs done and the number of epochs.

    Examples
    --------
    >>> @hookimpl
    ... def medbench_epoch_ended(event):
    ...     print(f"{event.label}: {event.epoch} of {event.epochs}")
    """


@hookspec
def medbench_job_ended(event: JobEnded) -> None:
    """React to the end of a run or a pretraining, in any state.

    Parameters
    ----------
    event : JobEnded
        The job, its state and the file of its record.

    Examples
    --------
    >>> @hookimpl
    ... def medbench_job_ended(event):
    ...     if event.state == "done" and event.kind == "run":
    ...         readings = read_header(Path(event.record)).summary["readings"]
    ...         print(event.label, readings["last"]["balanced_accuracy"])
    ...     elif event.state != "done":
    ...         print(event.label, event.state, event.reason)
    """


@hookspec
def medbench_board_sections(folders: list[Path]) -> Iterable[BoardSection]:
    """Add sections to the board's page; called in a process of the package's own.

    Parameters
    ----------
    folders : list of pathlib.Path
        The results folders that the board is made from.

    Returns
    -------
    iterable of BoardSection
        Data, which the page escapes and draws. At most ten, within a minute.

    Examples
    --------
    >>> @hookimpl
    ... def medbench_board_sections(folders):
    ...     done = len(ResultsFolder.open(folders[0]).done("runs"))
    ...     table = Table(("what", "count"), (("finished runs", done),))
    ...     return [BoardSection("Counted by my lab", "All records.", (table,))]
    """
