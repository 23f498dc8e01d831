"""The critical-difference diagram: mean ranks, and which entrants are not told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medbench_leaderboard.board import Board
from medbench_leaderboard.figures.chart import Chart, Drawing, Panel, Place
from medbench_leaderboard.figures.looks import Series, pretext_series
from medbench_leaderboard.figures.plot import Plot, nice_ticks, room_for
from medbench_leaderboard.figures.shapes import Line, Mark
from medbench_leaderboard.names import Entrant
from medbench_leaderboard.statistics.findings import Diagram, Ranked
from medbench_leaderboard.words import readable

#: Pixels of a row, and between bars.
_ROW, _BAR = 22.0, 13.0


def critical_differences(board: Board) -> Chart:
    """Draw mean ranks from best to worst with a bar for each set that is not told apart."""
    diagram = board.findings.diagram
    return Chart(
        name="critical-differences",
        title="Critical-difference diagram",
        short="Differences",
        caption=_caption(diagram) if diagram is not None else "",
        panels=[_panel(board, diagram)] if diagram is not None and diagram.entrants else (),
        columns=(
            "pretext", "method", "mean_rank", "interval_low", "interval_high", "rank_low",
            "rank_high", "letters",
        ),
        nothing="No entrant is ranked, so there is nothing to tell apart.",
        size="whole",
    )  # fmt: skip


def _caption(diagram: Diagram) -> str:
    words = (
        "Mean rank over the blocks that count, 1 the best, with its bootstrap interval where there "
        "is one. Each bar on the right joins entrants that are not told apart: dots are its "
        f"members. Two entrants without a bar in common differ ({diagram.test}, level "
        f"{diagram.alpha:.3g})."
    )
    if not diagram.decidable:
        words += (
            " Here no pair could have been told apart, whatever the results: there are too few "
            "blocks and seeds. That all share one bar says so, and does not say that they are "
            "equal."
        )
    return words


def _panel(board: Board, diagram: Diagram) -> Panel:
    ranked, series = diagram.entrants, pretext_series(board)
    labels = [str(entry.entrant) for entry in ranked]
    left = room_for(labels)
    bars = _bars(diagram)
    right = 30 + _BAR * len(bars)
    width, height = left + 340 + right, 46 + _ROW * len(ranked)
    plot = Plot(
        width, height, (0.5, len(ranked) + 0.5), (len(ranked) - 0.5, -0.5), left=left, right=right
    )
    plot.rows([label if len(label) <= 40 else f"{label[:38]}…" for label in labels])
    plot.x_axis(nice_ticks(1, len(ranked), 8, whole=True), "mean rank", grid=True)
    for row, entry in enumerate(ranked):
        own = series.get(entry.entrant.pretext)
        if own is not None:
            _draw_rank(plot, row, entry, own)
    rows_of = {entry.entrant: row for row, entry in enumerate(ranked)}
    for place, members in enumerate(bars):
        x = plot.x.end + 16 + _BAR * place
        at = [plot.y(rows_of[entrant]) for entrant in members]
        plot.shapes.append(Line(((x, min(at)), (x, max(at))), "ink", 2))
        plot.shapes += [Mark(x, y, "o", "ink", 3.4) for y in at]
    where = f"{readable(board.facts.primary)}, {board.facts.reading}"
    return Panel(
        "Mean ranks",
        where,
        Drawing(width, height, plot.shapes),
        _words(diagram, bars),
        [_row(entry) for entry in ranked],
        Place(),
    )


def _draw_rank(plot: Plot, row: int, entry: Ranked, own: Series) -> None:
    interval = entry.mean_rank_interval
    if interval is not None:
        y = plot.y(row)
        low, high = (min(max(v, plot.x.low), plot.x.high) for v in (interval.low, interval.high))
        plot.shapes.append(Line(((plot.x(low), y), (plot.x(high), y)), own.look.colour, 3.2))
    plot.mark(entry.mean_rank, row, own, size=5)


def _bars(diagram: Diagram) -> list[Sequence[Entrant]]:
    """Return the bars with two members or more; a lonely entrant is seen to have none."""
    return [members for members in diagram.bars if len(members) > 1]


def _row(entry: Ranked) -> tuple[Any, ...]:
    interval = entry.mean_rank_interval
    ends = (interval.low, interval.high) if interval is not None else (None, None)
    return (*entry.entrant, entry.mean_rank, *ends, entry.rank_low, entry.rank_high, entry.letters)


def _words(diagram: Diagram, bars: Sequence[Sequence[Entrant]]) -> str:
    order = ", ".join(f"{entry.entrant} {entry.mean_rank:.2f}" for entry in diagram.entrants)
    groups = ". ".join("Not told apart: " + ", ".join(map(str, members)) for members in bars)
    return f"Mean ranks from best to worst: {order}. {groups or 'All pairs are told apart'}."
