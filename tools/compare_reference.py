"""Compare our DivideMix and Co-teaching with their reference repositories.

Usage::

    uv run medbench run --all --protocol tools/protocols/reference.toml
    uv run python tools/compare_reference.py medbench-results/reference \
        --dividemix CHECKOUT --co-teaching CHECKOUT

The first command makes our side: records. The second runs the reference code on
the same images, noisy labels and initial networks as each record
(``reference_code.py`` and
``reference_runs.py`` say how), keeps what it gave in
``medbench-results/reference-theirs.jsonl`` and prints the table of
``docs/fidelity.md``. What is in that file is not run again; without checkouts the
table is printed from it. The checkouts are of
https://github.com/LiJunnan1992/DivideMix and https://github.com/bhanML/Co-teaching.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import reference_runs
from numpy.typing import NDArray
from quick_tables import markdown
from redrawn import redrawn
from reference_code import CO_TEACHING_COMMIT, DIVIDEMIX_COMMIT, commit_of
from scipy import stats

from medbench.engine.device import prepare_process
from medbench.engine.oracle import CountedOracle
from medbench.engine.training import TrainingHarness, TrainingInput
from medbench.errors import MedbenchError
from medbench.interfaces.backbone import Backbone
from medbench.interfaces.dataset import DataContext
from medbench.plugins.registry import Registry, discover
from medbench.store.records import Record, read_record
from medbench.store.results import ResultsFolder

#: The protocol's `last`: the mean of so many last epochs.
LAST = 5


def main() -> None:
    """Run what is missing of the reference code, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("results", type=Path, help="our records")
    parser.add_argument("--dividemix", type=Path, help="checkout of DivideMix")
    parser.add_argument("--co-teaching", type=Path, help="checkout of Co-teaching")
    parser.add_argument("--cache", type=Path, default=Path("medbench-cache"), help="of datasets")
    asked = parser.parse_args()
    kept = asked.results.with_name(asked.results.name + "-theirs.jsonl")
    runners: dict[str, tuple[Path | None, str, Callable[..., reference_runs.Outcome]]] = {
        "dividemix": (
            asked.dividemix,
            DIVIDEMIX_COMMIT,
            reference_runs.run_dividemix,
        ),
        "co-teaching": (
            asked.co_teaching,
            CO_TEACHING_COMMIT,
            reference_runs.run_co_teaching,
        ),
    }
    try:
        ours = records_of(asked.results)
    except MedbenchError as error:
        raise SystemExit(f"compare_reference: {error}") from error
    theirs = _kept(kept)
    registry = discover()
    for record in ours:
        method, digest = record.header.axes["method"], record.header.digest
        checkout, expected, run = runners.get(method, (None, "", None))
        if digest in theirs or checkout is None:
            continue
        commit = commit_of(checkout)
        if commit != expected:
            print(f"note: {checkout} is at {commit}; this was written for {expected}")
        started = time.monotonic()
        _, given, _ = drawn(record, registry, DataContext(asked.cache))
        outcome = run(checkout.resolve(), given)
        theirs[digest] = {**asdict(outcome), "commit": commit}
        with kept.open("a") as file:
            file.write(json.dumps({"digest": digest, **theirs[digest]}) + "\n")
        seconds = time.monotonic() - started
        print(f"{method}, seed {record.header.axes['seed']}: {seconds:.0f} s", flush=True)
    pairs = [
        (record, theirs[record.header.digest]) for record in ours if record.header.digest in theirs
    ]
    if not pairs:
        raise SystemExit(
            "compare_reference: nothing to compare yet; give --dividemix and --co-teaching"
        )
    print(markdown(*accuracy_table(pairs)), end="\n\n")
    print(markdown(*curve_table(pairs)))


def accuracy_table(pairs: Sequence[tuple[Record, Any]]) -> tuple[Sequence[str], list[list[str]]]:
    """Return accuracies by method and reading, the difference and its interval."""
    head = ["dataset", "method", "seeds", "reading", "ours", "theirs", "ours - theirs", "95 %"]
    rows = []
    for (dataset, method), own in _groups(pairs):
        for reading, read in (("last", _last), ("best", np.max)):
            here = np.array([float(read(_accuracy(record))) for record, _ in own])
            there = np.array([float(read(np.array(kept["accuracy"]))) for _, kept in own])
            gap, low, high = paired_interval(here, there)
            rows.append(
                [
                    *(dataset, method, str(len(own)), reading),
                    *(f"{np.mean(v):.3f} ± {np.std(v, ddof=1):.3f}" for v in (here, there)),
                    f"{gap:+.3f}",
                    f"{low:+.3f} to {high:+.3f}",
                ]
            )
    return head, rows


def curve_table(pairs: Sequence[tuple[Record, Any]]) -> tuple[Sequence[str], list[list[str]]]:
    """Return both sides' mean accuracy and selection precision along the epochs."""
    epochs = len(_accuracy(pairs[0][0]))
    shown = sorted({0, epochs // 6, epochs // 3 - 1, epochs // 3, epochs // 2 - 1, epochs // 2})
    shown += [3 * epochs // 4, epochs - 1]
    head = ["method", "what", *(f"epoch {epoch + 1}" for epoch in shown)]
    rows = []
    for (_, method), own in _groups(pairs):
        chosen = [record.arrays["curves/train/selection_precision"] for record, _ in own]
        curves = {
            "accuracy, ours": np.array([_accuracy(record) for record, _ in own]),
            "accuracy, theirs": np.array([kept["accuracy"] for _, kept in own]),
            "precision, ours": np.array(chosen),
            "precision, theirs": np.array([kept["precision"] for _, kept in own], dtype=float),
        }
        for what, curve in curves.items():
            means = curve.mean(axis=0)[shown]
            rows.append([method, what, *("-" if np.isnan(v) else f"{v:.3f}" for v in means)])
    return head, rows


def paired_interval(
    here: NDArray[np.float64], there: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return the mean difference and Student's 95 % interval over seeds.

    Pairs share images, labels and initial weights, so their difference is taken
    seed by seed.
    """
    gaps = here - there
    half = float(stats.t.ppf(0.975, len(gaps) - 1) * stats.sem(gaps))
    return float(gaps.mean()), float(gaps.mean() - half), float(gaps.mean() + half)


def drawn(
    record: Record, registry: Registry, context: DataContext
) -> tuple[TrainingInput, reference_runs.Given, Backbone]:
    """Draw a record's images, labels and networks again, for us and for them.

    Raises
    ------
    SystemExit
        If the noisy labels are not those of the record.
    """
    try:
        spec, images, noise, given = redrawn(record, registry, context)
    except MedbenchError as error:
        raise SystemExit(f"compare_reference: {error}") from error
    backbone: Backbone = spec.backbone.create(registry, "backbone")
    ours = replace(given, training_seed=0)
    device = prepare_process(spec.compute, "cpu")
    harness = TrainingHarness(ours, backbone, CountedOracle(spec.rate, None, noise.train), device)
    theirs = reference_runs.Given(
        train_images=ours.train_images,
        test_images=ours.test_images,
        noisy=noise.train,
        clean=images.train.labels,
        test_labels=images.test.labels,
        classes=ours.num_classes,
        epochs=spec.training.epochs,
        batch_size=spec.training.batch_size,
        rate=spec.rate,
        seed=spec.seed,
        augmentation=spec.training.augmentation,
        settings=dict(spec.method.settings),
        make_network=harness.make_network,
    )
    return ours, theirs, backbone


def records_of(folder: Path) -> list[Record]:
    """Return all records of a results folder."""
    results = ResultsFolder.open(folder)
    done = [run.key for run in results.plan() if run.key in results.done("runs")]
    return [read_record(results.record_path(key)) for key in done]


def _kept(file: Path) -> dict[str, dict[str, Any]]:
    if not file.exists():
        return {}
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return {line.pop("digest"): line for line in lines}


def _groups(pairs: Sequence[tuple[Record, Any]]) -> list[tuple[tuple[str, str], list[Any]]]:
    groups: dict[tuple[str, str], list[Any]] = {}
    for record, kept in pairs:
        axes = record.header.axes
        groups.setdefault((axes["dataset"], axes["method"]), []).append((record, kept))
    return list(groups.items())


def _accuracy(record: Record) -> NDArray[np.float64]:
    return record.arrays["curves/test/accuracy"]


def _last(curve: NDArray[np.float64]) -> float:
    return float(curve[-LAST:].mean())


if __name__ == "__main__":
    main()
