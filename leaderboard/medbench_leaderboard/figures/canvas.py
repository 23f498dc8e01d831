"""What all figures share: size, colours, and the way to SVG.

A chart is a set of small panels, each an SVG of its own, so that a narrow
screen stacks them instead of shrinking their text. Figures are drawn in
stand-in colours that become CSS variables of the page, so they follow its
light, dark and print styles.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from medbench_leaderboard.figures.svg import inline

#: Stand-in colours; which colour they are is the style sheet's business.
INK, MUTED, GRID, PAPER = "#010101", "#010102", "#010103", "#010104"
_SERIES = tuple(f"#0201{index:02x}" for index in range(8))
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--rule)",
    PAPER: "var(--paper)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(_SERIES)},
}

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)))

#: Panels of one chart beyond which the rest is left out, and said to be.
MOST_PANELS = 48

_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "medbench",  # the same drawing gives the same bytes
    "svg.fonttype": "none",  # text stays text: small, selectable, in the page's font
    "text.parse_math": False,  # a name is never a formula
    "font.size": 9,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.color": INK,
}


@dataclass(frozen=True)
class Look:
    """How a series is told from others: by colour, and by marker and dashes too."""

    colour: str
    marker: str
    dash: Any


@dataclass(frozen=True)
class LegendEntry:
    """A line of a chart's legend."""

    label: str
    swatch: Markup


@dataclass(frozen=True)
class Panel:
    """One small figure.

    Parameters
    ----------
    title, subtitle : str
        What it shows, and where.
    svg : markupsafe.Markup
        The drawing.
    alternative : str
        The same in words.
    """

    title: str
    subtitle: str
    svg: Markup
    alternative: str


@dataclass(frozen=True)
class Chart:
    """A set of panels with one title, caption and legend.

    Parameters
    ----------
    name : str
        Anchor on the page.
    title, short, caption : str
        Heading, its form for the page's bar, and what to look for.
    panels : sequence of Panel
        May be empty: then ``nothing`` says why.
    legend : sequence of LegendEntry
        What lines mean.
    nothing : str
        Shown where there are no panels.
    left_out : int
        Panels that were not drawn for want of room.
    size : str
        ``"small"`` or ``"wide"`` where panels need less or more width than usual.
    """

    name: str
    title: str
    short: str
    caption: str
    panels: Sequence[Panel]
    legend: Sequence[LegendEntry] = ()
    nothing: str = ""
    left_out: int = 0
    size: str = ""


def look(index: int, *, baseline: bool = False) -> Look:
    """Return the look of a series; the baseline's is neutral."""
    if baseline:
        return Look(MUTED, _MARKERS[index % len(_MARKERS)], (0, (3, 1.5)))
    turn = index // len(_SERIES)
    return Look(
        _SERIES[index % len(_SERIES)],
        _MARKERS[index % len(_MARKERS)],
        _DASHES[turn % len(_DASHES)],
    )


@contextmanager
def drawing_style() -> Iterator[None]:
    """Set the style of all canvases; it holds inside the context only."""
    with mpl.rc_context(_SETTINGS):
        yield


class Canvas:
    """A figure with one set of axes, drawn without pyplot and its global state.

    The margins are fixed, so that the axes of panels side by side line up.
    Canvases are made and drawn inside :func:`drawing_style`.

    Parameters
    ----------
    name : str
        Unique on the page; part of all ids in the SVG.
    width, height : float
        Inches.
    left : float
        Inches left of the axes, for tick labels.
    bare : bool
        Without axes and margins.
    """

    def __init__(
        self,
        name: str,
        width: float = 3.5,
        height: float = 2.3,
        left: float = 0.58,
        *,
        bare: bool = False,
    ) -> None:
        self.name = name
        self.figure = Figure(figsize=(width, height))
        place = (left / width, 0.42 / height, 1 - (left + 0.16) / width, 1 - 0.5 / height)
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1) if bare else place)
        if bare:
            self.axes.set_axis_off()

    def svg(self) -> Markup:
        """Return the figure as SVG to be put into HTML."""
        buffer = io.StringIO()
        # the canvas directly: savefig would draw everything twice
        canvas: Any = FigureCanvasSVG(self.figure)
        canvas.print_svg(buffer, metadata={"Date": None})
        return inline(buffer.getvalue(), self.name, _VARIABLES)


def swatch(name: str, style: Look, *, line: bool = True, hollow: bool = False) -> Markup:
    """Draw the sample of a series for a legend."""
    canvas = Canvas(name, 0.42, 0.16, bare=True)
    canvas.axes.set(xlim=(0, 1), ylim=(-1, 1))
    canvas.axes.plot(
        [0.04, 0.5, 0.96],
        [0, 0, 0],
        color=style.colour,
        linestyle=style.dash if line else "none",
        linewidth=1.8,
        marker=style.marker,
        markevery=[1],
        markersize=5,
        markerfacecolor=PAPER if hollow else style.colour,
    )
    return canvas.svg()
