"""Print what a board decided, and each method's score, memory, detection and cost, as Markdown.

Usage::

    uv run python tools/question_tables.py medbench-results/methods [--question methods ...]

Reads the records of a results folder and the ``tests.csv`` of its board, which
``medbench leaderboard`` makes. Nothing is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from quick_tables import Rows, markdown

import medbench
from medbench.errors import MedbenchError

BASELINE = "cross-entropy"


def main() -> None:
    """Read the folder and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("results", type=Path, help="a results folder whose board has been made")
    parser.add_argument("--question", action="append", help="questions; those declared by default")
    parser.add_argument("--metric", default="macro_auroc", help="column of the scores")
    asked = parser.parse_args()
    try:
        results = medbench.load(asked.results)
        runs = results.runs[results.runs["status"] == "done"]
        curves, detection = results.curves, results.detection
        tests = pd.read_csv(asked.results / "board" / "tests.csv")
    except (MedbenchError, FileNotFoundError) as error:
        raise SystemExit(f"question_tables: {error}; run: medbench leaderboard") from error
    print(f"{len(runs)} of {len(results.runs)} runs")
    print(f"\n### Methods\n\n{markdown(*method_table(runs, curves, detection, asked.metric))}")
    declared = dict.fromkeys(tests.loc[tests["confirmatory"], "question"])
    for question in asked.question or declared:
        print(f"\n### {question}\n")
        print(markdown(*answer_table(tests[tests["question"] == question])))


def method_table(
    runs: pd.DataFrame, curves: pd.DataFrame, detection: pd.DataFrame, metric: str
) -> tuple[Sequence[str], Rows]:
    """Return a row a method: score by set, memorised share, detection, cost next to the baseline's.

    Memorised is the share of wrong labels that are predicted in the last epoch. Detection is the
    AUROC of the method's own score of wrong labels. Means over pretexts and seeds, then sets; cost
    is the ratio of mean seconds.
    """
    last = curves.sort_values("epoch").groupby("run_key")["train_memorised"].last()
    table = runs.set_index("run_key")
    table = table.join(last).join(detection.set_index("run_key")[["auroc", "loss_auroc"]])
    score = f"last_{metric}"
    means = table.groupby(["method", "dataset"], sort=False)[
        [score, "train_memorised", "auroc", "loss_auroc", "seconds"]
    ].mean()
    datasets = list(dict.fromkeys(runs["dataset"]))
    head = ["method", *datasets, "memorised", "detection", "by loss", "cost", "asks"]
    rows = []
    for method in dict.fromkeys(runs["method"]):
        own = means.loc[method]
        cost = (own["seconds"] / means.loc[BASELINE]["seconds"]).mean()
        asks = "yes" if (table.loc[table["method"] == method, "oracle_answers"] > 0).any() else ""
        overall = [own[name].mean() for name in ("train_memorised", "auroc", "loss_auroc")]
        numbers = [*(own.loc[d, score] if d in own.index else float("nan") for d in datasets)]
        numbers += overall
        rows.append([method, *(f"{value:.3f}" for value in numbers), f"{cost:.1f}", asks])
    return head, rows


def answer_table(tests: pd.DataFrame) -> tuple[Sequence[str], Rows]:
    """Return a row a comparison: effect, interval, adjusted p, verdict; largest effect first."""
    rows = []
    tests = tests.astype(object).where(tests.notna(), "")
    for row in tests.sort_values("effect", ascending=False).to_dict("records"):
        sides = [
            " + ".join(filter(None, (row[f"{side}_pretext"], row[f"{side}_method"])))
            for side in ("first", "second")
        ]
        where = ", ".join(
            str(row[axis]) for axis in ("dataset", "noise", "rate") if row[axis] != ""
        )
        interval = "-" if row["low"] == "" else f"{row['low']:+.3f} to {row['high']:+.3f}"
        verdict = {"first": sides[0], "second": sides[1]}.get(row["verdict"], row["verdict"])
        p = row["adjusted_p"]
        shown = "< .0001" if p < 1e-4 else f"{p:.2g}"
        rows.append([*sides, where or "all", f"{row['effect']:+.3f}", interval, shown, verdict])
    return ["first", "second", "on", "difference", "95 %", "adjusted p", "better"], rows


if __name__ == "__main__":
    main()
