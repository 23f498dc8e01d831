"""Figures: what is drawn where, their files, and the colours' distance for all eyes."""

from __future__ import annotations

import csv
import io
import itertools
import re
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import altair as alt
import board_records as toy
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medbench.results import load
from medbench_leaderboard.board import read_board
from medbench_leaderboard.contributed import Lines
from medbench_leaderboard.curves import read_curves
from medbench_leaderboard.drawing import Drawn
from medbench_leaderboard.figures import other_charts, score_charts
from medbench_leaderboard.figures.chart import BASE, Chart, first_panels, panel_words
from medbench_leaderboard.figures.filters import relative_change, smoothness
from medbench_leaderboard.figures.lines import line_figure, line_panels, on_scale
from medbench_leaderboard.figures.render import Drawings
from medbench_leaderboard.figures.style import PRINT, look, series_of
from medbench_leaderboard.filters import read_filters
from medbench_leaderboard.intervals import over_seeds

SVG = "{http://www.w3.org/2000/svg}"
STYLE = (
    Path(__file__).parents[2] / "leaderboard/medbench_leaderboard/templates/style.css"
).read_text("utf-8")


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


# ---------------------------------------------------------------- panels of lines

NAN = float("nan")
LINES = pd.DataFrame(
    [
        ("chest", "ce", "a <b> & 'c' \x01", 1, 0.2, 0.05),
        ("chest", "ce", "a <b> & 'c' \x01", 2, NAN, NAN),
        ("chest", "ce", "a <b> & 'c' \x01", 3, 0.4, 0.3),
        ("chest", "ce", "a <b> & 'c' \x01", 4, 0.3, NAN),
        ("chest", "co", "second", 1, 0.6, 0.01),
        ("tissue", "ce", "second", 1, 0.9, NAN),
    ],
    columns=["dataset", "method", "pretext", "epoch", "mean", "sd"],
)
LINES["_panel"] = LINES["method"] + "\n" + LINES["dataset"]


def chart(rows: pd.DataFrame = LINES, **values: Any) -> Chart:
    """A chart of lines, a panel for each method and dataset."""
    rows, series = on_scale(rows, "sd", "dataset"), series_of("pretext", rows["pretext"])
    drawing = line_panels(rows, alt.X("epoch:Q"), "score", series)
    return Chart("lines", "A <title>", "", "", rows, drawing, switch=series, **values)


def drawings(charts: list[Chart]) -> Drawings:
    """Draw charts one after the other, in a thread of this process."""
    with ThreadPoolExecutor(1) as executor:
        found = Drawings(executor)
        for one in charts:
            found.add(one)
    return found


def draw(one: Chart) -> Drawn:
    return drawings([one]).drawn()[one.name]


def texts_of(svg: str) -> list[str]:
    lines = (text for one in ET.fromstring(svg).iter(f"{SVG}text") for text in one.itertext())
    return list(lines)


def test_panels_of_a_dataset_share_a_scale_and_wide_bands_are_cut() -> None:
    rows = on_scale(LINES, "sd", "dataset")
    # means of the chest reach from 0.2 to 0.6, so bands are cut at 0.6 * 0.4 = 0.24
    assert rows["_low"].tolist() == pytest.approx([0.15, NAN, 0.16, 0.3, 0.59, 0.9], nan_ok=True)
    assert rows["_high"].tolist() == pytest.approx([0.25, NAN, 0.64, 0.3, 0.61, 0.9], nan_ok=True)
    chest, tissue = rows[:5], rows[5:]
    margin = 0.05 * (0.64 - 0.15)
    assert chest["_bottom"].tolist() == pytest.approx([0.15 - margin] * 5)
    assert chest["_top"].tolist() == pytest.approx([0.64 + margin] * 5)
    assert tissue[["_bottom", "_top"]].to_numpy().ravel() == pytest.approx([0.895, 0.905])


def test_missing_values_leave_gaps_and_names_are_texts() -> None:
    svg = draw(chart()).page
    lines = re.findall(r'<path d="([^"]*)"[^>]*stroke="var\(--series-0\)"', svg)
    assert sorted(path.count("M") for path in lines)[-1] == 2
    found = texts_of(svg)
    assert "a <b> & 'c'" in found, "and a character that would end the renderer's process is not"
    assert found.count("score") == 3
    assert [text for text in found if text in ("ce", "co")] == ["ce", "co", "ce"]


def test_points_are_where_the_numbers_say() -> None:
    points = (("one", ((0.0, 2.0), (1.0, 1.0), (4.0, 0.0))),)
    svg = draw(line_figure("own", Lines("epoch", "loss", points), "my-lab 1.2")).page
    (path,) = re.findall(r'<path d="M([\d.,L]+)"[^>]*stroke="var', svg)
    xy = np.array([[float(v) for v in point.split(",")] for point in path.split("L")])
    # a drawing of 560 by 240 pixels, whose vertical axis points down
    assert np.diff(xy[:, 0]) / np.diff([0, 1, 4]) == pytest.approx([140, 140])
    assert np.diff(xy[:, 1]) / np.diff([2, 1, 0]) == pytest.approx([-120, -120])
    assert {"epoch", "loss", "one"} <= set(texts_of(svg))


def test_the_page_can_choose_rows_and_hide_series() -> None:
    own = chart(filters=["dataset", "method"])
    params = {param["name"]: param for param in own.spec["params"]}
    assert {name: param["value"] for name, param in params.items()} == {
        "only_dataset": None, "only_method": None, "hidden": [],
    }  # fmt: skip
    params["only_dataset"]["value"] = ["chest"]
    assert {"ce", "co"} <= set(texts_of(draw(own).page))
    params["only_method"]["value"] = ["co"]
    assert "ce" not in texts_of(draw(own).page)
    params["hidden"]["value"] = ["second"]
    assert "co" not in texts_of(draw(own).page)


def test_panels_beyond_the_most_are_left_out_and_counted() -> None:
    rows = pd.DataFrame({"_panel": [f"panel {i % 30}" for i in range(90)]})
    kept, left_out = first_panels(rows)
    assert (kept["_panel"].nunique(), len(kept), left_out) == (24, 72, 6)
    assert kept["_panel"].iloc[-1] == "panel 23"


def test_words_are_by_panel_and_series() -> None:
    words = panel_words(LINES, "Score", "pretext", lambda own: f" has {len(own)}")
    assert words == [
        "Score, ce, chest: a <b> & 'c' \x01 has 4.",
        "Score, co, chest: second has 1.",
        "Score, ce, tissue: second has 1.",
    ]


# ---------------------------------------------------------------- SVG, PDF, CSV


def test_files_of_a_chart() -> None:
    charts = [chart(), Chart("none", "None", "", "Nothing.", LINES[:0], BASE.mark_point())]
    figures = drawings(charts)
    assert list(figures.drawn()) == ["lines"]
    files = figures.files()
    assert list(files) == ["lines.svg", "lines.pdf", "lines.csv"]
    assert drawings(charts).files() == files, "the same figure gives the same bytes"
    rows = list(csv.reader(io.StringIO(files["lines.csv"].decode())))
    assert rows[0] == ["dataset", "method", "pretext", "epoch", "mean", "sd"]
    assert rows[1] == ["chest", "ce", "a <b> & 'c' \x01", "1", "0.2", "0.05"]
    assert rows[2][3:] == ["2", "", ""]
    # data for the page are the same numbers
    data = charts[0].page_data()
    first = dict(zip(data["columns"], data["data"][0], strict=True))
    assert data["levels"]["pretext"][first["pretext"]] == "a <b> & 'c' \x01"
    assert (first["epoch"], first["mean"]) == (1, 0.2)
    assert data["data"][1][data["columns"].index("mean")] is None


def test_an_svg_file_is_well_formed_titled_and_coloured_for_print() -> None:
    drawn = draw(chart())
    text = drawn.svg.decode()
    assert ET.fromstring(text).find(f"{SVG}title").text == "A <title>"
    assert "var(" not in text
    assert PRINT["series-0"] in text and PRINT["series-1"] in text
    # on the page colours are those of the style sheet
    used = set(re.findall(r'(?:fill|stroke)="([^"]*)"', drawn.page)) - {"none", "transparent"}
    assert {"var(--ink)", "var(--series-0)", "var(--series-1)"} <= used
    assert all(re.fullmatch(r"var\(--[a-z0-9-]+\)", colour) for colour in used)
    for colour in used:
        assert f"--{colour[6:-1]}:" in STYLE


def test_a_pdf_brings_its_fonts() -> None:
    content = draw(chart()).pdf
    assert content.startswith(b"%PDF-")
    assert b"/FontFile" in content
    assert b"/URI" not in content


def test_nothing_is_fetched_to_draw() -> None:
    outside = alt.Chart("http://127.0.0.1:9/rows.csv").mark_point().encode(x="a:Q")
    with pytest.raises(ValueError, match="not allowed"):
        draw(Chart("outside", "", "", "", LINES, outside))


# ---------------------------------------------------------------- colours


def test_series_differ_by_more_than_colour() -> None:
    looks = [look(index) for index in range(40)]
    assert len({(one.shape, one.dash) for one in looks}) == 40
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


#: Machado et al. 2009, severity 1: what the two most common colour blindnesses leave, linear RGB.
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
    """CIE L*a*b* of an sRGB colour as a person with this sight sees it."""
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
    # a difference of 2.3 is just noticeable; neighbouring lines need several times that
    assert nearest > 15


# ---------------------------------------------------------------- all charts of a board


def test_every_chart_keeps_the_schema_of_vega_lite(tmp_path: Path) -> None:
    """A board does not check its charts: it would take longer to make."""
    points = toy.grid(pretext=["none", "simclr"], method=["ce", "co"], rate=[0.2, 0.4], seed=[0, 1])
    results = toy.plan(tmp_path / "results", points)
    for index, axes in enumerate(points):
        toy.finish(results, axes, 0.5 + index / 64)
    toy.pretrain(results, points[-1], [2.0, 1.0])
    loaded = load(results.root)
    board = read_board(results.root)
    curves = read_curves(loaded, board.runs, board.facts.primary)
    weights = read_filters(loaded, board.runs)
    charts = [*score_charts(board), *other_charts(board, curves, weights)]
    assert sum(len(one.rows) > 0 for one in charts) > 5
    for one in charts:
        # raises where a property is not the schema's
        assert one.drawing.to_dict(validate=True)
