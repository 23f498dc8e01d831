"""Charts as files, drawn in another process; the script that draws them on the page."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from importlib.metadata import version

import vl_convert

from medbench.folders import default_cache
from medbench.store.atomic import write_bytes
from medbench_leaderboard import drawing
from medbench_leaderboard.drawing import Drawn
from medbench_leaderboard.figures.chart import Chart
from medbench_leaderboard.figures.style import PRINT


class Drawings:
    """Charts that another process draws while this one computes.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        Draws.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self._charts: list[tuple[Chart, Future[Drawn]]] = []

    def add(self, chart: Chart) -> Chart:
        """Begin to draw a chart, if it has rows; return it."""
        if len(chart.rows):
            given = chart.still_spec(), chart.title, PRINT
            self._charts.append((chart, self.executor.submit(drawing.draw, *given)))
        return chart

    def drawn(self) -> dict[str, Drawn]:
        """Return what was drawn, by the names of the charts."""
        return {chart.name: future.result() for chart, future in self._charts}

    def files(self) -> Mapping[str, bytes]:
        """Return the files of all charts that have rows, by name: SVG, PDF and CSV."""
        files: dict[str, bytes] = {}
        for chart, future in self._charts:
            drawn = future.result()
            files[f"{chart.name}.svg"] = drawn.svg
            files[f"{chart.name}.pdf"] = drawn.pdf
            files[f"{chart.name}.csv"] = chart.csv().encode()
        return files


def page_script() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script; made once for each version."""
    path = default_cache() / "board" / f"vega-{version('vl-convert-python')}.js"
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    with suppress(OSError):  # made again the next time
        write_bytes(path, script.encode())
    return script
