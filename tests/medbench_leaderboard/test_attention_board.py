"""Attention on the board: means with intervals, strips chosen by rule, pictures, the page."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import board_records as toy
import numpy as np
import pandas as pd
import predicted_records as predicted
import pytest
from PIL import Image

from medbench.attention import balanced, by_hash
from medbench.interfaces.dataset import DataContext
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import discover
from medbench.protocol.spec import DatasetSpec
from medbench.results import load
from medbench_leaderboard.attention import COLUMNS, crossed, read_attended, sentences, strip
from medbench_leaderboard.board import read_board
from medbench_leaderboard.pictures import SIDE, Picture, draw_attention, find_pictures

IMAGES = 12
OPTIONS = {"attention": {"top": 0.25, "images": IMAGES}}
PROTOCOL = toy.PROTOCOL + "[attention]\ntop = 0.25\nimages = 12\n"


def looks(axes: dict[str, Any]) -> dict[str, Any]:
    """Masks cover the upper half; "inside" looks there, "blind" everywhere, random below."""
    masks = np.zeros((IMAGES, 4, 4), np.uint8)
    masks[:, :2] = 255
    inside = np.where(masks > 0, 200, 0).astype(np.uint8)
    inside[:, 0, 0] = 255
    maps = inside if axes["method"] == "inside" else np.full_like(masks, 255)
    shown = np.eye(3)[np.zeros(IMAGES, int)]
    rng = np.random.default_rng(axes["seed"])
    return {
        "attention/maps": maps,
        "attention/random": inside[:, ::-1],
        "attention/occlusion": inside[:3],
        "attention/masks": masks,
        "attention/blanked": np.stack([shown, shown]).astype(np.float16),
        "attention/features": rng.integers(0, 256, (8, 2), dtype=np.uint8),
        "train/ids": np.array([f"train {i}" for i in range(predicted.TRAIN)]),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    points = toy.grid(method=["inside", "blind"], seed=[0, 1, 2])
    results = toy.plan(tmp_path_factory.mktemp("attention") / "results", [], PROTOCOL)
    predicted.plan(results, points, OPTIONS, PROTOCOL)
    for axes in points:
        predicted.finish(results, axes, 0.6, changes=OPTIONS, train=looks(axes))
    return results.root


def test_means_over_images_and_seeds_with_their_chance_levels(folder: Path) -> None:
    results, board = load(folder), read_board(folder)
    found = read_attended(results, board.runs, board.facts)
    assert found is not None and found.masked
    assert list(found.table.columns) == list(COLUMNS)
    by_method = {look.entrant.method: look for look in found.looks}
    inside, blind = (by_method[name].readings["all"] for name in ("inside", "blind"))
    assert (inside["energy"].mean, blind["energy"].mean) == (1, 0.5)
    assert inside["area"].mean == 0.5
    assert inside["random_energy"].mean == 0
    assert (inside["energy"].low, inside["energy"].high) == (1, 1)
    # by hand: the share of images predicted right, over images and seeds
    tables = [
        results.run_attention(key) for key in board.runs.query("method == 'inside'")["run_key"]
    ]
    right = np.mean([table["right"].mean() for table in tables if table is not None])
    assert inside["right"].mean == pytest.approx(right)
    assert inside["right"].low < right < inside["right"].high
    table = found.table.query("method == 'inside' and reading == 'energy'").set_index("images")
    assert table.loc["all", "number"] == IMAGES and table.loc["all", "seeds"] == 3
    assert set(table.index) == {"all", "predicted right", "predicted wrong", "class a", "class b",
                                "class c"}  # fmt: skip
    (sentence,) = sentences(found)
    assert "none + inside has the largest share of its attention inside, 100%" in sentence
    assert sentence.endswith("The interval lies above the area for none + inside.")


def test_score_and_energy_are_compared_within_pairs(tmp_path: Path) -> None:
    methods = ["inside", "blind", "third"]
    points = toy.grid(method=methods, seed=[0, 1, 2])
    results = toy.plan(tmp_path / "results", [], PROTOCOL)
    predicted.plan(results, points, OPTIONS, PROTOCOL)
    for axes in points:
        arrays = looks(axes)
        if axes["method"] == "third":  # half as much outside as blind
            arrays["attention/maps"] = np.where(arrays["attention/masks"] > 0, 200, 100)
            arrays["attention/maps"] = arrays["attention/maps"].astype(np.uint8)
        right = {"inside": 0.9, "third": 0.6, "blind": 0.3}[axes["method"]]
        predicted.finish(results, axes, right, changes=OPTIONS, train=arrays)
    board = read_board(results.root)
    found = read_attended(load(results.root), board.runs, board.facts)
    assert found is not None
    seeds = board.runs["seed"].nunique() * board.runs["dataset"].nunique()
    assert len(found.association.by_pair) == seeds
    assert found.association.mean == pytest.approx(1)
    assert found.association.p == 2 / 2**seeds
    *_, sentence = sentences(found)
    assert f"mean rank correlation of +1.00 in {seeds} pairs" in sentence


def test_a_protocol_without_attention_has_none(tmp_path: Path) -> None:
    results = toy.plan(tmp_path / "results", toy.grid())
    toy.finish_all(results, toy.grid(), lambda axes: 0.5)
    board = read_board(results.root)
    assert read_attended(load(results.root), board.runs, board.facts) is None


def test_the_interval_is_that_of_a_bootstrap_drawn_one_by_one() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(4, 30)) + rng.normal(size=(4, 1)) + rng.normal(size=30)
    values[rng.random(values.shape) < 0.2] = np.nan
    units = np.repeat(np.arange(10), 3)
    (found,) = crossed(values[None], units, 4000, np.random.default_rng(0))
    assert found.mean == pytest.approx(np.nanmean(values))
    draws = []
    for _ in range(2000):
        seeds = rng.integers(0, 4, 4)
        columns = np.concatenate([np.flatnonzero(units == u) for u in rng.integers(0, 10, 10)])
        draws.append(np.nanmean(values[seeds][:, columns]))
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.08 * (high - low))
    assert found.high == pytest.approx(high, abs=0.08 * (high - low))


def test_the_interval_covers_the_mean_of_images_and_seeds_like_these() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        values = rng.normal(size=(8, 40)) + rng.normal(size=(8, 1)) + rng.normal(size=40)
        (found,) = crossed(values[None], np.arange(40), 300, rng)
        covered += found.low <= 0 <= found.high
    assert covered / 200 > 0.85


def test_a_strip_has_the_first_right_and_wrong_of_each_class_by_hash(folder: Path) -> None:
    results = load(folder)
    key = results.find(method="inside", seed=0)
    table = results.run_attention(key)
    assert table is not None
    expected = []
    for label in range(3):
        for right in (1, 0):
            order = [i for i in by_hash(table["id"].to_numpy())
                     if table["label"][i] == label and table["right"][i] == right]  # fmt: skip
            expected += [table["id"][i] for i in order[:1]]
    assert strip(results, key)["id"].tolist() == expected
    chosen = balanced(table["id"].to_numpy(), table["label"].to_numpy(), IMAGES)
    assert strip(results, key)["place"].isin(chosen).all()


def decoded(url: str) -> np.ndarray:
    assert url.startswith("data:image/jpeg;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))).astype(int)


def test_a_picture_is_the_image_with_its_outline_and_the_same_with_attention() -> None:
    pixels = np.full((SIDE, SIDE, 3), 100, np.uint8)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[24:72, 24:72] = True
    attention = np.zeros((4, 4), np.uint8)
    attention[3, 3] = 255
    drawn = decoded(draw_attention(Picture(pixels, mask), attention))
    assert drawn.shape == (SIDE, 2 * SIDE, 3)
    left, right = drawn[:, :SIDE], drawn[:, SIDE:]
    assert abs(left[5:15, 5:15] - 100).max() < 12
    assert abs(left[40:56, 40:56] - 100).max() < 12, "inside the mask the image stays as it is"
    assert left[24, 30:66, 2].mean() - left[24, 30:66, 0].mean() > 60, "the outline is blue-green"
    assert abs(right[5:15, 5:15] - 100).max() < 12
    assert right[-10:, -10:, 0].mean() > 180, "attention is bright"


def test_images_and_masks_come_from_the_dataset_and_faults_are_said() -> None:
    registry = discover()
    entry = registry.get(kind_named("dataset"), "covid-qu-ex-mini")
    context = DataContext(Path("no-cache"))
    dataset = entry.create("covid-qu-ex-mini", {})
    card = dataset.card(context)
    spec = DatasetSpec(
        entry.distribution, "covid-qu-ex-mini", "covid-qu-ex-mini", entry.revision, {},
        card.content_hash,
    ).to_json()  # fmt: skip
    with dataset.open(context) as data:
        ids, image, mask = data.ids[:3].tolist(), data.images[:3], np.asarray(data.masks[:3])
    changed = {**spec, "content_hash": "0" * 64}
    pictures, faults = find_pictures(
        {"chest": (spec, ids), "gone": ({**spec, "plugin": "gone"}, ids), "new": (changed, ids)}
    )
    assert {name for name, _ in pictures} == {"chest"}
    assert faults.keys() == {"gone", "new"}
    assert "changed since the runs" in faults["new"]
    for index, name in enumerate(ids):
        picture = pictures["chest", name]
        assert picture.mask is not None
        assert abs(picture.mask.mean() - mask[index].mean()) < 0.02
        assert abs(picture.pixels.mean() - image[index].mean()) < 2


def test_the_page_shows_attention_and_says_what_it_lacks(folder: Path, tmp_path: Path) -> None:
    out = toy.build_board(folder, tmp_path / "board")
    page = (out / "index.html").read_text("utf-8")
    section = re.search(r'<section id="attention".*?</section>', page, re.DOTALL)
    assert section
    text = section[0]
    assert "Images of chest are not at hand" in text
    pictures = re.findall(
        r'<img src="data:image/jpeg[^"]*" width="192" height="96" alt="([^"]+)"', text
    )
    assert 2 * 3 <= len(pictures) <= 2 * 6
    assert all("A test image of class" in words for words in pictures)
    assert text.count('<svg class="features"') == 2
    assert 'href="#attention"' in page
    table = pd.read_csv(out / "attention.csv")
    assert set(table["reading"]) >= {"energy", "pointing", "iou", "outside_right"}
    without = text.replace("index.html", "")
    assert "http" not in re.sub(r"data:image/jpeg;base64,[^\"]*", "", without)
