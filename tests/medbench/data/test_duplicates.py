"""Copies are found, kept in one split or dropped, and listed with pictures."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_prepare import indexed, png, tree

from medbench.data import (
    DatasetIndex,
    Fingerprints,
    LayoutError,
    PrepareOptions,
    open_images,
    verify_images,
)
from medbench.data.duplicates import COLUMNS, Copies, joined
from medbench.data.prepare import prepare_images
from medbench.interfaces import SPLITS, DataContext, DatasetCard


@given(st.lists(st.lists(st.integers(0, 12), max_size=3), max_size=15))
def test_rows_are_joined_by_the_names_that_they_share(names: list[list[int]]) -> None:
    graph = nx.Graph()
    for row, own in enumerate(names):
        graph.add_node(("row", row))
        graph.add_edges_from((("row", row), ("name", name)) for name in own)
    expected = {}
    for part in nx.connected_components(graph):
        rows = sorted(number for kind, number in part if kind == "row")
        expected |= dict.fromkeys(rows, rows[0] if rows else 0)
    assert joined(names) == [expected[row] for row in range(len(names))]


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))[..., None]


def brighter(content: bytes) -> bytes:
    """The same picture, a little brighter: other pixels, the same look."""
    values = np.clip(pixels(content)[..., 0].astype(int) + 3, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def test_sets_hold_equal_images_and_those_that_look_the_same() -> None:
    contents = [png(0), png(1), brighter(png(0)), png(2), png(0), png(1), png(3)]
    images = [pixels(content) for content in contents]
    copies = Copies.among(Fingerprints.of(images), images.__getitem__)
    assert copies.sets == [[0, 2, 4], [1, 5]]
    assert copies.equal_to == [0, 1, None, None, 0, 1, None]


# In ``indexed``, images are labelled a, b, a, b, ... and split in eights: 0 to 3 train, 4 and 5
# validation, 6 and 7 test.
#: 1 and 15 (train and test, both b), 6 and 10 (test and train, both a, only alike), and
#: 4 and 19 (validation and train, labels a and b).
COPIED = {
    "n15": png(1), "n10": brighter(png(6)), "n19": png(4),
}  # fmt: skip


def prepared(
    folder: Path, out: Path, index: DatasetIndex | None = None, **options: object
) -> DatasetCard:
    context = DataContext(out.parent)
    return prepare_images(out, index or indexed(folder), context, PrepareOptions(**options))  # type: ignore[arg-type]


def splits_of(path: Path) -> dict[str, str]:
    names = {code: name for name, code in SPLITS.items()}
    with open_images(path) as data:
        return {str(i)[:3]: names[int(s)] for i, s in zip(data.ids, data.split, strict=True)}


def listed(path: Path) -> list[dict[str, str]]:
    text = path.with_name(f"{path.stem}-duplicates.csv").read_text("utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def test_copies_in_given_splits_go_to_the_first_of_their_splits(tmp_path: Path) -> None:
    folder, out = tree(tmp_path / "images", **COPIED), tmp_path / "toy.h5"
    prepared(folder, out, duplicates="keep")
    before = splits_of(out)
    card = prepared(folder, out, duplicates="group")
    after = splits_of(out)
    moved = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    assert moved == {
        "015": ("test", "train"), "006": ("test", "train"), "004": ("validation", "train"),
    }  # fmt: skip
    assert card.audit["duplicates"] == {
        "policy": "group", "sets": 3, "images": 6, "spanned_splits": 3, "dropped": 0,
    }  # fmt: skip
    assert card.audit["exact_duplicates"]["sets_across_splits"] == 0
    assert card.audit["near_duplicates"]["pairs_across_splits"] == 0
    assert any("3 sets; 3 spanned splits, and now each is in one" in c for c in card.confounders)
    assert verify_images(out) == card


def test_of_each_set_one_image_of_each_label_is_kept(tmp_path: Path) -> None:
    folder, out = tree(tmp_path / "images", n22=png(6), **COPIED), tmp_path / "toy.h5"
    card = prepared(folder, out, duplicates="drop")
    after = splits_of(out)
    assert set(map("{:03d}".format, range(40))) - after.keys() == {"010", "015", "022"}
    assert (after["004"], after["019"]) == ("train", "train")  # one label is a mistake
    assert card.audit["duplicates"]["dropped"] == 3
    assert sum(card.split_sizes.values()) == 37
    assert verify_images(out) == card
    with open_images(out) as data:
        for place, name in enumerate(data.ids):
            expected = np.asarray(Image.open(folder / name))
            np.testing.assert_array_equal(data.images[place][..., 0], expected)
            assert data.labels[place] == int(name[:3]) % 2
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_dropping_gives_the_bytes_of_a_dataset_without_the_copies(tmp_path: Path) -> None:
    folder, out = tree(tmp_path / "images", n15=png(1)), tmp_path / "a" / "toy.h5"
    prepared(folder, out, duplicates="drop")
    whole = indexed(folder)
    fewer = replace(whole, samples=[s for s in whole.samples if s.id != "015.png"])
    prepared(folder, tmp_path / "b" / "toy.h5", fewer)
    with open_images(out) as one, open_images(tmp_path / "b" / "toy.h5") as other:
        np.testing.assert_array_equal(one.images[:], other.images[:])
        assert one.ids.tolist() == other.ids.tolist()


def test_nothing_is_done_unless_it_is_asked_for(tmp_path: Path) -> None:
    folder, out = tree(tmp_path / "images", **COPIED), tmp_path / "toy.h5"
    card = prepared(folder, out)
    assert "duplicates" not in card.audit
    assert card.audit["exact_duplicates"]["sets_across_splits"] == 2
    assert [row["done"] for row in listed(out)] == [""] * 6


def test_a_split_that_receives_an_image_of_labels_as_given_is_trusted_no_more(
    tmp_path: Path,
) -> None:
    folder, out = tree(tmp_path / "images", n15=png(1)), tmp_path / "toy.h5"  # test to train
    card = prepared(folder, out, duplicates="group", trusted=("train", "validation"))
    assert card.trusted == ("validation",)
    card = prepared(folder, out, duplicates="group", trusted=("train", "test"))
    assert card.trusted == ("train", "test")
    card = prepared(folder, out, duplicates="keep", trusted=("train",))
    assert card.trusted == ("train",)
    assert verify_images(out) == card


def test_where_medbench_splits_it_splits_again(tmp_path: Path) -> None:
    folder, out = tree(tmp_path / "images", **COPIED), tmp_path / "toy.h5"
    asked: list[Mapping[str, int]] = []

    def again(copies: Mapping[str, int]) -> dict[str, str]:
        asked.append(copies)
        return {sample.id: "test" if sample.id in copies else sample.split
                for sample in indexed(folder).samples}  # fmt: skip

    prepared(folder, out, replace(indexed(folder), split_again=again), duplicates="group")
    (copies,) = asked
    assert {frozenset(i[:3] for i in copies if copies[i] == n) for n in copies.values()} == {
        frozenset({"001", "015"}), frozenset({"006", "010"}), frozenset({"004", "019"}),
    }  # fmt: skip
    assert {splits_of(out)[name[:3]] for name in copies} == {"test"}


def test_a_split_that_loses_all_its_images_is_an_error(tmp_path: Path) -> None:
    folder = tree(tmp_path / "images", 16, **{f"n{i}": png(0) for i in (4, 5, 12, 13)})
    with pytest.raises(LayoutError, match=r"split 'validation'.*--duplicates keep"):
        prepared(folder, tmp_path / "toy.h5", duplicates="group")
    assert not (tmp_path / "toy.h5").exists()


def test_all_copies_are_listed_those_with_different_labels_first(tmp_path: Path) -> None:
    folder, out = tree(tmp_path / "images", **COPIED), tmp_path / "toy.h5"
    prepared(folder, out, duplicates="group")
    rows = listed(out)
    assert list(rows[0]) == list(COLUMNS)
    assert [tuple(row.values()) for row in rows] == [
        ("1", "004.png", "a", "train", "004.png", "yes", "moved from validation"),
        ("1", "019.png", "b", "train", "004.png", "yes", ""),
        ("2", "001.png", "b", "train", "001.png", "no", ""),
        ("2", "015.png", "b", "train", "001.png", "no", "moved from test"),
        ("3", "006.png", "a", "train", "", "no", "moved from test"),
        ("3", "010.png", "a", "train", "", "no", ""),
    ]
    # equal images with different labels come before those that only look the same
    (folder / "003.png").write_bytes(brighter(png(2)))
    prepared(folder, out, duplicates="group")
    assert [row["id"] for row in listed(out)][:4] == ["004.png", "019.png", "002.png", "003.png"]
    (folder / "003.png").write_bytes(png(3))
    prepared(folder, out, duplicates="drop")
    assert [row["id"] for row in listed(out) if row["done"] == "dropped"] == ["015.png", "010.png"]


class Page(HTMLParser):
    """Elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_pictures_of_them_are_a_page_that_needs_no_network(tmp_path: Path) -> None:
    folder, out = tree(tmp_path / "images", **COPIED), tmp_path / "toy.h5"
    hostile = indexed(folder, class_names=("<script>alert(1)</script>", "b"))
    prepared(folder, out, hostile, duplicates="group")
    text = (tmp_path / "toy-duplicates.html").read_text("utf-8")
    tags = Page(text).found
    assert [tag for tag, _ in tags].count("img") == 6
    assert "script" not in {tag for tag, _ in tags}
    sources = [attributes["src"] for tag, attributes in tags if tag == "img"]
    assert all(source and source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?://", text)
    assert "Set 1: 2 images, <strong>labels differ</strong>" in text
    assert text.index("004.png") < text.index("001.png") < text.index("006.png")


def test_lists_of_an_earlier_preparation_are_removed(tmp_path: Path) -> None:
    out = tmp_path / "toy.h5"
    prepared(tree(tmp_path / "images", **COPIED), out)
    assert len(list(tmp_path.glob("toy-duplicates.*"))) == 2
    prepared(tree(tmp_path / "others"), out)
    assert not list(tmp_path.glob("toy-duplicates.*"))
