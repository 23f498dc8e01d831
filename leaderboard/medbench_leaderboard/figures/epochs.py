"""Curves over epochs: learning, memorising, selecting, pretraining."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medbench_leaderboard.board import Board
from medbench_leaderboard.curves import Curve, Curves, summarise
from medbench_leaderboard.figures.canvas import (
    INK,
    MOST_PANELS,
    MUTED,
    Canvas,
    Chart,
    LegendEntry,
    Look,
    Panel,
    swatch,
)
from medbench_leaderboard.figures.looks import dataset_looks, legend, method_looks, pretext_looks
from medbench_leaderboard.table import BLOCK
from medbench_leaderboard.words import readable


@dataclass(frozen=True)
class _Line:
    label: str
    curves: list[Curve]
    style: Look
    band: bool = False


def learning(board: Board, curves: Curves) -> Chart:
    """Draw the score on the test set by epoch: a panel a block and method, a line a pretext."""
    metric, looks = readable(board.facts.primary), pretext_looks(board)
    groups = list(_done(board).groupby([*BLOCK, "method"], sort=False))
    panels = []
    for (dataset, noise, rate, method), part in groups[:MOST_PANELS]:
        lines = [
            _Line(str(pretext), curves.named("test", own["run_key"]), looks[pretext])
            for pretext, own in part.groupby("pretext", sort=False)
        ]
        title = f"{dataset}, {noise} {rate:g}: {method}"
        chance = 1 / part["classes"].iloc[0] if board.facts.primary == "balanced_accuracy" else None
        panels += _panel(f"learning-{len(panels)}", title, lines, metric, level=chance)
    return Chart(
        name="learning",
        title="Learning curves",
        caption=f"{metric.capitalize()} on the clean test set after each epoch, mean over seeds. "
        "A curve that rises and falls again has begun to memorise wrong labels. Dotted: chance.",
        panels=panels,
        legend=legend("learning", looks) if panels else (),
        nothing="No finished run holds a learning curve.",
        left_out=max(0, len(groups) - MOST_PANELS),
    )


def memorisation(board: Board, curves: Curves) -> Chart:
    """Draw what is predicted for mislabelled training samples: a panel a block."""
    looks = method_looks(board)
    groups = list(_done(board).groupby(BLOCK, sort=False))
    panels = []
    for (dataset, noise, rate), part in groups[:MOST_PANELS]:
        lines = []
        for method, own in part.groupby("method", sort=False):
            style = looks[method]
            solid, dashed = Look(style.colour, "", "-"), Look(style.colour, "", (0, (4, 2)))
            keys = list(own["run_key"])
            lines.append(_Line(f"{method} memorised", curves.named("memorised", keys), solid))
            lines.append(_Line(f"{method} recovered", curves.named("recovered", keys), dashed))
        title = f"{dataset}, {noise} {rate:g}"
        panels += _panel(
            f"memorisation-{len(panels)}", title, lines, "share of mislabelled", limits=(-0.02, 1.02)
        )
    solid_dashed = [
        LegendEntry("memorised", swatch("memorisation-legend-m", Look(INK, "", "-"))),
        LegendEntry("recovered", swatch("memorisation-legend-r", Look(INK, "", (0, (4, 2))))),
    ]
    plain = {name: Look(style.colour, "", "-") for name, style in looks.items()}
    return Chart(
        name="memorisation",
        title="Memorised and recovered labels",
        caption="Of the training samples with a wrong label: the share for which the network "
        "predicts that wrong label (memorised, solid) and the share for which it predicts the true "
        "one (recovered, dashed). Mean over pretexts and seeds.",
        panels=panels,
        legend=[*solid_dashed, *legend("memorisation", plain)] if panels else (),
        nothing="No finished run holds these curves.",
        left_out=max(0, len(groups) - MOST_PANELS),
    )


def selection(board: Board, curves: Curves) -> Chart:
    """Draw how clean the samples are that a method trusts: a panel a block."""
    looks = {
        name: Look(style.colour, "", "-") for name, style in method_looks(board).items()
    }
    groups = list(_done(board).groupby(BLOCK, sort=False))
    panels, used = [], set()
    for (dataset, noise, rate), part in groups[:MOST_PANELS]:
        lines = [
            _Line(str(method), curves.named("selection_precision", own["run_key"]), looks[method],
                  band=True)  # fmt: skip
            for method, own in part.groupby("method", sort=False)
        ]
        used |= {line.label for line in lines if line.curves}
        title = f"{dataset}, {noise} {rate:g}"
        clean = 1 - float(part["realised_rate"].mean())
        panels += _panel(
            f"selection-{len(panels)}", title, lines, "clean among selected", level=clean,
            level_word="share of clean labels",
        )  # fmt: skip
    looks = {name: style for name, style in looks.items() if name in used}
    return Chart(
        name="selection",
        title="Selection precision",
        caption="Share of clean labels among the samples a method selected, mean over pretexts and "
        "seeds with a band of one standard deviation. Dotted: the share of clean labels in the "
        "training set, what a blind selection would reach.",
        panels=panels,
        legend=legend("selection", looks) if panels else (),
        nothing="No finished run reported a selection of samples.",
        left_out=max(0, len(groups) - MOST_PANELS),
    )


def pretraining(board: Board, curves: Curves) -> Chart:
    """Draw the loss of each pretext: a panel a pretext, a line a dataset."""
    looks = {
        name: Look(style.colour, "", style.dash) for name, style in dataset_looks(board).items()
    }
    done = _done(board)
    groups = list(done[done["pretraining"] != ""].groupby("pretext", sort=False))
    panels = []
    for pretext, part in groups[:MOST_PANELS]:
        lines = [
            _Line(str(dataset), _losses(curves, own["pretraining"]), looks[dataset], band=True)
            for dataset, own in part.groupby("dataset", sort=False)
        ]
        panels += _panel(f"pretraining-{len(panels)}", str(pretext), lines, "loss", digits=2)
    return Chart(
        name="pretraining",
        title="Pretraining",
        caption="Loss of each pretext on its own questions, mean over seeds with a band of one "
        "standard deviation. Losses of different pretexts are not on one scale.",
        panels=panels,
        legend=legend("pretraining", looks) if panels else (),
        nothing="No pretraining is at hand.",
        left_out=max(0, len(groups) - MOST_PANELS),
    )


def _done(board: Board) -> pd.DataFrame:
    return board.runs[board.runs["status"] == "done"]


def _losses(curves: Curves, keys: Iterable[str]) -> list[Curve]:
    found = (curves.pretrainings.get(key) for key in dict.fromkeys(keys))
    return [curve for curve in found if curve is not None]


def _panel(
    name: str,
    title: str,
    lines: list[_Line],
    quantity: str,
    *,
    level: float | None = None,
    level_word: str = "chance",
    limits: tuple[float, float] | None = None,
    digits: int = 3,
) -> list[Panel]:
    """Draw one panel, or none where no line has a value."""
    summaries = [(line, *summarise(line.curves)) for line in lines if line.curves]
    summaries = [entry for entry in summaries if np.isfinite(entry[1]).any()]
    if not summaries:
        return []
    with Canvas(name) as canvas:
        axes = canvas.axes
        for line, mean, sd in summaries:
            epochs = np.arange(1, len(mean) + 1)
            style = line.style
            if line.band:
                axes.fill_between(epochs, mean - sd, mean + sd, color=style.colour, alpha=0.13,
                                  linewidth=0)  # fmt: skip
            axes.plot(
                epochs, mean, color=style.colour, linestyle=style.dash, linewidth=1.5,
                marker=style.marker, markersize=4, markevery=max(1, len(mean) // 6),
            )  # fmt: skip
        if level is not None and np.isfinite(level):
            axes.axhline(level, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if limits:
            axes.set_ylim(*limits)
        svg = canvas.svg()
    said = [f"{line.label} {_course(mean, digits)}" for line, mean, _ in summaries]
    words = f"{quantity} by epoch, {title}: " + "; ".join(said) + "."
    if level is not None and np.isfinite(level):
        words += f" The {level_word} is {level:.3f}."
    return [Panel(title, svg, words)]


def _course(mean: Curve, digits: int) -> str:
    there = mean[np.isfinite(mean)]
    return f"from {there[0]:.{digits}f} to {there[-1]:.{digits}f}, highest {there.max():.{digits}f}"
