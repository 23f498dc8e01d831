"""Cost against score."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from medbench.metrics import LOWER_IS_BETTER
from medbench_leaderboard.board import Board
from medbench_leaderboard.costs import Cost, costs
from medbench_leaderboard.figures.chart import Chart, Drawing, Key, Panel, Place
from medbench_leaderboard.figures.looks import Look, Series, method_series, pretext_series
from medbench_leaderboard.figures.plot import Plot, limits, log_ticks, nice_ticks
from medbench_leaderboard.figures.shapes import Line
from medbench_leaderboard.words import readable


@dataclass(frozen=True)
class _Point:
    cost: Cost
    front: bool


def cost_against_score(board: Board) -> Chart:
    """Draw each entrant's score against the seconds its runs took."""
    metric = readable(board.facts.primary)
    points = _points(board)
    pretexts, methods = pretext_series(board), method_series(board)
    return Chart(
        name="cost",
        title="Cost against score",
        short="Cost",
        caption=f"Mean {metric} over the blocks that count against mean wall seconds of a run with "
        "its pretraining, which several runs may share. Times depend on the machine and on what "
        "else it did. The line joins entrants that no other beats in both.",
        panels=[_panel(points, pretexts, methods, metric)] if points else (),
        columns=("pretext", "method", "seconds", "pretraining_seconds", "mean"),
        legend=[
            *(Key(o.name, Look(o.look.colour, "o"), "mark", o.number) for o in pretexts.values()),
            *(Key(o.name, Look("ink", o.look.symbol), "mark") for o in methods.values()),
        ],
        nothing="No entrant is ranked and has its times kept.",
        axis="pretext",
        size="wide",
    )


def _points(board: Board) -> list[_Point]:
    known = [c for c in costs(board) if c.mean is not None and c.seconds and c.seconds > 0]
    sign = -1 if board.facts.primary in LOWER_IS_BETTER else 1

    def beaten(cost: Cost) -> bool:
        return any(
            other is not cost
            and other.total <= cost.total
            and sign * (other.mean or 0) >= sign * (cost.mean or 0)
            and (other.total, other.mean) != (cost.total, cost.mean)
            for other in known
        )

    return [_Point(cost, not beaten(cost)) for cost in known]


def _panel(
    points: list[_Point], pretexts: dict[str, Series], methods: dict[str, Series], metric: str
) -> Panel:
    seconds = [point.cost.total for point in points]
    means = [float(point.cost.mean or 0) for point in points]
    x = (min(seconds) / 1.25, max(seconds) * 1.25)
    y = limits(means, 0.1) or (0.0, 1.0)
    plot = Plot(470, 300, x, y, log_x=True)
    plot.y_axis(nice_ticks(*y), metric)
    plot.x_axis(log_ticks(*x), "seconds a run (logarithmic)", grid=True)
    front = sorted((p.cost.total, float(p.cost.mean or 0)) for p in points if p.front)
    if len(front) > 1:
        plot.shapes.append(
            Line(tuple((plot.x(s), plot.y(m)) for s, m in front), "muted", 1.2, (2, 3))
        )
    rows: list[tuple[Any, ...]] = []
    for point in points:
        cost = point.cost
        own, method = pretexts[cost.entrant.pretext], methods[cost.entrant.method]
        style = replace(own, look=Look(own.look.colour, method.look.symbol))
        plot.mark(cost.total, float(cost.mean or math.nan), style, size=5)
        rows.append((*cost.entrant, cost.total, cost.pretraining_seconds, cost.mean))
    best = ", ".join(
        f"{p.cost.entrant} ({p.cost.total:.3g} s, {p.cost.mean:.3f})"
        for p in sorted(points, key=lambda p: p.cost.total)
        if p.front
    )
    words = (
        f"{metric} against seconds a run for {len(points)} entrants. Not beaten in both: {best}."
    )
    return Panel(
        "All entrants", "by colour the pretext, by shape the method",
        Drawing(plot.width, plot.height, plot.shapes, None), words, rows, Place(),
    )  # fmt: skip
