"""The page in a real Chromium: nothing fails, nothing is fetched, everything can be used."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import board_records as toy
import numpy as np
import predicted_records as predicted
import pytest
from chromium import Chromium
from refined_records import refined_folder

ATTACK = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>'
SPLIT = "</script><script>window.hurt=1</script>"
DATASETS, RATES, SEEDS = ["chest", "tissue"], [0.2, 0.4, 0.6], [0, 1, 2]
PRETEXTS, METHODS = ["none", "rotation", "simclr"], ["cross-entropy", "co-teaching"]
FAMILIES = {
    "none": "", "rotation": "transformations", "simclr": "contrastive",
    "cross-entropy": "baseline", "co-teaching": "selection",
}  # fmt: skip
PROTOCOL = toy.PROTOCOL + '[statistics]\nbaseline_pretext = "none"\n'
POINTS = toy.grid(dataset=DATASETS, rate=RATES, pretext=PRETEXTS, method=METHODS, seed=SEEDS)


def score(axes: dict) -> float:
    """A made-up score: pretexts help, rates hurt, seeds differ a little."""
    helped = 0.05 * PRETEXTS.index(axes["pretext"]) + 0.02 * METHODS.index(axes["method"])
    wobble = 0.01 * np.sin(37.0 * axes["seed"] + 11.0 * axes["rate"] + 5.0 * helped)
    return float(0.7 + helped - 0.3 * axes["rate"] - 0.1 * DATASETS.index(axes["dataset"]) + wobble)


def record(results: toy.ResultsFolder, axes: dict) -> None:
    value, epochs = score(axes), np.arange(toy.EPOCHS)
    curves = {
        "test/balanced_accuracy": value - 0.2 * np.exp(-epochs),
        "train/memorised": 0.1 + 0.1 * epochs,
        "train/recovered": 0.6 - 0.1 * epochs,
    }
    if axes["method"] == "co-teaching":
        curves["train/selection_precision"] = 0.6 + 0.05 * epochs
    named = {
        f"{kind} {axes[kind]}": {"family": FAMILIES[axes[kind]]} for kind in ("method", "pretext")
    }
    named.pop("pretext none", None)
    card = {**toy.CARD, "name": axes["dataset"]}
    toy.finish(results, axes, value, curves=curves, card=card, credits=named)
    if axes["pretext"] != "none":
        toy.pretrain(results, axes, [2.0, 1.0, 0.5])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = toy.plan(tmp_path_factory.mktemp("whole") / "results", POINTS, PROTOCOL)
    for axes in POINTS:
        record(results, axes)
    return toy.build_board(results.root, results.board) / "index.html"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Missing and failed runs, an unlearnable block, an oracle, long names."""
    points = toy.grid(
        dataset=["chest", "a-dataset-with-a-name-that-goes-on-and-on-and-on-for-ever"],
        rate=[0.3, 0.7], pretext=["none", "a-pretext-of-" + "very-" * 8 + "long-name"],
        method=["ce", "co-teaching"], seed=[0, 1],
    )  # fmt: skip
    results = toy.plan(tmp_path_factory.mktemp("broken") / "results", points, PROTOCOL)
    for index, axes in enumerate(points):
        if index % 7 == 3:
            toy.fail(results, axes, "RuntimeError: " + "out of memory " * 12)
        elif index % 9 != 5:
            asked = {"noise_rate": 1} if axes["method"] == "co-teaching" else None
            toy.finish(results, axes, 0.6, oracle=asked, learnable=axes["rate"] < 0.5)
    return toy.build_board(results.root, results.board) / "index.html"


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    points = toy.grid(pretext=[f"pretext-{i}" for i in range(20)], method=["a", "b", "c"])
    results = toy.plan(tmp_path_factory.mktemp("crowded") / "results", points)
    toy.finish_all(results, points, lambda axes: 0.5 + len(axes["pretext"]) / 100)
    return toy.build_board(results.root, results.board) / "index.html"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every name and text that a plugin or a dataset brings is an attack."""
    points = toy.grid(
        dataset=[f"chest{ATTACK}"], noise=[f"symmetric{SPLIT}"], rate=[0.2, 0.4],
        pretext=["none", f"simclr{SPLIT}"], method=[f"ce{ATTACK}"], seed=[0, 1],
    )  # fmt: skip
    told = 'description = "A toy of a protocol"'
    protocol = toy.PROTOCOL.replace(told, f"description = '{ATTACK}'")
    results = toy.plan(tmp_path_factory.mktemp("hostile") / "results", points, protocol)
    card = {key: ATTACK if isinstance(value, str) else value for key, value in toy.CARD.items()}
    card |= {"class_names": [ATTACK, SPLIT], "confounders": [SPLIT], "source": "javascript:hurt=1"}
    for axes in points[:-1]:
        toy.finish(results, axes, score({**axes, "pretext": "none", "method": "cross-entropy",
                                         "dataset": "chest"}), card=card)  # fmt: skip
    toy.fail(results, points[-1], f"RuntimeError: {ATTACK}{SPLIT}")
    return toy.build_board(results.root, results.board) / "index.html"


@pytest.fixture(scope="module")
def finders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs whose wrong labels are known, of methods and datasets with hostile names."""
    points = toy.grid(dataset=[f"chest{ATTACK}"], method=[f"ce{ATTACK}", SPLIT], seed=range(3))
    results = toy.ResultsFolder.create(tmp_path_factory.mktemp("finders") / "results", "toy")
    predicted.plan(results, points, protocol=PROTOCOL)
    for axes in points:
        predicted.finish(results, axes, 0.6)
    return toy.build_board(results.root, results.board) / "index.html"


BOARDS = ["whole", "broken", "crowded", "hostile"]


@pytest.fixture(params=BOARDS)
def page(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def test_it_loads_without_a_complaint_or_a_request(page: Path, chromium: Chromium) -> None:
    chromium.open(page)
    draw_all(chromium)
    assert chromium.complaints() == []
    asked = [url for url in chromium.network() if not url.startswith("data:")]
    assert asked == [page.as_uri()]


def test_no_script_of_a_plugin_runs(hostile: Path, chromium: Chromium) -> None:
    chromium.open(hostile)
    open_all(chromium)
    draw_all(chromium)
    chromium.run("for (const one of document.querySelectorAll('main button')) one.click()")
    chromium.run("document.querySelector('[name=search]').value = arguments[0]", ATTACK)
    chromium.run("document.getElementById('controls').dispatchEvent(new Event('input'))")
    assert chromium.run("return window.hurt") is None
    assert chromium.run("return document.querySelectorAll('main img').length") == 0
    assert chromium.run("return document.querySelectorAll('a[href^=javascript]').length") == 0
    chromium.open(hostile)
    text = chromium.run("return document.body.innerText")
    assert text.count(ATTACK) >= 5
    assert chromium.complaints() == []


def test_detection_is_shown_as_text_filtered_and_sorted(finders: Path, chromium: Chromium) -> None:
    chromium.emulate(390)
    chromium.open(finders)
    open_all(chromium)
    assert chromium.axe() == []
    assert chromium.run("return window.hurt") is None
    rows = "return [...document.querySelectorAll('#detection-table tbody tr')].map(r => r.hidden)"
    assert chromium.run(rows) == [False, False]
    chromium.run("document.querySelector('[name=method]').value = arguments[0]", SPLIT)
    chromium.run("document.getElementById('controls').dispatchEvent(new Event('input'))")
    assert chromium.run(rows) == [True, False]
    assert chromium.run("return document.querySelectorAll('#finders-table th button').length") == 9
    assert chromium.complaints() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(page: Path, chromium: Chromium, width: int, scheme: str) -> None:
    chromium.emulate(width, scheme=scheme)
    chromium.open(page)
    open_all(chromium)
    draw_all(chromium)
    found = [
        f"{one['impact']} {one['id']}: {one['nodes'][0]['html'][:200]}" for one in chromium.axe()
    ]
    assert found == []


def test_axe_finds_nothing_in_active_refinement(tmp_path: Path, chromium: Chromium) -> None:
    results = refined_folder(tmp_path / "results")
    chromium.emulate(390, scheme="dark")
    chromium.open(toy.build_board(results, tmp_path / "board") / "index.html")
    open_all(chromium)
    draw_all(chromium)
    assert [one["id"] for one in chromium.axe()] == [] and chromium.complaints() == []
    assert (
        chromium.run("return document.querySelectorAll('#refinement-table tbody tr').length") == 6
    )


@pytest.mark.parametrize("width", [1280, 768, 390, 320])
def test_nothing_sticks_out_of_the_window(page: Path, chromium: Chromium, width: int) -> None:
    chromium.emulate(width)
    chromium.open(page)
    open_all(chromium)
    draw_all(chromium)
    assert chromium.run("return document.documentElement.scrollWidth") <= width


def test_without_scripts_it_is_whole(whole: Path, chromium: Chromium) -> None:
    chromium.scripts(False)
    chromium.open(whole)
    shown = chromium.driver.find_element("css selector", "main").text
    for words in ("All 108 planned runs are done.", "simclr", "Learning curves", "Advice"):
        assert words in shown
    drawings = chromium.driver.find_elements("css selector", ".drawing > svg")
    assert len(drawings) == 9
    assert all(one.size["height"] > 100 for one in drawings)
    assert not chromium.driver.find_element("id", "controls").is_displayed()
    rows = chromium.driver.find_elements("css selector", "#ranking-table tbody tr")
    assert len(rows) == 6
    # the script shows the same rows
    texts = [row.text for row in rows]
    chromium.scripts(True)
    chromium.open(whole)
    again = chromium.driver.find_elements("css selector", "#ranking-table tbody tr")
    assert [row.text for row in again] == texts


def test_a_filter_holds_for_the_whole_page(whole: Path, chromium: Chromium) -> None:
    chromium.open(whole)
    choose(chromium, "dataset", "tissue")
    choose(chromium, "pretext", "simclr")
    assert chromium.run("return document.querySelectorAll('#ranking-table .block').length") == 3
    assert ranking(chromium) == [["simclr", "co-teaching"], ["simclr", "cross-entropy"]]
    draw_all(chromium)
    blocks = [f"tissue, symmetric {rate}" for rate in RATES]
    assert sorted(shown_in(chromium, "learning")) == sorted(blocks * 2)
    assert lines_of(chromium, "learning") == {"var(--series-1)"}
    runs = chromium.run(
        "return document.querySelectorAll('#runs-table tbody tr:not([hidden])').length"
    )
    assert runs == 1 * 3 * 1 * 2 * 3
    assert visible(chromium, ".entrant") == 2
    pill = chromium.driver.find_element("id", "filter-note")
    assert "tissue · simclr" in pill.text
    pill.click()
    assert len(ranking(chromium)) == 6
    assert len(shown_in(chromium, "learning")) == 12
    assert len(lines_of(chromium, "learning")) == 3
    assert visible(chromium, ".entrant") == 6


def test_families_choose_their_members(whole: Path, chromium: Chromium) -> None:
    chromium.open(whole)
    choose(chromium, "pretext_family", "contrastive")
    assert ranking(chromium) == [["simclr", "co-teaching"], ["simclr", "cross-entropy"]]
    choose(chromium, "method_family", "selection")
    assert ranking(chromium) == [["simclr", "co-teaching"]]
    draw_all(chromium)
    assert lines_of(chromium, "robustness") == {"var(--series-1)"}
    assert visible(chromium, ".entrant") == 1
    assert visible(chromium, "#costs-table tbody tr") == 1
    assert visible(chromium, "#pools tbody tr") == 0  # from scratch
    address = chromium.driver.current_url
    choose(chromium, "pretext", "rotation")  # not of the family
    assert ranking(chromium) == []
    chromium.open(whole, "#" + address.split("#", 1)[1])
    assert ranking(chromium) == [["simclr", "co-teaching"]]
    chromium.driver.find_element("id", "filter-note").click()
    assert len(ranking(chromium)) == 6
    assert visible(chromium, "#pools tbody tr") == 2


def test_a_link_opens_a_pool_without_scripts(whole: Path, chromium: Chromium) -> None:
    chromium.scripts(False)
    chromium.open(whole)
    chromium.driver.find_element("css selector", "a[href='#pool-from-scratch']").click()
    rows = chromium.driver.find_elements("css selector", "#pool-from-scratch tbody tr")
    assert [row.text.split()[:3] for row in rows] == [
        ["1", "none", "co-teaching"], ["2", "none", "cross-entropy"]
    ]  # fmt: skip


def test_a_view_is_in_the_address_and_comes_back(whole: Path, chromium: Chromium) -> None:
    chromium.open(whole)
    choose(chromium, "rate", "0.4")
    choose(chromium, "metric", "1")
    address = chromium.driver.current_url
    chromium.open(whole, "#" + address.split("#", 1)[1])
    note = chromium.driver.find_element("id", "ranking-note").text
    assert note.startswith("By macro F1 of the reading last.")
    assert chromium.run("return document.querySelectorAll('#ranking-table .block').length") == 2
    chromium.open(whole, "#?rate=nonsense&unknown=1")
    assert len(ranking(chromium)) == 6


def test_tables_are_sorted_by_their_headings(whole: Path, chromium: Chromium) -> None:
    chromium.open(whole)
    heading = "#ranking-table [data-key=who] button"
    chromium.driver.find_element("css selector", heading).click()
    assert ranking(chromium) == sorted(ranking(chromium))
    chromium.driver.find_element("css selector", heading).click()
    assert ranking(chromium) == sorted(ranking(chromium), reverse=True)
    open_all(chromium)
    column = (
        "return [...document.querySelectorAll('#runs-table tbody tr')]"
        ".map(r => +r.cells[7].textContent)"
    )
    for expected in (False, True):
        chromium.run("document.querySelectorAll('#runs-table thead button')[7].click()")
        values = chromium.run(column)
        assert values == sorted(values, reverse=expected)


def test_ranks_are_those_of_the_csv_for_any_metric_and_reading(
    whole: Path, chromium: Chromium
) -> None:
    table = list(csv.DictReader((whole.parent / "leaderboard.csv").open(encoding="utf-8")))
    chromium.open(whole)
    for metric, reading in (("balanced_accuracy", "last"), ("brier", "best"), ("mcc", "selected")):
        names = chromium.run("return page.board.metrics.map(m => m.name)")
        choose(chromium, "metric", str(names.index(metric)))
        choose(chromium, "reading", str(["last", "selected", "best"].index(reading)))
        own = [r for r in table if r["metric"] == metric and r["reading"] == reading]
        expected = {}
        for row in own:
            expected.setdefault(f"{row['pretext']} {row['method']}", []).append(float(row["rank"]))
        shown = chromium.run(
            "return [...document.querySelectorAll('#ranking-table tbody tr')].map(r => "
            "[r.querySelector('b').textContent + ' ' + r.querySelector('th span').textContent, "
            "+r.querySelector('.strong').textContent])"
        )
        assert dict(shown) == pytest.approx({k: np.mean(v) for k, v in expected.items()}, abs=0.005)


def test_what_is_shown_is_saved(whole: Path, chromium: Chromium) -> None:
    chromium.open(whole)
    choose(chromium, "dataset", "chest")
    chromium.run("document.getElementById('download-ranking').click()")
    rows = list(csv.DictReader(io.StringIO(chromium.downloaded())))
    assert len(rows) == 6 * 3
    assert {row["dataset"] for row in rows} == {"chest"}
    table = csv.DictReader((whole.parent / "leaderboard.csv").open(encoding="utf-8"))
    known = {
        (r["pretext"], r["method"], r["rate"]): float(r["mean"])
        for r in table
        if (r["dataset"], r["metric"], r["reading"]) == ("chest", "balanced_accuracy", "last")
    }
    for row in rows:
        key = row["pretext"], row["method"], row["rate"]
        assert float(row["mean"]) == pytest.approx(known[key], abs=1e-7)
    chromium.run("document.querySelector('#robustness .downloads button').click()")
    figure = list(csv.DictReader(io.StringIO(chromium.downloaded())))
    assert {row["dataset"] for row in figure} == {"chest"}
    assert len(figure) == 6 * 3
    for row in figure:
        key = row["pretext"], row["method"], row["rate"]
        assert float(row["mean"]) == pytest.approx(known[key], rel=1e-4)


def test_a_series_is_switched_by_keyboard(whole: Path, chromium: Chromium) -> None:
    from selenium.webdriver.common.keys import Keys

    chromium.open(whole)
    button = chromium.driver.find_element("css selector", "#learning .legend button")
    assert button.text == "none"
    draw_all(chromium)
    assert lines_of(chromium, "learning") == {"var(--muted)", "var(--series-0)", "var(--series-1)"}
    button.send_keys(Keys.SPACE)
    assert button.get_attribute("aria-pressed") == "false"
    assert lines_of(chromium, "learning") == {"var(--series-0)", "var(--series-1)"}
    button.send_keys(Keys.ENTER)
    assert len(lines_of(chromium, "learning")) == 3


def test_the_keyboard_reaches_everything_in_order(whole: Path, chromium: Chromium) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    chromium.open(whole)
    seen = []
    for _ in range(24):
        ActionChains(chromium.driver).send_keys(Keys.TAB).perform()
        element = chromium.driver.switch_to.active_element
        seen.append(element.get_attribute("name") or element.text)
        outline = chromium.run("return getComputedStyle(arguments[0]).outlineStyle", element)
        assert outline != "none", seen[-1]
    assert seen[0] == "Skip to the ranking"
    order = ["Summary", "Ranking", "Runs", "search", "dataset", "reading"]
    assert [name for name in seen if name in order] == order


def test_values_are_read_off_under_the_pointer(whole: Path, chromium: Chromium) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    chromium.open(whole)
    draw_all(chromium)
    hidden = "#robustness .vega-embed .mark-symbol path[opacity='0']"
    points = chromium.driver.find_elements("css selector", hidden)
    point = next(one for one in points if one.size["width"] > 10)
    chromium.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", point)
    ActionChains(chromium.driver).move_to_element(point).perform()
    shown = chromium.driver.find_element("css selector", "#vg-tooltip-element.visible").text
    values = dict(line.split(" ", 1) for line in shown.splitlines())
    rows = csv.DictReader((whole.parent / "figures/robustness.csv").open(encoding="utf-8"))
    key = ("dataset", "noise", "method", "pretext", "rate")
    (row,) = (row for row in rows if all(row[name] == values[name] for name in key))
    assert float(values["mean"]) == pytest.approx(float(row["mean"]), abs=1e-5)


def test_it_prints(whole: Path, chromium: Chromium, tmp_path: Path) -> None:
    chromium.open(whole)
    chromium.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF-")
    chromium.emulate(media="print", scheme="dark")
    style = "return getComputedStyle(document.{}).{}"
    # paper is white, on any screen
    assert chromium.run(style.format("body", "backgroundColor")) == "rgb(255, 255, 255)"
    assert chromium.run(style.format("body", "color")) == "rgb(0, 0, 0)"
    for hidden in (".bar", "#controls", "#download-ranking", ".downloads", ".legend"):
        assert not chromium.driver.find_element("css selector", hidden).is_displayed()
    # headings that sort are words on paper too, and figures have legends of their own
    for shown in ("#ranking-table thead button", "#learning .drawing svg"):
        assert chromium.driver.find_element("css selector", shown).is_displayed()


def test_styles_differ_and_series_keep_their_contrast(whole: Path, chromium: Chromium) -> None:
    for scheme in ("light", "dark"):
        chromium.emulate(scheme=scheme)
        chromium.open(whole)
        colour = "return getComputedStyle(document.querySelector('{}')).{}"
        paper = luminance(chromium.run(colour.format("body", "backgroundColor")))
        assert (paper < 0.05) == (scheme == "dark")
        for series in range(8):
            chromium.run(
                "document.querySelector('#learning path').setAttribute('fill', arguments[0])",
                f"var(--series-{series})",
            )
            own = luminance(chromium.run(colour.format("#learning path", "fill")))
            light, dark = max(own, paper), min(own, paper)
            assert (light + 0.05) / (dark + 0.05) >= 3, (scheme, series)


def test_pages_stay_small(crowded: Path, whole: Path) -> None:
    assert crowded.stat().st_size < 3e6
    assert whole.stat().st_size < 3e6


def luminance(colour: str) -> float:
    """Relative luminance of ``rgb(r, g, b)``, WCAG 2.2."""
    parts = [int(part) / 255 for part in colour[4:-1].split(",")]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def open_all(chromium: Chromium) -> None:
    chromium.run("for (const one of document.querySelectorAll('details')) one.open = true")


def draw_all(chromium: Chromium) -> None:
    """Bring each figure into the window, until all are interactive."""
    chromium.driver.set_script_timeout(60)
    chromium.driver.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        const next = () => {
          const still = document.querySelector(".drawing:not([hidden]):not(:has(.vega-embed))");
          if (!still) { scrollTo(0, 0); setTimeout(done, 100); return; }
          still.scrollIntoView({ behavior: "instant" });
          setTimeout(next, 50);
        };
        next();
        """
    )


def shown_in(chromium: Chromium, figure: str) -> list[str]:
    """The second lines of the titles of a figure's panels."""
    found: list[str] = chromium.run(
        "return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)",
        f"#{figure} .role-column-header tspan:nth-child(2), #{figure} .cell tspan:nth-child(2)",
    )
    return found


def lines_of(chromium: Chromium, figure: str) -> set[str]:
    """The colours of the lines that a figure shows."""
    found = chromium.run(
        "return [...document.querySelectorAll(arguments[0])].map(o => o.getAttribute('stroke'))",
        f"#{figure} .vega-embed .mark-line path",
    )
    return set(found)


def choose(chromium: Chromium, name: str, value: str) -> None:
    chromium.run(
        "const field = document.getElementById('controls').elements[arguments[0]];"
        "field.value = arguments[1]; field.dispatchEvent(new Event('input', {bubbles: true}));",
        name,
        value,
    )


def ranking(chromium: Chromium) -> list[list[str]]:
    found: list[list[str]] = chromium.run(
        "return [...document.querySelectorAll('#ranking-table tbody th.who')]"
        ".map(th => [th.querySelector('b'), th.querySelector('span').firstChild]"
        ".map(one => one.textContent.trim()))"
    )
    return found


def visible(chromium: Chromium, selector: str) -> int:
    return int(chromium.run(f"return document.querySelectorAll('{selector}:not([hidden])').length"))
