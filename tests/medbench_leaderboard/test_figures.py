"""Figures: what is drawn where, their files, and the colours' distance for all eyes."""

from __future__ import annotations

import csv
import io
import itertools
import re
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medbench_leaderboard.figures.chart import Chart, Drawing, Key, Panel
from medbench_leaderboard.figures.files import figure_files, numbers
from medbench_leaderboard.figures.filters import relative_change, smoothness
from medbench_leaderboard.figures.looks import look, series_of
from medbench_leaderboard.figures.pdf import pdf
from medbench_leaderboard.figures.plot import Plot, Scale, log_ticks, nice_ticks
from medbench_leaderboard.figures.shapes import Anchor, Area, Line, Mark, Picture, Text, pieces
from medbench_leaderboard.figures.svg import PRINT, document, inline
from medbench_leaderboard.intervals import over_seeds

SVG = "{http://www.w3.org/2000/svg}"
STYLE = (
    Path(__file__).parents[2] / "leaderboard/medbench_leaderboard/templates/style.css"
).read_text("utf-8")
FINITE = st.floats(-1e6, 1e6, allow_nan=False)


# ---------------------------------------------------------------- scales and ticks


def test_a_scale_maps_its_ends_and_turns_where_they_do() -> None:
    scale = Scale(0.2, 0.8, 100, 10)
    assert [scale(0.2), scale(0.8), scale(0.5)] == pytest.approx([100, 10, 55])
    assert Scale(1, 100, 0, 10, log=True)(10) == pytest.approx(5)


@given(low=FINITE, width=st.floats(1e-4, 1e6), most=st.integers(2, 9), whole=st.booleans())
def test_ticks_are_round_inside_and_few(low: float, width: float, most: int, whole: bool) -> None:
    high = low + width
    ticks = nice_ticks(low, high, most, whole=whole)
    if whole and np.floor(high + 1e-9) < np.ceil(low - 1e-9):
        assert ticks == [], "there is no whole number between them"
        return
    assert 1 <= len(ticks) <= most
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    if len(ticks) > 1:
        assert ticks[0] >= low - slack
        assert ticks[-1] <= high + slack
        step = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
        mantissa = step / 10 ** np.floor(np.log10(step) + 1e-9)
        assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-3
        if whole:
            assert all(float(tick).is_integer() for tick in ticks)


def test_ticks_by_hand() -> None:
    assert nice_ticks(0.31, 0.68) == [0.4, 0.5, 0.6]
    assert nice_ticks(1, 16, 6, whole=True) == [5, 10, 15]
    assert nice_ticks(1, 2, 6, whole=True) == [1, 2]
    assert log_ticks(0.8, 12) == [1, 2, 5, 10]
    assert log_ticks(0.5, 20000) == [1, 10, 100, 1000, 10000]


def test_missing_values_leave_gaps() -> None:
    nan = float("nan")
    found = pieces([0, 1, 2, 3, 4, 5], [nan, 1, 2, nan, nan, 5])
    assert found == [((1.0, 1.0), (2.0, 2.0)), ((5.0, 5.0),)]
    plot = Plot(100, 100, (0, 5), (0, 5))
    plot.line([0, 1, 2, 3], [1, 1, nan, 1], series_of(["a"])["a"])
    assert [type(shape) for shape in plot.shapes] == [Line, Mark]


# ---------------------------------------------------------------- intervals


def test_the_interval_over_seeds_is_scipys() -> None:
    values = np.random.default_rng(0).normal(size=5)
    expected = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    half = float(over_seeds(values.std(ddof=1), 5))
    assert values.mean() - half == pytest.approx(expected[0])
    assert values.mean() + half == pytest.approx(expected[1])


def test_two_seeds_reach_from_one_to_the_other_and_one_has_no_interval() -> None:
    two = np.array([0.4, 0.7])
    half = over_seeds([two.std(ddof=1), np.nan, np.nan], [2, 1, 0])
    assert half[0] == pytest.approx(0.15)
    assert np.isnan(half[1:]).all()


# ---------------------------------------------------------------- filters


def test_smoothness_by_hand() -> None:
    checked = np.indices((4, 4)).sum(axis=0) % 2 * 2.0 - 1  # each neighbour is the opposite
    assert smoothness(checked[None, None]) == pytest.approx(-1)
    ramp = np.tile(np.arange(64.0), (64, 1))
    assert smoothness(ramp[None, None]) > 0.95
    noise = np.random.default_rng(0).normal(size=(256, 3, 7, 7))
    assert abs(smoothness(noise)) < 0.05
    assert smoothness(np.zeros((2, 1, 3, 3))) == 0
    assert smoothness(np.ones((2, 1, 1, 1))) == 0


def test_relative_change_by_hand() -> None:
    before = np.array([3.0, 4.0]).reshape(1, 2, 1, 1)
    assert relative_change(before, before) == 0
    assert relative_change(before, 2 * before) == pytest.approx(1)
    assert relative_change(before, before + np.array([0, 1]).reshape(1, 2, 1, 1)) == 0.2


# ---------------------------------------------------------------- SVG, PDF, CSV

EVERYTHING = Drawing(
    120,
    80,
    [
        Line(((0, 0), (10, 10.04)), "rule", 1, (2, 3)),
        Area(((0, 0), (10, 0), (5, 5)), "series-0", 0.2, series=3),
        Mark(5, 5, "o", "series-1", series=3),
        Mark(9, 5, "plus", "series-2", hollow=True, series=4),
        Text(3, 4, "a <b> & $x_1$ \x7f", "ink", turn=-90, anchor="middle", bold=True),
        Picture(1, 2, 10, 10, np.zeros((2, 2, 3), np.uint8)),
    ],
)


def test_an_svg_file_is_well_formed_and_coloured_for_print() -> None:
    root = ET.fromstring(document(EVERYTHING, "A <title>").encode())
    assert root.find(f"{SVG}title").text == "A <title>"
    assert [text.text for text in root.iter(f"{SVG}text")] == ["a <b> & $x_1$ "]
    roles = {e.get("class") for e in root.iter() if e.get("class") not in (None, "s")}
    style = root.find(f"{SVG}style").text
    assert roles == {"rule", "series-0", "series-1", "series-2", "paper", "ink"}
    assert all(f".{role}{{color:{PRINT[role]}}}" in style for role in roles)
    groups = [group.get("data-s") for group in root.iter(f"{SVG}g")]
    assert groups == ["3", "4"]
    assert root.find(f".//{SVG}image").get("href").startswith("data:image/png;base64,")


def test_a_drawing_for_the_page_escapes_names() -> None:
    svg = inline(EVERYTHING)
    assert "a &lt;b&gt; &amp; $x_1$" in svg
    assert "<b>" not in svg
    assert 'aria-hidden="true"' in svg


def test_files_of_a_chart() -> None:
    def panel(title: str) -> Panel:
        return Panel(title, "here", EVERYTHING, "words", [("a", 1, 0.5), ("b", 2, float("nan"))])

    chart = Chart(
        "one", "One", "One", "", [panel("first"), panel("second")], ("series", "x", "mean"),
        [Key("a", look(0)), Key("b", look(1), "mark")],
    )  # fmt: skip
    empty = Chart("two", "Two", "Two", "", [], nothing="Nothing.")
    files = figure_files([chart, empty])
    assert list(files) == ["one.svg", "one.pdf", "one.csv"]
    sheet = ET.fromstring(files["one.svg"])
    texts = [text.text for text in sheet.iter(f"{SVG}text")]
    assert texts.count("a <b> & $x_1$ ") == 2
    assert {"a", "b", "first", "second"} <= set(texts)
    assert float(sheet.get("width")) > 2 * EVERYTHING.width
    assert files["one.pdf"].startswith(b"%PDF-")
    assert figure_files([chart]) == files, "the same drawing gives the same bytes"
    rows = list(csv.reader(io.StringIO(numbers(chart))))
    assert rows[0] == ["panel", "where", "series", "x", "mean"]
    assert rows[1:3] == [["first", "here", "a", "1", "0.5"], ["first", "here", "b", "2", ""]]


def test_a_pdf_needs_no_fonts_and_never_reads_a_name_as_a_formula() -> None:
    content = pdf(EVERYTHING, "title")
    assert b"/FontFile" not in content
    assert b"/Type3" not in content
    broken = Drawing(50, 50, [Text(1, 1, "$\\frac{", "ink"), Text(1, 9, "", "ink")])
    assert pdf(broken, "title").startswith(b"%PDF-")


def drawn_xs(content: bytes) -> list[float]:
    """Return the horizontal places, in points, that the paths of a PDF go through."""
    (stream,) = (
        text
        for packed in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
        if (text := zlib.decompress(packed)).rstrip().endswith((b"f", b"S", b"B"))
    )
    drawn = stream.split(b"\nf\n", 1)[1]  # after the white ground
    ends = re.findall(rb"([-\d.]+) [-\d.]+ [mlc]\b", drawn)
    return [float(x) for x in ends]


@pytest.mark.parametrize("bold", [False, True])
def test_a_pdf_anchors_texts_where_the_page_does(bold: bool) -> None:
    def extent(anchor: Anchor) -> tuple[float, float]:
        text = Text(100, 50, "H some name H", "ink", 12, anchor, bold)
        xs = drawn_xs(pdf(Drawing(200, 100, [text]), "title"))
        return min(xs), max(xs)

    # 100 px are 75 points; the letters have some room at their sides
    start, middle, end = map(extent, ("start", "middle", "end"))
    assert start[0] == pytest.approx(75, abs=1.5)
    assert sum(middle) / 2 == pytest.approx(75, abs=1)
    assert end[1] == pytest.approx(75, abs=1.5)
    assert start[1] - start[0] == pytest.approx(end[1] - end[0], abs=0.01)


def test_a_pdf_has_lines_and_marks_where_the_drawing_has_them() -> None:
    line = pdf(Drawing(200, 100, [Line(((10, 10), (190, 90)), "ink")]), "title")
    assert drawn_xs(line) == [7.5, 142.5]
    mark = pdf(Drawing(200, 100, [Mark(40, 20, "square", "ink", 10)]), "title")
    assert (min(drawn_xs(mark)), max(drawn_xs(mark))) == (23.25, 36.75)


# ---------------------------------------------------------------- colours


def test_series_differ_by_more_than_colour() -> None:
    looks = [look(index) for index in range(40)]
    assert len({(one.symbol, one.dash) for one in looks}) == 40
    assert len({one.colour for one in looks[:8]}) == 8


def palettes() -> dict[str, list[np.ndarray]]:
    """The eight colours of series in the light and the dark style, and in files."""
    light, dark = STYLE.split("@media (prefers-color-scheme: dark)")[:2]
    found = {
        name: [re.search(rf"--series-{i}: (#\w+)", part)[1] for i in range(8)]
        for name, part in (("light", light), ("dark", dark))
    }
    found["print"] = [PRINT[f"series-{i}"] for i in range(8)]
    return {
        name: [np.array([int(c[k : k + 2], 16) / 255 for k in (1, 3, 5)]) for c in colours]
        for name, colours in found.items()
    }


#: Machado et al. 2009, severity 1: what the two commonest colour blindnesses leave, linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
}  # fmt: skip


def lab(colour: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of an sRGB colour as somebody sees it."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    linear = np.clip(seen @ linear, 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("style", ["light", "dark", "print"])
@pytest.mark.parametrize("kind", list(BLINDNESS))
def test_all_colours_are_told_apart_by_all_eyes(style: str, kind: str) -> None:
    seen = [lab(colour, BLINDNESS[kind]) for colour in palettes()[style]]
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    # a difference of 2.3 is just noticeable; lines side by side want several times that
    assert nearest > 15
