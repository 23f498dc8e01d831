"""A folder of the user's own images: class folders, or a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from original_trees import Files, indexed, write_tree, write_zip

from medbench.data import LayoutError, RefusedError
from medbench.errors import MedbenchError
from medbench.interfaces import SPLITS, Settings
from medbench_plugins.datasets.folder import FolderDataset


def folder(name: str = "my-clinic") -> FolderDataset:
    return FolderDataset(name, Settings())


def described(found: Any) -> list[tuple[str, int, str, str]]:
    return [(s.id, s.label, s.split, s.group) for s in found.samples]


def test_class_folders_with_patients(tmp_path: Path, clinic: Files) -> None:
    found = indexed(folder(), write_tree(tmp_path / "images", clinic))
    assert found.card.class_names == ("healthy", "ill")
    assert "patient" in found.card.group_meaning
    splits_of: dict[str, set[str]] = {}
    for sample in found.samples:
        class_name, patient, _ = sample.id.split("/")
        assert (found.card.class_names[sample.label], sample.group) == (class_name, patient)
        splits_of.setdefault(sample.group, set()).add(sample.split)
    assert all(len(splits) == 1 for splits in splits_of.values())
    counts = [list(splits_of.values()).count({split}) for split in SPLITS]
    assert counts == [14, 2, 4]
    nested = write_zip(tmp_path / "a.zip", {f"export/2024/{n}": d for n, d in clinic.items()})
    again = indexed(folder(), nested)
    assert [s.label for s in again.samples] == [s.label for s in found.samples]


def test_split_folders(tmp_path: Path, clinic: Files) -> None:
    words = ("Train", "val", "TEST", "train")
    files = {
        f"{words[place % 4]}/{name.split('/')[0]}/{place}.png": data
        for place, (name, data) in enumerate(clinic.items())
    }
    found = indexed(folder(), write_tree(tmp_path / "a", files))
    assert {(s.id.split("/")[0].lower()[:3], s.split) for s in found.samples} == {
        ("tra", "train"),
        ("val", "validation"),
        ("tes", "test"),
    }
    assert any("No patient ids" in fault for fault in found.card.confounders)
    without = {name: data for name, data in files.items() if not name.startswith("val")}
    dealt = indexed(folder(), write_tree(tmp_path / "b", without))
    assert sum(s.split == "validation" for s in dealt.samples) == 4
    assert any("validation split was made" in fault for fault in dealt.card.confounders)


def table(clinic: Files, *columns: str) -> bytes:
    rows = [",".join(("path", "label", *columns))]
    for name in clinic:
        class_name, patient, _ = name.split("/")
        given = {"group": patient, "age": "70", "split": ("train", "val", "test")[len(rows) % 3]}
        rows.append(",".join((name, f'"{class_name}, sure"', *(given[c] for c in columns))))
    return "\n".join(rows).encode("utf-8-sig")


def test_a_table_names_labels_splits_and_groups(tmp_path: Path, clinic: Files) -> None:
    files = {**clinic, "labels.csv": table(clinic, "age", "group", "split"), "more.png": b""}
    root = write_tree(tmp_path / "images", files)
    found = indexed(folder(), root / "labels.csv")
    assert found.card.class_names == ("healthy, sure", "ill, sure")
    assert [s.split for s in found.samples[:3]] == ["validation", "test", "train"]
    assert found.samples[0].group == "p00"
    assert "age" in found.notes[0]
    assert "1 images" in found.notes[1]
    packed = indexed(folder(), write_zip(tmp_path / "a.zip", files))
    assert described(packed) == described(indexed(folder(), root)) == described(found)


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        ("name,label\n", LayoutError, "no column path; found name, label"),
        ("path,label\n../x.png,a\n", RefusedError, r"line 2: path '\.\./x\.png' leaves"),
        ("path,label\n/etc/x.png,a\n", RefusedError, "leaves the folder"),
        ("path,label\nhealthy/x.png,a\n", LayoutError, r"there is no image 'healthy/x\.png'"),
        ("path,label\nhealthy/p00/00.png,\n", LayoutError, "no label"),
        ("path,label,split\nhealthy/p00/00.png,a,x\n", LayoutError, "split 'x'; it is train"),
        ("path,label\n" + 2 * "healthy/p00/00.png,a\n", LayoutError, "line 3.*listed twice"),
        ("path,label\n", LayoutError, "lists no image"),
        (
            "path,label,split\nhealthy/p00/00.png,a,\nill/p10/00.png,b,test\n",
            LayoutError,
            "no split",
        ),
        ("", LayoutError, "found nothing"),
    ],
)
def test_a_wrong_table_names_the_line(
    tmp_path: Path, clinic: Files, text: str, error: type[MedbenchError], reason: str
) -> None:
    root = write_tree(tmp_path / "images", {**clinic, "labels.csv": text.encode()})
    with pytest.raises(error, match=reason):
        indexed(folder(), root)


def test_images_without_class_folders_say_what_is_expected(tmp_path: Path, clinic: Files) -> None:
    flat = {name.replace("/", "-"): data for name, data in clinic.items()}
    with pytest.raises(LayoutError, match=r"is in no class folder; expected CLASS/\*\.png"):
        indexed(folder(), write_tree(tmp_path / "flat", flat))
    with pytest.raises(LayoutError, match=r"no image: found 1 x text/\*\.txt; expected"):
        indexed(folder(), write_tree(tmp_path / "text", {"a.txt": b""}))
