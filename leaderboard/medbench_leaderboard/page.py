"""The board's page: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medbench import results
from medbench.interfaces.dataset import LABELS_AS_GIVEN, label_words
from medbench.metrics import READINGS
from medbench.store.states import DONE, OPEN, RUNNING, STATES
from medbench_leaderboard import costs, declared, detection, table, tests_table
from medbench_leaderboard.attention import Attended, sentences
from medbench_leaderboard.board import Board
from medbench_leaderboard.confirmed import Confirmed
from medbench_leaderboard.contributed import Section
from medbench_leaderboard.drawing import Drawn
from medbench_leaderboard.entrants import MOST_RUNS, EntrantFacts
from medbench_leaderboard.figures import Chart
from medbench_leaderboard.figures.render import page_script
from medbench_leaderboard.label_noise import BlockNoise, datasets_as_given
from medbench_leaderboard.names import run_label
from medbench_leaderboard.pool_tables import pools_table
from medbench_leaderboard.ranking import Ranking, foreign_weights, open_ranks
from medbench_leaderboard.statistics.findings import Comparison
from medbench_leaderboard.words import (
    ADVICE_NOTE,
    READING_WORDS,
    coverage,
    leaders,
    leading,
    readable,
)

#: Columns of the table of raw runs; the files have more.
_RUN_COLUMNS = (*results.AXES, "status", *(f"{r}_" for r in READINGS), "oracle_answers", "seconds")

#: Parts of the script, in the order in which they run.
_SCRIPTS = ("page", "ranking", "figures", "tables", "filters")

#: Rows of long tables beyond which the page refers to the files.
_MOST_COMPARISONS, _MOST_SHOWN_RUNS = 600, 2000


@dataclass(frozen=True)
class Reason:
    """A reason why runs are missing, and which."""

    status: str
    reason: str
    labels: tuple[str, ...]


def render_page(
    board: Board,
    charts: Sequence[Chart],
    drawn: Mapping[str, Drawn],
    entrants: Sequence[EntrantFacts],
    unreadable_curves: Mapping[str, str],
    sections: Sequence[tuple[Section, Sequence[Chart]]] = (),
    confirmed: Confirmed | None = None,
    block_noise: Sequence[BlockNoise] = (),
    bought: Chart | None = None,
    attended: Attended | None = None,
) -> str:
    """Return the page as HTML.

    Everything that comes from records, plugins or data passes through the
    template's escaping; only the drawings, whose texts Vega escapes,
    and our own style and script do not.

    Parameters
    ----------
    board : Board
        What to show.
    charts : sequence of Chart
        Its figures.
    drawn : mapping of str to Drawn
        Each chart that has rows, by its name.
    entrants : sequence of EntrantFacts
        What each entrant is made of.
    unreadable_curves : mapping of str to str
        Keys whose curves cannot be read, and why.
    sections : sequence of (Section, sequence of Chart)
        What packages add, with its figures.
    confirmed : Confirmed, optional
        Explored and confirmed results, for a confirmation.
    block_noise : sequence of BlockNoise
        Estimated noise of blocks whose labels are as given.
    bought : Chart, optional
        The figure of active refinement.
    attended : Attended, optional
        Where entrants look.
    """
    findings, ranking = board.findings, Ranking(board)
    own = "".join(_asset(f"script/{name}.js") for name in _SCRIPTS)
    script = f"(() => {{{page_script()}}})();\n{own}"
    differences, *others, cost = charts
    shown = [*charts, *(chart for _, added in sections for chart in added)]
    shown += [bought] if bought else []
    return (
        _environment()
        .get_template("page.html")
        .render(
            board=board,
            changes=[
                (declared.when(change), len(change.runs)) for change in board.declared.changes
            ],
            contributed=sections,
            confirmed=confirmed,
            confirmed_rows=_confirmed_rows(confirmed),
            facts=board.facts,
            metric=readable(board.facts.primary),
            glance=_glance(board),
            coverage=coverage(board),
            leaders=leaders(board),
            leading={reading: leading(board, reading) for reading in READINGS},
            reading_words=READING_WORDS,
            advice_note=ADVICE_NOTE,
            counts=_counts(board),
            ranking=ranking.rows(),
            intervals=open_ranks(board),
            board_data=ranking.to_json(),
            chart_data={chart.name: chart.page_data() for chart in shown if chart.name in drawn},
            drawn={name: Markup(one.page) for name, one in drawn.items()},
            differences_chart=differences,
            charts=others,
            pool_rows=_pool_rows(board),
            foreign=foreign_weights(board),
            cost_chart=cost,
            cost_rows=_records(board.costs),
            cost_measures={n: w for n, w in costs.MEASURES.items() if board.costs[n].notna().any()},
            detection=board.detection,
            detection_rows=_detection_rows(board),
            detection_metrics=detection.METRICS,
            attended=attended,
            attended_sentences=sentences(attended) if attended else [],
            refinement=board.refinement,
            refinement_chart=bought,
            refinement_rows=_refinement_rows(board),
            comparisons=findings.comparisons[:_MOST_COMPARISONS],
            advice=sorted(findings.advice, key=lambda one: one.dataset is not None),
            entrants=entrants,
            raw=len(board.runs) <= MOST_RUNS,
            reasons=_reasons(board.runs),
            unreadable_curves=dict(sorted(unreadable_curves.items())),
            runs=_runs(board),
            run_columns=(*(name.removesuffix("_") for name in _RUN_COLUMNS), "digest"),
            oracle=list(dict.fromkeys(board.runs.query("oracle_answers > 0")["method"])),
            devices=sorted(set(board.runs["device"]) - {""}),
            hours=float(board.runs["seconds"].sum()) / 3600,
            cards=dict(sorted(board.cards.items())),
            block_noise=block_noise,
            as_given=datasets_as_given(board.cards),
            labels_as_given=LABELS_AS_GIVEN,
            files={
                "leaderboard.csv": ("entrant by block by reading by metric", table.COLUMNS),
                "runs.csv": ("one row a run", results.COLUMNS),
                "costs.csv": ("what entrants cost", costs.COLUMNS),
                "declared.csv": ("what was declared after results existed", declared.COLUMNS),
                "tests.csv": ("every comparison", tests_table.COLUMNS),
            },
            style=Markup(_asset("style.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medbench_leaderboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters |= {
        "number": _number,
        "signed": _signed,
        "p_value": _p_value,
        "words": readable,
        "verdict": _verdict,
        "reading": _reading,
        "labels": label_words,
        "share": _share,
    }
    return environment


def _asset(name: str) -> str:
    return (files("medbench_leaderboard") / "templates" / name).read_text(encoding="utf-8")


def _number(value: float | None, digits: int = 3) -> str:
    """Return a number for people; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _share(value: float) -> str:
    """Return a share in per cent; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.1%}"


def _signed(value: float | None, digits: int = 3) -> str:
    """Return a difference with its sign, a true minus."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:+.{digits}f}".replace("-", "−")


def _p_value(value: float | None) -> str:
    """Return a p as papers print it."""
    if value is None or math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _verdict(comparison: Comparison) -> str:
    is_ = "has the greater slope" if comparison.question == "pretraining-trend" else "better"
    match comparison.verdict:
        case "first":
            return f"{comparison.first} {is_}"
        case "second":
            return f"{comparison.second} {is_}"
        case "undecidable":
            needed = comparison.needed
            return "cannot be decided" + (
                f"; at least {needed} pairs are necessary" if needed else ""
            )
        case _:
            return "not separated"


def _reading(name: str) -> str:
    """Return a reading as the papers write it."""
    return name if name == "selected" else name.upper()


def _confirmed_rows(confirmed: Confirmed | None) -> list[dict[str, Any]]:
    """Return the comparisons over all blocks, as the page shows them."""
    if confirmed is None or confirmed.table is None:
        return []
    table = confirmed.table[confirmed.table["dataset"].isna()]
    rows = _records(table)
    for row in rows:
        sides = [
            " + ".join(
                name
                for name in (row[f"{side}_pretext"], row[f"{side}_method"])
                if isinstance(name, str)
            )
            for side in ("first", "second")
        ]
        row["label"] = f"{sides[0]} against {sides[1]}"
    return rows


def _glance(board: Board) -> list[tuple[str, str]]:
    """Return how much there is, as numbers with their nouns."""
    entrants, seeds = len(board.standings[board.facts.reading]), board.runs["seed"].nunique()
    counts = (entrants, "entrant"), (len(board.blocks), "block"), (seeds, "seed")
    found = [(f"{number:,}", noun + "s" * (number != 1)) for number, noun in counts]
    return [*found, (f"{board.counts['done']:,}/{len(board.runs):,}", "runs done")]


def _counts(board: Board) -> list[tuple[str, int]]:
    """Return runs by status, in the order of the bar on the page."""
    return [(status, board.counts[status]) for status in STATES if board.counts[status]]


def _reasons(runs: pd.DataFrame) -> list[Reason]:
    """Group what went wrong by its reason, most frequent first."""
    wrong = runs[~runs["status"].isin([DONE, RUNNING, *OPEN])]
    found = [
        Reason(str(status), str(reason), tuple(map(run_label, part.to_dict("records"))))
        for (status, reason), part in wrong.groupby(["status", "reason"], sort=True)
    ]
    return sorted(found, key=lambda reason: -len(reason.labels))


def _detection_rows(board: Board) -> list[dict[str, Any]]:
    """Return detection by entrant and block, as far as the page shows it."""
    if board.detection is None:
        return []
    return _records(board.detection.cells[:_MOST_SHOWN_RUNS])


def _refinement_rows(board: Board) -> list[dict[str, Any]]:
    """Return the table of refinements at equal budget, as far as the page shows it."""
    if board.refinement is None:
        return []
    return _records(board.refinement.ends[:_MOST_SHOWN_RUNS])


def _pool_rows(board: Board) -> dict[str, list[dict[str, Any]]]:
    """Return the ranking of each pool, with the places among all entrants."""
    places = {(*s.entrant,): s.place for s in board.standings[board.facts.reading]}
    found: dict[str, list[dict[str, Any]]] = {}
    for row in _records(pools_table(board.pools)):
        row["among_all"] = places[row["pretext"], row["method"]]
        found.setdefault(row["pool"], []).append(row)
    return found


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _runs(board: Board) -> list[dict[str, Any]]:
    """Return the columns of the runs that the page shows."""
    names = [name + board.facts.primary if name.endswith("_") else name for name in _RUN_COLUMNS]
    short = [name.removesuffix("_") for name in _RUN_COLUMNS]
    shown = board.runs[:_MOST_SHOWN_RUNS][[*names, "digest"]]
    return _records(shown.set_axis([*short, "digest"], axis="columns"))
