"""Charts and panels: small figures side by side with one title, caption and legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from medbench_leaderboard.figures.looks import Look
from medbench_leaderboard.figures.plot import Frame
from medbench_leaderboard.figures.shapes import Shape

#: Panels of one chart beyond which the rest is left out, and said to be.
MOST_PANELS = 24


@dataclass(frozen=True)
class Place:
    """What a panel is of, so that the page's filters can hide it; ``None`` where all of it."""

    dataset: str | None = None
    noise: str | None = None
    rate: float | None = None
    pretext: str | None = None
    method: str | None = None


@dataclass(frozen=True)
class Drawing:
    """Shapes with the size of their sheet, in CSS pixels.

    Parameters
    ----------
    width, height : float
        Of the sheet.
    shapes : sequence of Shape
        In the order of drawing.
    frame : Frame, optional
        Where the data lie, for reading values off under the pointer.
    """

    width: float
    height: float
    shapes: Sequence[Shape]
    frame: Frame | None = None


@dataclass(frozen=True)
class Panel:
    """One small figure.

    Parameters
    ----------
    title, subtitle : str
        What it shows, and where.
    drawing : Drawing
        The figure.
    alternative : str
        The same in words.
    rows : sequence of tuple
        The numbers drawn, by the chart's ``columns``.
    place : Place
        What it is of.
    """

    title: str
    subtitle: str
    drawing: Drawing
    alternative: str
    rows: Sequence[tuple[Any, ...]] = ()
    place: Place = field(default_factory=Place)


@dataclass(frozen=True)
class Key:
    """A line of a chart's legend; ``series`` is what it switches on the page."""

    label: str
    look: Look
    kind: Literal["line", "mark"] = "line"
    series: int | None = None
    hollow: bool = False


@dataclass(frozen=True)
class Chart:
    """A set of panels with one title, caption and legend.

    Parameters
    ----------
    name : str
        Anchor on the page and name of its files.
    title, short, caption : str
        Heading, its form for the page's bar, and what to look for.
    panels : sequence of Panel
        May be empty: then ``nothing`` says why.
    columns : sequence of str
        Names of the columns of the panels' rows.
    legend : sequence of Key
        What lines and marks mean.
    nothing : str
        Shown where there are no panels.
    left_out : int
        Panels that were not drawn for want of room.
    axis : str
        Axis whose values the series are, so that the page's filters can leave
        one of them; empty where they are of none.
    size : str
        ``"small"``, ``"wide"`` or ``"whole"`` where panels need less or more
        width than usual.
    """

    name: str
    title: str
    short: str
    caption: str
    panels: Sequence[Panel]
    columns: Sequence[str] = ()
    legend: Sequence[Key] = ()
    nothing: str = ""
    left_out: int = 0
    axis: Literal["", "dataset", "pretext", "method"] = ""
    size: Literal["", "small", "wide", "whole"] = ""
