"""Print the tables of ``docs/results.md`` from a results folder.

Usage::

    uv run python tools/quick_tables.py [RESULTS]

RESULTS is a folder that ``medbench run`` filled, ``medbench-results/quick`` by
default. The tables are Markdown on stdout; nothing is written. They are made
of stored records and pretrainings alone and hold for any protocol, not only
for ``quick``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.errors import MedbenchError
from medbench.store.records import Record, read_record
from medbench.store.results import ResultsFolder
from medbench.store.weights import PretrainedWeights, read_weights

Curve = NDArray[np.float64]
Rows = list[list[str]]

#: The pretext that the others are compared with.
BASELINE = "none"


@dataclass(frozen=True)
class Run:
    """What the tables need of a record.

    Parameters
    ----------
    axes : mapping
        dataset, noise, rate, pretext, method, seed.
    readings : mapping of str to float
        The primary metric in each reading.
    curves : mapping of str to ndarray, shape (E,)
        ``test`` (the primary metric), and ``memorised``, ``recovered``,
        ``selection_precision``, ``selection_recall`` where the record has them.
    clean : float
        Share of the training labels that are right.
    chance : float
        Balanced accuracy of guessing.
    """

    axes: Mapping[str, Any]
    readings: Mapping[str, float]
    curves: Mapping[str, Curve]
    clean: float
    chance: float

    @property
    def block(self) -> tuple[str, str, float]:
        """Dataset, noise model and rate."""
        return self.axes["dataset"], self.axes["noise"], self.axes["rate"]


def main() -> None:
    """Read the folder and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "results", type=Path, nargs="?", default=Path("medbench-results/quick"), help="the folder"
    )
    folder = parser.parse_args().results
    try:
        results = ResultsFolder.open(folder)
        planned = results.plan()
        done = [run for run in planned if run.key in results.done("runs")]
        runs = [_run(read_record(results.record_path(run.key))) for run in done]
        keys = dict.fromkeys(run.pretraining for run in done if run.pretraining)
        pretrainings = [read_weights(results.pretraining_path(key)) for key in keys]
    except MedbenchError as error:
        raise SystemExit(f"quick_tables: {error}") from error
    print(f"{len(runs)} of {len(planned)} planned runs, {len(pretrainings)} pretrainings.")
    print(spread(runs))
    tables: list[tuple[str, tuple[Sequence[str], Rows]]] = [
        ("What the pretexts learned", pretext_table(pretrainings)),
        ("Test scores", score_table(runs)),
        ("What cross-entropy memorised", memory_table(runs, "cross-entropy")),
        ("What was selected", selection_table(runs)),
        ("Pretraining against none, by entrant", effect_summary(runs, "method")),
        ("Pretraining against none, by dataset", effect_summary(runs, "dataset")),
        ("Pretraining against none, seed by seed", effect_table(runs)),
    ]
    for title, (head, rows) in tables:
        print(f"\n### {title}\n")
        print(markdown(head, rows) if rows else "Nothing in these records.")


def spread(runs: Sequence[Run]) -> str:
    """Say how far seeds are apart, and how far the worst run is above chance."""
    cells = _grouped(runs, lambda r: (r.block, r.axes["pretext"], r.axes["method"]))
    deviations = [np.std([r.readings["last"] for r in own], ddof=1) for _, own in cells if own[1:]]
    if not deviations:
        return "No entrant has two seeds in a block."
    least = min(run.readings["last"] - run.chance for run in runs)
    return (
        f"Standard deviation over seeds of `last`, by entrant and block: median "
        f"{np.median(deviations):.3f}, largest {max(deviations):.3f}. "
        f"The run nearest to chance is {least:+.3f} from it."
    )


def pretext_table(pretrainings: Sequence[PretrainedWeights]) -> tuple[Sequence[str], Rows]:
    """Return each pretext's own accuracy and loss at its first and last epoch, seed by seed."""
    head = ["dataset", "pretext", "chance", "accuracy", "loss"]
    rows = []
    for (dataset, pretext), own in _grouped(
        pretrainings, lambda w: (w.spec["dataset"]["name"], w.spec["pretext"]["name"])
    ):
        asks = own[0].chance > 0  # others have a loss alone
        rows.append(
            [
                dataset,
                pretext,
                f"{own[0].chance:.3f}" if asks else "-",
                " / ".join(_way(w.accuracy) for w in own) if asks else "-",
                " / ".join(_way(w.loss, 2) for w in own),
            ]
        )
    return head, rows


def score_table(runs: Sequence[Run]) -> tuple[Sequence[str], Rows]:
    """Return the primary metric by block and method: first epoch and all readings."""
    readings = ("last", "selected", "best")
    head = ["dataset", "rate", "method", "chance", "first epoch", *readings, "best - last"]
    rows = []
    for (block, method), own in _grouped(runs, lambda r: (r.block, r.axes["method"])):
        means = [_mean(run.readings[name] for run in own) for name in readings]
        first = _mean(run.curves["test"][0] for run in own)
        numbers = [own[0].chance, first, *means, means[2] - means[0]]
        rows.append([*_where(block), method, *(f"{number:.3f}" for number in numbers)])
    return head, rows


def memory_table(runs: Sequence[Run], method: str) -> tuple[Sequence[str], Rows]:
    """Return the share of wrong labels that a method gives back, first and last epoch."""
    chosen = [run for run in runs if run.axes["method"] == method]
    pretexts = list(dict.fromkeys(run.axes["pretext"] for run in chosen))
    rows = []
    for block, own in _grouped(chosen, lambda r: r.block):
        cells = [
            [run.curves["memorised"] for run in own if run.axes["pretext"] == pretext]
            for pretext in pretexts
        ]
        rows.append([*_where(block), *(_way(np.mean(c, axis=0)) if c else "-" for c in cells)])
    return ["dataset", "rate", *pretexts], rows


def selection_table(runs: Sequence[Run]) -> tuple[Sequence[str], Rows]:
    """Return precision and recall of the selections, and the share of clean labels."""
    head = ["dataset", "rate", "method", "clean labels"]
    head += ["precision", "recall"]
    chosen = [run for run in runs if "selection_precision" in run.curves]
    rows = []
    for (block, method), own in _grouped(chosen, lambda r: (r.block, r.axes["method"])):
        ways = [
            _way(_present(np.array([run.curves[name] for run in own])))
            for name in ("selection_precision", "selection_recall")
        ]
        rows.append([*_where(block), method, f"{_mean(run.clean for run in own):.3f}", *ways])
    return head, rows


def effect_summary(runs: Sequence[Run], axis: str) -> tuple[Sequence[str], Rows]:
    """Return mean difference to the baseline by an axis, and how many pairs are above zero."""
    columns, differences = _values(runs, axis), _differences(runs)
    rows = []
    for pretext in _values(runs, "pretext"):
        if pretext == BASELINE:
            continue
        row = [pretext]
        for column in columns:
            own = [
                value
                for ((dataset, _, _), other, method, _), value in differences.items()
                if other == pretext and column == {"dataset": dataset, "method": method}[axis]
            ]
            better = sum(value > 0 for value in own)
            row.append(f"{_mean(own):+.3f} ({better} of {len(own)})" if own else "-")
        rows.append(row)
    return ["pretext", *columns], rows


def effect_table(runs: Sequence[Run]) -> tuple[Sequence[str], Rows]:
    """Return differences to the baseline in the reading `last`, one number a seed."""
    methods, seeds = _values(runs, "method"), _values(runs, "seed")
    differences = _differences(runs)
    rows = []
    for block, own in _grouped(runs, lambda r: r.block):
        for pretext in _values(own, "pretext"):
            if pretext == BASELINE:
                continue
            cells = []
            for method in methods:
                pairs = [differences.get((block, pretext, method, seed)) for seed in seeds]
                cells.append(" / ".join("-" if d is None else f"{d:+.3f}" for d in pairs))
            rows.append([*_where(block), pretext, *cells])
    return ["dataset", "rate", "pretext", *methods], rows


def markdown(head: Sequence[str], rows: Rows) -> str:
    """Return a table as Markdown, its columns aligned."""
    widths = [max(len(row[i]) for row in [list(head), *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, rows)])


def _run(record: Record) -> Run:
    header, arrays = record.header, record.arrays
    primary = header.spec["evaluation"]["primary"]
    curves = {"test": arrays[f"curves/test/{primary}"]}
    for name in ("memorised", "recovered", "selection_precision", "selection_recall"):
        if (stored := f"curves/train/{name}") in arrays:
            curves[name] = arrays[stored]
    return Run(
        axes=header.axes,
        readings={
            reading: float(values[primary])
            for reading, values in header.summary["readings"].items()
        },
        curves=curves,
        clean=1 - header.summary["noise"]["realised_rate"],
        chance=0.5 if primary == "macro_auroc" else 1 / len(header.summary["classes"]),
    )


def _differences(runs: Sequence[Run]) -> dict[tuple[Any, str, str, int], float]:
    """Return `last` minus that of the baseline with the same block, method and seed."""

    def place(run: Run) -> tuple[Any, str, int]:
        return run.block, run.axes["method"], run.axes["seed"]

    base = {place(run): run.readings["last"] for run in runs if run.axes["pretext"] == BASELINE}
    return {
        (block, run.axes["pretext"], method, seed): run.readings["last"] - base[block, method, seed]
        for run in runs
        for block, method, seed in [place(run)]
        if run.axes["pretext"] != BASELINE and (block, method, seed) in base
    }


def _grouped(items: Iterable[Any], by: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
    """Return items by key, keys in the order of their first appearance."""
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(by(item), []).append(item)
    return list(groups.items())


def _values(runs: Iterable[Run], axis: str) -> list[Any]:
    return list(dict.fromkeys(run.axes[axis] for run in runs))


def _present(curves: NDArray[np.float64]) -> Curve:
    """Return the mean curve over runs, without the epochs in which nothing is reported."""
    reported = curves[:, np.isfinite(curves).all(axis=0)]
    return np.asarray(reported.mean(axis=0))


def _way(curve: NDArray[Any], digits: int = 3) -> str:
    """Return where a curve starts and where it ends."""
    if not len(curve):
        return "-"
    return f"{curve[0]:.{digits}f} → {curve[-1]:.{digits}f}"


def _where(block: tuple[str, str, float]) -> list[str]:
    return [block[0], f"{block[2]:g}"]


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


if __name__ == "__main__":
    main()
