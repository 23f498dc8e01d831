"""A figure: a table, how Altair draws it, and what it shows in words."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import altair as alt
import pandas as pd

from medbench_leaderboard.board import Board
from medbench_leaderboard.figures.style import CONFIG, Series
from medbench_leaderboard.table import grouped
from medbench_leaderboard.words import readable

#: Panels of one figure beyond which the rest is left out; the page says so.
MOST_PANELS = 24

#: What every figure is drawn from: the rows of its chart.
BASE = alt.Chart(alt.NamedData("rows"))


#: Title of a panel of one block: its dataset above its noise.
BLOCK_LABEL = "{dataset}\n{noise} {rate:g}"


@dataclass(frozen=True)
class Chart:
    """A figure of the board.

    Parameters
    ----------
    name : str
        Anchor on the page and name of its files.
    title, caption, nothing : str
        Heading, what to look for, and what is shown where there are no rows.
    rows : pandas.DataFrame
        What is drawn. Columns whose names begin with ``_`` serve the drawing alone and are
        not written to the CSV file.
    drawing : altair chart
        How the rows are drawn, from :data:`BASE`.
    words : sequence of str
        The alternative text, one sentence a panel.
    left_out : int
        Panels that are not drawn.
    filters : sequence of str
        Columns by which the page's filters choose rows.
    switch : Series, optional
        What can be hidden one by one on the page.
    """

    name: str
    title: str
    caption: str
    nothing: str
    rows: pd.DataFrame
    drawing: Any
    words: Sequence[str] = ()
    left_out: int = 0
    filters: Sequence[str] = ()
    switch: Series | None = None

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The figure as Vega-Lite, without its rows.

        The page sets the parameters ``only_COLUMN`` (a list, null for all) and ``hidden``.
        """
        spec: dict[str, Any] = self.drawing.to_dict(validate=False)
        chosen = [f"(!only_{n} || indexof(only_{n}, '' + datum.{n}) >= 0)" for n in self.filters]
        params: list[dict[str, Any]] = [{"name": f"only_{n}", "value": None} for n in self.filters]
        if self.switch:
            chosen.append(f"indexof(hidden, datum.{self.switch.column}) < 0")
            params.append({"name": "hidden", "value": []})
        if chosen:
            spec["transform"] = [*spec.get("transform", ()), {"filter": " && ".join(chosen)}]
        return {**spec, "params": params, "config": CONFIG}

    def still_spec(self) -> dict[str, Any]:
        """Return the specification of a still picture with its rows: missing values are null."""
        rows = json.loads(self.rows.to_json(orient="records", double_precision=6))
        spec: dict[str, Any] = _still(self.spec)
        return {**spec, "datasets": {**self.spec.get("datasets", {}), "rows": rows}}

    def csv(self) -> str:
        """Return the numbers as CSV, with six digits at most."""
        names = [name for name in self.rows.columns if not name.startswith("_")]
        return self.rows[names].to_csv(index=False, float_format="%.6g", lineterminator="\n")

    def page_data(self) -> dict[str, Any]:
        """Return what the page's script needs; repeated texts of a column are stored once."""
        levels, coded = {}, self.rows.copy()
        for name in coded.select_dtypes(exclude=["number", "bool"]):
            coded[name], found = pd.factorize(coded[name].astype(str))
            levels[name] = list(found)
        rows = json.loads(coded.to_json(orient="split", index=False, double_precision=6))
        used = set(self.rows[self.switch.column]) if self.switch else set()
        series = [name for name in self.switch.looks if name in used] if self.switch else []
        return {"spec": self.spec, **rows, "levels": levels, "filters": list(self.filters),
                "series": series}  # fmt: skip


def _still(spec: Any) -> Any:
    """Return a specification without what answers the pointer only, which takes long to draw."""
    if isinstance(spec, dict):
        return {name: _still(part) for name, part in spec.items() if name != "tooltip"}
    if isinstance(spec, list):
        return [_still(part) for part in spec if not _answers_only(part)]
    return spec


def _answers_only(layer: Any) -> bool:
    """Return whether a layer is invisible points with a text that is shown under the pointer."""
    mark = layer.get("mark") if isinstance(layer, dict) else None
    invisible = isinstance(mark, dict) and mark.get("opacity") == 0
    return invisible and "tooltip" in layer.get("encoding", {})


def texts(name: str, board: Board, **values: object) -> dict[str, Any]:
    """Return the name, title, caption and ``nothing`` of a figure, see ``texts.toml``."""
    metric, own = readable(board.facts.primary), _texts()[name]
    values |= {"metric": metric, "Metric": metric[0].upper() + metric[1:],
               "reading": board.facts.reading}  # fmt: skip
    caption = own["caption"].format(**values)
    return {"name": name, "title": own["title"], "caption": caption, "nothing": own["nothing"]}


def more_text(name: str, part: str, **values: object) -> str:
    """Return a part of a caption."""
    return _texts()[name][part].format(**values)


@cache
def _texts() -> dict[str, dict[str, str]]:
    return tomllib.loads((files(__package__) / "texts.toml").read_text(encoding="utf-8"))


def tooltip(rows: pd.DataFrame) -> list[alt.Tooltip]:
    """Return the numbers that are shown under the pointer: all columns of the CSV file."""
    return [
        alt.Tooltip(name, type="quantitative" if rows[name].dtype.kind in "if" else "nominal")
        for name in map(str, rows.columns)
        if not name.startswith("_")
    ]


def panel_label(rows: pd.DataFrame, pattern: str) -> pd.Series:
    """Return a text for each row, made from its columns by a pattern of ``str.format``."""
    labels = [pattern.format_map(row) for row in rows.to_dict("records")]
    return pd.Series(labels, rows.index, dtype="str")


def first_panels(rows: pd.DataFrame, most: int = MOST_PANELS) -> tuple[pd.DataFrame, int]:
    """Return the rows of the first panels by ``_panel``, and how many panels are left out."""
    panels = rows["_panel"].unique()
    return rows[rows["_panel"].isin(panels[:most])], max(0, len(panels) - most)


def facets(layers: Any, columns: int, **scales: str) -> alt.FacetChart:
    """Draw a panel for each value of ``_panel``, in the order of the rows."""
    header = alt.Header(labelExpr="split(datum.label, '\\n')")
    panel = alt.Facet("_panel:N", header=header, sort=alt.EncodingSortField("_order", "min"))
    chart: alt.FacetChart = layers.facet(panel, columns=columns).resolve_scale(**scales)
    return chart.transform_window(_order="row_number()")


def panel_words(
    rows: pd.DataFrame, quantity: str, series: str, describe: Callable[[pd.DataFrame], str]
) -> list[str]:
    """Return a sentence a panel that describes the rows of each series."""
    return [
        f"{quantity}, {panel.replace(chr(10), ', ')}: "
        + "; ".join(f"{name}{describe(own)}" for (name,), own in grouped(part, [series]))
        + "."
        for (panel,), part in grouped(rows, ["_panel"])
    ]
