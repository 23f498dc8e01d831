"""What became of wrong labels: memorised, recovered, left out."""

from __future__ import annotations

from medbench_leaderboard.board import Board
from medbench_leaderboard.curves import Curves
from medbench_leaderboard.figures.canvas import (
    INK,
    MOST_PANELS,
    Chart,
    LegendEntry,
    Look,
    Panel,
    swatch,
)
from medbench_leaderboard.figures.epochs import Level, Line, epoch_panel, finished
from medbench_leaderboard.figures.looks import legend, method_looks
from medbench_leaderboard.table import BLOCK, grouped

_SOLID, _DASHED = "-", (0, (4, 2))


def memorisation(board: Board, curves: Curves) -> Chart:
    """Draw what is predicted for mislabelled training samples: a panel a block."""
    looks = method_looks(board)
    groups = grouped(finished(board), BLOCK)
    panels: list[Panel] = []
    for (dataset, noise, rate), part in groups[:MOST_PANELS]:
        lines = []
        for (method,), own in grouped(part, ["method"]):
            colour, keys = looks[method].colour, list(own["run_key"])
            for name, dash in (("memorised", _SOLID), ("recovered", _DASHED)):
                look = Look(colour, "", dash)
                lines.append(Line(f"{method} {name}", curves.named(name, keys), look))
        titles = str(dataset), f"{noise} {rate:g}"
        panels += epoch_panel(
            f"memorisation-{len(panels)}", titles, "share of wrong labels", lines,
            limits=(-0.02, 1.02), small=True,
        )  # fmt: skip
    kinds = [
        LegendEntry("memorised", swatch("memorised", Look(INK, "", _SOLID))),
        LegendEntry("recovered", swatch("recovered", Look(INK, "", _DASHED))),
    ]
    return Chart(
        name="memorisation",
        title="Memorised and recovered labels",
        short="Memorisation",
        caption="Of the training samples with a wrong label: the share for which the network "
        "predicts that wrong label (memorised, solid) and the share for which it predicts the true "
        "one (recovered, dashed). Mean over pretexts and seeds.",
        panels=panels,
        legend=[*kinds, *legend("memorisation", _plain(looks))] if panels else (),
        nothing="No finished run holds these curves.",
        left_out=max(0, len(groups) - MOST_PANELS),
        size="small",
    )


def selection(board: Board, curves: Curves) -> Chart:
    """Draw how clean the samples are that a method trusts: a panel a block."""
    looks = _plain(method_looks(board))
    groups = grouped(finished(board), BLOCK)
    panels: list[Panel] = []
    used: set[str] = set()
    for (dataset, noise, rate), part in groups[:MOST_PANELS]:
        lines = []
        for (method,), own in grouped(part, ["method"]):
            precisions = curves.named("selection_precision", own["run_key"])
            lines.append(Line(str(method), precisions, looks[method], band=True))
        used |= {line.label for line in lines if line.curves}
        clean = 1 - float(part["realised_rate"].mean())
        panels += epoch_panel(
            f"selection-{len(panels)}",
            (str(dataset), f"{noise} {rate:g}"),
            "clean among selected",
            lines,
            level=Level(clean, "share of clean labels") if clean == clean else None,
            small=True,
        )
    return Chart(
        name="selection",
        title="Selection precision",
        short="Selection",
        caption="Share of clean labels among the samples a method selected, mean over pretexts and "
        "seeds with a band of one standard deviation. Dotted: the share of clean labels in the "
        "training set, what a blind selection would reach.",
        panels=panels,
        legend=legend("selection", {name: looks[name] for name in looks if name in used}),
        nothing="No finished run reported a selection of samples.",
        left_out=max(0, len(groups) - MOST_PANELS) if panels else 0,
        size="small",
    )


def _plain(looks: dict[str, Look]) -> dict[str, Look]:
    """Return looks without markers: these lines are told apart by colour and dashes."""
    return {name: Look(style.colour, "", "-") for name, style in looks.items()}
