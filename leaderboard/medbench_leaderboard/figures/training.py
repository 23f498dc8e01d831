"""How training went: learning curves, and the loss of pretraining."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from medbench_leaderboard.board import Board
from medbench_leaderboard.curves import Curve, Curves
from medbench_leaderboard.figures.chart import MOST_PANELS, Chart, Key, Panel, Place
from medbench_leaderboard.figures.epochs import COLUMNS, Curved, Level, epoch_panel, finished
from medbench_leaderboard.figures.looks import pretext_series, series_of
from medbench_leaderboard.figures.plot import limits
from medbench_leaderboard.names import Block
from medbench_leaderboard.table import BLOCK, grouped
from medbench_leaderboard.words import readable


def learning(board: Board, curves: Curves) -> Chart:
    """Draw the score on the test set by epoch: a panel a block and method, a line a pretext."""
    metric, series = readable(board.facts.primary), pretext_series(board)
    done = finished(board)
    chances = {state.block: state.chance for state in board.blocks}
    spans = {
        dataset: _span(curves.named("test", part["run_key"]))
        for (dataset,), part in grouped(done, ["dataset"])
    }
    groups = grouped(done, [*BLOCK, "method"])
    panels: list[Panel] = []
    for (dataset, noise, rate, method), part in groups[:MOST_PANELS]:
        block = Block(dataset, noise, rate)
        lines = [
            Curved(str(pretext), curves.named("test", own["run_key"]), series[pretext])
            for (pretext,), own in grouped(part, ["pretext"])
        ]
        chance = chances[block]
        panels += epoch_panel(
            (str(method), str(block)),
            metric,
            lines,
            place=Place(*block, method=str(method)),
            level=None if chance is None else Level(chance, "level of chance"),
            span=spans[dataset],
        )
    return Chart(
        name="learning",
        title="Learning curves",
        short="Learning",
        caption=f"{metric[0].upper()}{metric[1:]} on the clean test set after each epoch, mean "
        "over seeds. A curve that rises and falls again has begun to memorise wrong labels. "
        "Panels of a dataset share one scale; dotted is chance.",
        panels=panels,
        columns=COLUMNS,
        legend=[Key(own.name, own.look, series=own.number) for own in series.values()],
        nothing="No finished run holds a learning curve.",
        axis="pretext",
        left_out=max(0, len(groups) - MOST_PANELS) if panels else 0,
    )


def pretraining(board: Board, curves: Curves) -> Chart:
    """Draw the loss of each pretext: a panel a pretext, a line a dataset."""
    done = finished(board)
    series = series_of([str(name) for name in dict.fromkeys(board.runs["dataset"])])
    groups = grouped(done[done["pretraining"] != ""], ["pretext"])
    panels: list[Panel] = []
    for (pretext,), part in groups[:MOST_PANELS]:
        lines = [
            Curved(str(dataset), _losses(curves, own["pretraining"]), series[dataset], band=True)
            for (dataset,), own in grouped(part, ["dataset"])
        ]
        panels += epoch_panel(
            (str(pretext), "loss by dataset"), "loss", lines,
            place=Place(pretext=str(pretext)), digits=2, small=True,
        )  # fmt: skip
    return Chart(
        name="pretraining",
        title="Pretraining",
        short="Pretraining",
        caption="Loss of each pretext on its own questions, mean over seeds with a band of one "
        "standard deviation. Losses of different pretexts are not on one scale.",
        panels=panels,
        columns=COLUMNS,
        legend=[Key(own.name, own.look, series=own.number) for own in series.values()],
        nothing="No pretraining is at hand.",
        axis="dataset",
        left_out=max(0, len(groups) - MOST_PANELS) if panels else 0,
        size="small",
    )


def _span(found: list[Curve]) -> tuple[float, float] | None:
    """Return one scale for all curves, so that panels can be compared."""
    return limits(np.concatenate(found), 0.05) if found else None


def _losses(curves: Curves, keys: Iterable[str]) -> list[Curve]:
    """Return the loss of each pretraining once, however many runs started from it."""
    found = (curves.pretrainings.get(key) for key in dict.fromkeys(keys))
    return [curve for curve in found if curve is not None]
