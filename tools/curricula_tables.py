"""Print the tables on curricula of ``docs/results.md`` from a results folder.

Usage::

    uv run python tools/curricula_tables.py [RESULTS]

RESULTS is ``medbench-results/curricular-mini`` by default. The tables are Markdown on stdout;
nothing is written. They are made of the board's own comparisons.
"""

from __future__ import annotations

import argparse
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medbench.results import load
from medbench_leaderboard.attention import read_attended, sentences
from medbench_leaderboard.board import read_board
from medbench_leaderboard.tests_table import tests_table

#: Readings of attention that are shown, each next to its chance levels.
READINGS = ("area", "energy", "random_energy", "occlusion_energy", "inside_right", "outside_right")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "results", nargs="?", type=Path, default=Path("medbench-results/curricular-mini")
    )
    folder = parser.parse_args().results
    board, results = read_board(folder), load(folder)
    done = board.runs[board.runs["status"] == "done"]
    score = f"{board.facts.reading}_{board.facts.primary}"
    print(f"{len(done)} runs. Mean ± deviation over seeds of {score}:\n")
    cells = done.groupby(["pretext", "rate"], sort=False)[score].agg(["mean", "std"])
    rates = sorted(done["rate"].unique())
    table(
        ["pretext", *(f"rate {rate:g}" for rate in rates)],
        (
            [name, *(spread(cells.loc[(name, rate)]) for rate in rates)]
            for name in done["pretext"].unique()
        ),
    )
    tests = tests_table(board.findings.comparisons)
    for question in ("curricula", "orders", "pretraining"):
        asked = tests[tests["question"] == question]
        if len(asked):
            claims = "may be claims" if asked["confirmatory"].any() else "exploratory"
            print(f"\nQuestion `{question}`, {claims}:\n")
            heads = ["first", "second", "difference", "95 %", "adjusted p", "verdict"]
            table(heads, map(comparison, asked.to_dict("records")))
    attended = read_attended(results, board.runs, board.facts)
    if attended is not None:
        means = attended.table[attended.table["images"] == "all"]
        wide = means.pivot(index="pretext", columns="reading", values="mean")
        shown = [name for name in READINGS if name in wide.columns]
        print("\nAttention, means over images, rates and seeds:\n")
        table(
            ["pretext", *shown],
            (
                [name, *(f"{v:.3f}" for v in wide.loc[name, shown])]
                for name in done["pretext"].unique()
            ),
        )
        print("\n" + "\n\n".join(sentences(attended)))


def comparison(row: dict[Hashable, Any]) -> list[str]:
    """Return a comparison's cells."""
    low, high = row["low"], row["high"]
    interval = "-" if pd.isna(low) else f"{low:+.3f} to {high:+.3f}"
    names = [str(row["first_pretext"]), str(row["second_pretext"])]
    return [
        *names,
        f"{row['effect']:+.3f}",
        interval,
        f"{row['adjusted_p']:.3f}",
        str(row["verdict"]),
    ]


def spread(cell: Any) -> str:
    """Return mean and deviation."""
    return f"{cell['mean']:.3f} ± {cell['std']:.3f}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table."""
    for row in (heads, ["---"] * len(heads), *rows):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
