"""The heat map: every entrant in every block."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from medbench.metrics import LOWER_IS_BETTER
from medbench_leaderboard.board import Board
from medbench_leaderboard.figures.chart import Chart, Drawing, Panel, Place
from medbench_leaderboard.figures.plot import room_for
from medbench_leaderboard.figures.shapes import Area, Shape, Text, box
from medbench_leaderboard.ranking import heat
from medbench_leaderboard.table import BLOCK, ENTRANT
from medbench_leaderboard.words import readable

#: Rows and columns beyond which the rest is left out, and said to be.
_MOST_ROWS, _MOST_COLUMNS = 60, 24

_CELL_WIDTH, _CELL_HEIGHT, _TURN = 58.0, 23.0, -32.0


def heat_map(board: Board) -> Chart:
    """Draw the mean of each entrant in each block, shaded from the block's worst to its best."""
    facts = board.facts
    metric = readable(facts.primary)
    return Chart(
        name="heat-map",
        title="Heat map",
        short="Heat map",
        caption=f"{metric[0].upper()}{metric[1:]} by the reading {facts.reading}, mean over "
        "seeds. Shades run from the worst (pale) to the best (dark) of each column. Entrants in "
        "the order of their mean rank; * marks cells that miss a seed, † unlearnable blocks.",
        panels=[_panel(board, metric)] if board.counts["done"] else (),
        columns=("pretext", "method", "dataset", "noise", "rate", "mean"),
        nothing="No run is done yet.",
        left_out=max(0, len(board.blocks) - _MOST_COLUMNS),
        size="whole",
    )


def _panel(board: Board, metric: str) -> Panel:
    facts, cells = board.facts, board.cells
    chosen = cells[(cells["reading"] == facts.reading) & (cells["metric"] == facts.primary)]
    chosen = chosen.set_index(ENTRANT + BLOCK)
    entrants = [standing.entrant for standing in board.standings[facts.reading]][:_MOST_ROWS]
    states = board.blocks[:_MOST_COLUMNS]
    keys = [[(*entrant, *state.block) for state in states] for entrant in entrants]
    mean, seeds, planned = (chosen[name].to_dict() for name in ("mean", "seeds", "planned"))
    values = np.array([[mean.get(key, math.nan) for key in row] for row in keys])
    shade = heat(values, lower=facts.primary in LOWER_IS_BETTER)

    labels = [str(entrant) for entrant in entrants]
    left = room_for(labels)
    names = [f"{s.block}{' †' if s.learnable is False else ''}" for s in states]
    names = [name if len(name) <= 34 else f"…{name[-33:]}" for name in names]
    slope = math.sin(math.radians(-_TURN))
    top = 18 + slope * 5.9 * max(map(len, names))
    width = left + _CELL_WIDTH * len(states) + 5.2 * max(map(len, names)) * 0.85
    height = top + _CELL_HEIGHT * len(entrants) + 4
    shapes: list[Shape] = [
        Text(left + _CELL_WIDTH * (column + 0.4), top - 8, name, "ink", 11, turn=_TURN)
        for column, name in enumerate(names)
    ]
    for row, label in enumerate(labels):
        y = top + _CELL_HEIGHT * row
        short = label if len(label) <= 40 else f"{label[:38]}…"
        shapes.append(Text(left - 8, y + 15.5, short, "ink", 11, "end"))
        for column, key in enumerate(keys[row]):
            x = left + _CELL_WIDTH * column
            value = values[row, column]
            if math.isfinite(value):
                corners = box(x + 1, y + 1, _CELL_WIDTH - 2, _CELL_HEIGHT - 2)
                shapes.append(Area(corners, "heat", 0.04 + 0.5 * float(shade[row, column])))
            star = "*" if 0 < seeds.get(key, 0) < planned.get(key, 0) else ""
            text = f"{value:.3f}{star}" if math.isfinite(value) else "–"
            shapes.append(Text(x + _CELL_WIDTH / 2, y + 15.5, text, "ink", 11, "middle"))
    rows: list[tuple[Any, ...]] = [
        (*key, float(values[r, c])) for r, row in enumerate(keys) for c, key in enumerate(row)
    ]
    said = "; ".join(
        f"{name}: best {labels[best]} with {values[best, column]:.3f}"
        for column, name in enumerate(names)
        for best in [int(np.argmax(np.where(np.isfinite(values[:, column]), shade[:, column], -1)))]
        if math.isfinite(values[best, column])
    )
    words = f"{metric} of {len(entrants)} entrants in {len(states)} blocks. {said}."
    return Panel(
        "All entrants in all blocks", metric, Drawing(width, height, shapes), words, rows, Place()
    )
