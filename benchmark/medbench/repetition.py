"""Audit by repetition: some runs of a results folder are done again and their digests compared.

The same run key gives the same bits, so a record that is not what its run gives shows
itself when the run is repeated. Which runs are repeated follows from a *beacon*, a number
that the maker of the results could not know.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import comb
from pathlib import Path
from tempfile import TemporaryDirectory

from medbench.canonical import sha256
from medbench.interfaces.dataset import DataContext
from medbench.plugins.local import plugin_files
from medbench.protocol.runs import expand
from medbench.protocol.schema import Protocol
from medbench.protocol.spec import REFINED_AXES
from medbench.results import load
from medbench.running import RunOptions, View, execute, open_protocol
from medbench.store.records import read_header
from medbench.store.results import ResultsFolder

#: Standard deviations over seeds up to which a score from another processor counts as equal.
SPREADS = 3.0


@dataclass(frozen=True)
class Repeated:
    """One run that was drawn.

    Parameters
    ----------
    key, label : str
        The run.
    outcome : {"equal", "differs", "close", "failed", "unknown"}
        ``close``: another processor gave other bits, and a score within :data:`SPREADS`
        standard deviations over seeds. ``unknown``: the protocol gives no run of this key
        here, because a plugin, a dataset or medbench itself has another version.
    detail : str
        One line where it is not equal.
    """

    key: str
    label: str
    outcome: str
    detail: str = ""


def draw(keys: Collection[str], count: int, beacon: str) -> list[str]:
    """Return the keys to repeat: those with the smallest SHA-256 of beacon and key."""
    return sorted(keys, key=lambda key: sha256(f"{beacon}:{key}"))[:count]


def altered_bound(equal: int, total: int, confidence: float = 0.95) -> int:
    """Return the smallest number of altered runs that ``equal`` repetitions rule out.

    With ``m`` altered of ``total`` runs, ``equal`` runs drawn without replacement are all
    unaltered with probability ``C(total - m, equal) / C(total, equal)``; the bound is the
    smallest ``m`` at which this is less than ``1 - confidence``.
    """
    if not equal:
        return total + 1
    least = (1 - confidence) * comb(total, equal)
    return next(m for m in range(total + 2) if comb(max(total - m, 0), equal) < least)


def repeat(
    folder: ResultsFolder,
    count: int,
    beacon: str,
    options: RunOptions,
    view: View,
    *,
    plugins: Sequence[Path] = (),
    pretrainings: bool = False,
) -> list[Repeated]:
    """Repeat runs of a results folder in a temporary one and compare their digests.

    Parameters
    ----------
    folder : ResultsFolder
        The results folder.
    count : int
        Runs to repeat.
    beacon : str
        Decides which.
    options : RunOptions
        How to run; its results folder is not used.
    view : callable
        Shows the progress.
    plugins : sequence of Path
        Plugin files and folders that the protocol needs.
    pretrainings : bool
        Whether the pretrainings are repeated, too; else their weights are taken from the
        folder.

    Returns
    -------
    list of Repeated
        In the order in which they were drawn.

    Raises
    ------
    KeyboardInterrupt
        If it is stopped: nothing can be said of runs that were not repeated.
    """
    planned = {run.key: run for run in folder.plan()}
    drawn = draw(folder.done("runs") & planned.keys(), count, beacon)
    with plugin_files(plugins), TemporaryDirectory(prefix="medbench-repeat-") as scratch:
        opened = open_protocol(folder.protocol_path, plugins)
        whole = expand(opened.file, opened.registry, DataContext(options.cache))
        chosen = replace(whole, runs=tuple(run for run in whole.runs if run.key in drawn))
        again = ResultsFolder.create(Path(scratch) / "results", opened.file.protocol.name)
        if not pretrainings:
            _copy_weights(folder, again, [step.key for step in chosen.pretrainings().values()])
        if chosen.runs:
            here = replace(options, results=again.root)
            if execute(opened.registry, opened.file, chosen, chosen, here, view).signal:
                raise KeyboardInterrupt
        return _compare(folder, again, drawn, opened.file.protocol)


def _copy_weights(folder: ResultsFolder, again: ResultsFolder, keys: Sequence[str]) -> None:
    for key in keys:
        source, target = folder.pretraining_path(key), again.pretraining_path(key)
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _compare(
    folder: ResultsFolder, again: ResultsFolder, drawn: Sequence[str], protocol: Protocol
) -> list[Repeated]:
    metric = protocol.evaluation.primary
    score = f"{protocol.statistics.reading}_{metric}"
    stored = load(folder.root).runs
    by_seed = stored.groupby([axis for axis in REFINED_AXES if axis != "seed"])
    spreads = by_seed[score].transform("std").set_axis(stored["run_key"])
    stored = stored.set_index("run_key")
    here = load(again.root).runs.set_index("run_key") if again.plan_path.exists() else None
    labels = {run.key: run.label for run in folder.plan()}
    found = []
    for key in drawn:
        outcome, detail = "equal", ""
        if here is None or key not in here.index:
            outcome = "unknown"
            detail = "the protocol gives no run of this key here: versions or data differ"
        elif (made := here.loc[key])["status"] != "done":
            outcome, detail = "failed", f"{made['status']}: {made['reason']}"
        elif (made["digest"], made[score]) != tuple(stored.loc[key, ["digest", score]]):
            made_score, told_score = float(str(made[score])), float(str(stored.loc[key, score]))
            spread = float(str(spreads[key]))
            outcome = "differs"
            detail = (
                f"{metric} {made_score:.4f}, stored {told_score:.4f}, standard deviation over "
                f"seeds {spread:.4f}"
            )
            here_on, stored_on = _processor(again, key), _processor(folder, key)
            if here_on != stored_on:
                detail += f"; computed on {here_on}, stored from {stored_on}"
                outcome = "close" if abs(made_score - told_score) <= SPREADS * spread else "differs"
        found.append(Repeated(key, labels[key], outcome, detail))
    return found


def _processor(folder: ResultsFolder, key: str) -> str:
    """Return what computed a run: the model of the GPU, or of the CPU."""
    provenance = read_header(folder.record_path(key)).metadata["provenance"]
    return str(provenance.get("gpu") or provenance.get("cpu"))
