"""The sheet of suspects in a real Chromium: decide, save, take back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from chromium import Chromium
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from medbench.data import Columns, ImageBatch, write_images
from medbench.data.corrections import History, read_corrections
from medbench.interfaces import DatasetCard
from medbench.suspects.sheet import MOST_SHOWN, render_sheet
from medbench.suspects.table import Suspect

ATTACK = '<img src=x onerror="window.hurt=1">.png'
CLASSES = ("benign", "malignant", "</script><script>window.hurt=1</script>")
COUNT = 15


def suspects(count: int = COUNT) -> list[Suspect]:
    return [
        Suspect(
            row + 1, ATTACK if row == 0 else f"{row}.png", "", CLASSES[row % 2],
            CLASSES[1 - row % 2], 2.0, 0.9, "7 of 10 neighbours & more", "", row,
        )
        for row in range(count)
    ]  # fmt: skip


def image(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (24, 32, 1), np.uint8)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    path = tmp_path_factory.mktemp("sheet") / "toy.h5"
    card = DatasetCard(
        name="toy", title="Toy", modality="none", class_names=CLASSES, image_shape=(24, 32, 1),
        split_sizes={}, licence="CC0", citation="nobody", source="a generator",
    )  # fmt: skip
    columns = Columns(np.arange(COUNT) % 2, np.zeros(COUNT), [each.id for each in suspects()])
    write_images(path, card, [ImageBatch(np.stack([image(row) for row in range(COUNT)]))], columns)
    return History(path)


@pytest.fixture
def sheet(history: History, chromium: Chromium, tmp_path: Path) -> Path:
    page = tmp_path / "sheet.html"
    text = render_sheet(
        "toy", CLASSES, history.card.content_hash, suspects(), "12 (9 to 14)", image
    )
    page.write_text(text, "utf-8")
    chromium.open(page)
    chromium.run("localStorage.clear()")
    chromium.open(page)
    return page


def press(chromium: Chromium, *keys: str) -> None:
    for key in keys:
        chromium.driver.find_element(By.TAG_NAME, "body").send_keys(key)


def write(chromium: Chromium, field: str, text: str) -> None:
    chromium.driver.find_element(By.ID, field).send_keys(text)


def said(chromium: Chromium) -> str:
    return str(chromium.run("return document.getElementById('said').textContent"))


def saved(chromium: Chromium) -> str:
    chromium.driver.find_element(By.ID, "save").click()
    return chromium.downloaded()


def test_ten_suggestions_are_accepted_saved_and_taken_back(
    sheet: Path, chromium: Chromium, history: History
) -> None:
    write(chromium, "who", "Ada")
    press(chromium, *"a" * 10)
    assert said(chromium) == "10 corrected, 0 kept, 0 skipped; 5 left."
    text = saved(chromium)
    decisions, notes = read_corrections([("toy.csv", text)], history, "never")
    assert notes == []
    assert [each.id for each in decisions] == [each.id for each in suspects()[:10]]
    assert all(each.label == CLASSES[1 - row % 2] for row, each in enumerate(decisions))
    assert {each.who for each in decisions} == {"Ada"}
    assert all(each.when.startswith("20") for each in decisions)
    press(chromium, *"uuu")
    assert said(chromium) == "7 corrected, 0 kept, 0 skipped; 8 left."
    assert len(list(csv.DictReader(io.StringIO(saved(chromium))))) == 7
    # the image whose decision was taken back is the current one
    assert chromium.run("return document.querySelector('[aria-current]').id") == "rank-8"
    assert chromium.complaints() == []


def test_an_image_is_kept_skipped_or_given_any_class(sheet: Path, chromium: Chromium) -> None:
    write(chromium, "who", "Ada")
    write(chromium, "why", 'a "clear" border')
    press(chromium, "k")
    press(chromium, "s", Keys.ARROW_RIGHT, Keys.ARROW_LEFT, "a")
    other = chromium.driver.find_element(By.ID, "other")
    other.find_elements(By.TAG_NAME, "option")[3].click()
    rows = list(csv.DictReader(io.StringIO(saved(chromium))))
    assert [(row["id"], row["label"]) for row in rows] == [
        (ATTACK, "benign"), ("2.png", "malignant"), ("3.png", CLASSES[2]),
    ]  # fmt: skip
    # a reason is that of the image for which it was written
    assert [row["why"] for row in rows] == ['a "clear" border', "", ""]


def test_each_decision_keeps_the_name_under_which_it_was_made(
    sheet: Path, chromium: Chromium
) -> None:
    write(chromium, "who", "Ada")
    press(chromium, "a")
    saved(chromium)
    chromium.open(sheet)
    chromium.driver.find_element(By.ID, "who").clear()
    write(chromium, "who", "Bob")
    press(chromium, "a")
    rows = list(csv.DictReader(io.StringIO(saved(chromium))))
    assert [row["who"] for row in rows] == ["Ada", "Bob"]


def test_a_key_after_a_choice_from_the_list_is_for_the_next_image(
    sheet: Path, chromium: Chromium
) -> None:
    other = chromium.driver.find_element(By.ID, "other")
    other.find_elements(By.TAG_NAME, "option")[3].click()
    chromium.driver.switch_to.active_element.send_keys("k")
    assert said(chromium) == "1 corrected, 1 kept, 0 skipped; 13 left."


def test_decisions_of_a_longer_sheet_of_the_same_images_do_no_harm(
    sheet: Path, chromium: Chromium, history: History
) -> None:
    write(chromium, "who", "Ada")
    for _ in range(COUNT):
        press(chromium, "a")
    few = render_sheet(
        "toy", CLASSES, history.card.content_hash, suspects(4), "12", image, " --cache /a/b"
    )
    sheet.write_text(few, "utf-8")
    chromium.open(sheet)
    assert said(chromium) == "4 corrected, 0 kept, 0 skipped; 0 left."
    press(chromium, "u")
    assert len(list(csv.DictReader(io.StringIO(saved(chromium))))) == COUNT - 1
    assert said(chromium).endswith("toy-corrections.csv --cache /a/b")
    assert chromium.complaints() == []


def test_a_class_can_be_shown_alone_and_a_name_is_asked_for(
    sheet: Path, chromium: Chromium
) -> None:
    shown = "return [...document.querySelectorAll('#cards > li:not([hidden])')].map(c => c.id)"
    chromium.driver.find_element(By.CSS_SELECTOR, "#filter option:nth-child(3)").click()
    assert chromium.run(shown) == [f"rank-{rank}" for rank in range(2, COUNT + 1, 2)]
    press(chromium, "a", "a")
    chromium.driver.find_element(By.ID, "save").click()
    assert said(chromium) == "Write your name into Reviewer first."
    write(chromium, "who", "keys here decide nothing: aaa")
    rows = list(csv.DictReader(io.StringIO(saved(chromium))))
    assert [row["id"] for row in rows] == ["1.png", "3.png"]


def test_decisions_survive_that_the_page_is_loaded_again(sheet: Path, chromium: Chromium) -> None:
    write(chromium, "who", "Ada")
    press(chromium, "a", "k")
    chromium.open(sheet)
    assert said(chromium) == "1 corrected, 1 kept, 0 skipped; 13 left."
    assert chromium.run("return document.getElementById('who').value") == "Ada"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_axe_finds_nothing_and_nothing_is_fetched(
    scheme: str, width: int, sheet: Path, chromium: Chromium
) -> None:
    chromium.emulate(width, scheme=scheme)
    chromium.open(sheet)
    press(chromium, "a", "k")
    assert chromium.axe() == []
    assert chromium.run("return document.documentElement.scrollWidth") <= width
    assert [url for url in chromium.network() if not url.startswith(("file:", "data:"))] == []


def test_an_attack_is_text(sheet: Path, chromium: Chromium) -> None:
    assert chromium.run("return window.hurt") is None
    assert ATTACK in chromium.run("return document.querySelector('#rank-1 h2').textContent")
    assert chromium.complaints() == []


def test_without_scripts_the_list_can_be_read(sheet: Path, chromium: Chromium) -> None:
    chromium.scripts(False)
    chromium.open(sheet)
    text = chromium.driver.find_element(By.TAG_NAME, "body").text
    assert "Scripts are off" in text
    assert "About 12 (9 to 14) of 15 labels are wrong" in text
    assert "7 of 10 neighbours & more" in text
    assert not chromium.driver.find_element(By.ID, "bar").is_displayed()


def test_a_long_list_is_cut_and_it_is_said() -> None:
    page = render_sheet("toy", CLASSES, "0" * 64, suspects(MOST_SHOWN + 5), "12", image)
    assert page.count("<li ") == MOST_SHOWN
    assert "all are in <code>suspects.csv</code>" in page
