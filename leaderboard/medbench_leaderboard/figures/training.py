"""How training went: learning curves, and the loss of pretraining."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from medbench_leaderboard.board import Board
from medbench_leaderboard.curves import Curve, Curves
from medbench_leaderboard.figures.canvas import MOST_PANELS, Chart, Look, Panel
from medbench_leaderboard.figures.epochs import Level, Line, epoch_panel, finished
from medbench_leaderboard.figures.looks import dataset_looks, legend, pretext_looks
from medbench_leaderboard.names import Block
from medbench_leaderboard.table import BLOCK, grouped
from medbench_leaderboard.words import readable


def learning(board: Board, curves: Curves) -> Chart:
    """Draw the score on the test set by epoch: a panel a block and method, a line a pretext."""
    metric, looks = readable(board.facts.primary), pretext_looks(board)
    done = finished(board)
    chances = {state.block: state.chance for state in board.blocks}
    limits = {
        dataset: _limits(curves.named("test", part["run_key"]))
        for (dataset,), part in grouped(done, ["dataset"])
    }
    groups = grouped(done, [*BLOCK, "method"])
    panels: list[Panel] = []
    for (dataset, noise, rate, method), part in groups[:MOST_PANELS]:
        lines = [
            Line(str(pretext), curves.named("test", own["run_key"]), looks[pretext])
            for (pretext,), own in grouped(part, ["pretext"])
        ]
        chance = chances[Block(dataset, noise, rate)]
        panels += epoch_panel(
            f"learning-{len(panels)}",
            (str(method), str(Block(dataset, noise, rate))),
            metric,
            lines,
            level=None if chance is None else Level(chance, "level of chance"),
            limits=limits[dataset],
        )
    return Chart(
        name="learning",
        title="Learning curves",
        short="Learning",
        caption=f"{metric[0].upper()}{metric[1:]} on the clean test set after each epoch, mean "
        "over seeds. A curve that rises and falls again has begun to memorise wrong labels. "
        "Panels of a dataset share one scale; dotted is chance.",
        panels=panels,
        legend=legend("learning", looks) if panels else (),
        nothing="No finished run holds a learning curve.",
        left_out=max(0, len(groups) - MOST_PANELS),
    )


def pretraining(board: Board, curves: Curves) -> Chart:
    """Draw the loss of each pretext: a panel a pretext, a line a dataset."""
    looks = {
        name: Look(style.colour, "", style.dash) for name, style in dataset_looks(board).items()
    }
    done = finished(board)
    groups = grouped(done[done["pretraining"] != ""], ["pretext"])
    panels: list[Panel] = []
    for (pretext,), part in groups[:MOST_PANELS]:
        lines = [
            Line(str(dataset), _losses(curves, own["pretraining"]), looks[dataset], band=True)
            for (dataset,), own in grouped(part, ["dataset"])
        ]
        titles = str(pretext), "loss by dataset"
        panels += epoch_panel(
            f"pretraining-{len(panels)}", titles, "loss", lines, digits=2, small=True
        )
    return Chart(
        name="pretraining",
        title="Pretraining",
        short="Pretraining",
        caption="Loss of each pretext on its own questions, mean over seeds with a band of one "
        "standard deviation. Losses of different pretexts are not on one scale.",
        panels=panels,
        legend=legend("pretraining", looks) if panels else (),
        nothing="No pretraining is at hand.",
        left_out=max(0, len(groups) - MOST_PANELS),
        size="small",
    )


def _limits(found: list[Curve]) -> tuple[float, float] | None:
    """Return one scale for all curves, so that panels can be compared."""
    values = np.concatenate(found) if found else np.empty(0)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    margin = max(0.05 * (high - low), 0.02)
    return low - margin, high + margin


def _losses(curves: Curves, keys: Iterable[str]) -> list[Curve]:
    """Return the loss of each pretraining once, however many runs started from it."""
    found = (curves.pretrainings.get(key) for key in dict.fromkeys(keys))
    return [curve for curve in found if curve is not None]
