"""A folder of the user's own images: class folders, or a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from original_trees import Files, indexed, prepare, write_tree, write_zip

from medbench.data import LayoutError, RefusedError, read_card, verify_images
from medbench.errors import MedbenchError
from medbench.interfaces import SPLITS, DataContext, Settings
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import discover
from medbench.protocol.decidable import decidability
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.protocol.runs import expand
from medbench.protocol.spec import RunSpec
from medbench_plugins.datasets.folder import FolderDataset, protocol_text


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


def test_splits_may_be_named_training_and_testing(tmp_path: Path, clinic: Files) -> None:
    words = ("Training", "Training", "Testing")
    files = {
        f"brain/{words[place % 3]}/{name.split('/')[0]}/{place}.png": data
        for place, (name, data) in enumerate(clinic.items())
    }
    found = indexed(folder(), write_tree(tmp_path / "a", files))
    assert found.card.class_names == ("healthy", "ill")
    splits = {s.id.split("/")[1]: set() for s in found.samples}
    for sample in found.samples:
        splits[sample.id.split("/")[1]].add(sample.split)
    assert splits == {"Training": {"train", "validation"}, "Testing": {"test"}}


def split_again(found: Any, *copies: tuple[str, ...]) -> dict[str, str]:
    """Splits with these sets of copies kept together, by id."""
    sets = {name: number for number, names in enumerate(copies) for name in names}
    return dict(found.split_again(sets))


def test_copies_and_patients_are_in_one_split_where_medbench_splits(
    tmp_path: Path, clinic: Files
) -> None:
    found = indexed(folder(), write_tree(tmp_path / "images", clinic))
    before = {s.id: s.split for s in found.samples}
    assert split_again(found) == before
    names = sorted(before)
    # of three patients, of which two have one split before
    copies = (names[0], names[9]), (names[10], names[30], names[50])
    after = split_again(found, *copies)
    groups = {s.id: s.group for s in found.samples}
    joined = [{groups[name] for name in names} for names in copies]
    patients = set.union(*joined)  # they share a patient, so all are together
    assert len({after[name] for name in names if groups[name] in patients}) == 1
    for group in set(groups.values()):
        assert len({after[name] for name in names if groups[name] == group}) == 1
    shares = [list(after.values()).count(split) / len(after) for split in SPLITS]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.1)


def test_in_given_splits_copies_leave_test_and_validation(tmp_path: Path, clinic: Files) -> None:
    words = ("Training", "Training", "Testing")
    files = {
        f"{words[place % 3]}/{name.split('/')[0]}/{place:02d}.png": data
        for place, (name, data) in enumerate(clinic.items())
    }
    found = indexed(folder(), write_tree(tmp_path / "images", files))
    before = {s.id: s.split for s in found.samples}
    tests = [name for name, split in before.items() if split == "test"]
    held = next(name for name, split in before.items() if split == "validation")
    after = split_again(found, (tests[0], "Training/healthy/00.png"), (tests[1], tests[2]))
    assert after[tests[0]] == after["Training/healthy/00.png"] != "test"
    assert [after[name] for name in tests[1:]] == ["test"] * (len(tests) - 1)
    # a tenth of training is validation, as before, and keeps copies together, too
    both = split_again(found, (held, "Training/healthy/00.png"))
    assert both[held] == both["Training/healthy/00.png"]


def test_a_copy_that_moves_takes_its_patient_along(tmp_path: Path, clinic: Files) -> None:
    patients = list(dict.fromkeys(tuple(name.split("/")[:2]) for name in clinic))
    held = set(patients[::3])
    files = {
        f"{'test' if tuple(name.split('/')[:2]) in held else 'train'}/{name}": data
        for name, data in clinic.items()
    }
    found = indexed(folder(), write_tree(tmp_path, files))
    before = {s.id: s.split for s in found.samples}
    group = {s.id: s.group for s in found.samples}
    moved = next(name for name, split in before.items() if split == "test")
    copied = next(name for name, split in before.items() if split == "train")
    after = split_again(found, (moved, copied))
    of_patient = [name for name in group if group[name] == group[moved]]
    assert len(of_patient) > 1
    assert {after[name] for name in of_patient} == {after[copied]}
    assert after[copied] in ("train", "validation")
    others = [n for n in before if before[n] == "test" and n not in of_patient]
    assert others and all(after[name] == "test" for name in others)


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
        ("path,label\nhealthy/p00/00.png,lung, left\n", LayoutError, "line 2: more fields"),
        ("path,label,Label\nhealthy/p00/00.png,a,b\n", LayoutError, "label is there more than"),
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


def test_what_is_left_out_is_said(tmp_path: Path, clinic: Files) -> None:
    more = {"ill/x.gif": b"GIF89a", "ill/IM0001": b"?", "odd/y.gif": b"GIF89a"}
    found = indexed(folder(), write_tree(tmp_path / "a", {**clinic, **more}))
    (note,) = (note for note in found.notes if "left out" in note)
    assert note.startswith("3 files left out (2 .gif, 1 no ending), such as ill/")
    assert indexed(folder(), write_tree(tmp_path / "b", clinic)).notes == []


def test_studies_of_a_patient_stay_together(tmp_path: Path, clinic: Files) -> None:
    files = {
        f"{name.rpartition('/')[0]}/study-{place % 3}/{place}.png": data
        for place, (name, data) in enumerate(clinic.items())
    }
    found = indexed(folder(), write_tree(tmp_path / "images", files))
    assert {sample.group for sample in found.samples} == {name.split("/")[1] for name in clinic}


def test_a_table_may_be_in_the_folder_that_holds_everything(tmp_path: Path, clinic: Files) -> None:
    whole = {f"export/{name}": data for name, data in clinic.items()}
    whole["export/labels.csv"] = table(clinic)
    found = indexed(folder(), write_zip(tmp_path / "a.zip", whole))
    alone = {**clinic, "labels.csv": table(clinic)}
    other = indexed(folder(), write_tree(tmp_path / "b", alone))
    assert found.card.class_names == other.card.class_names
    assert [s.label for s in found.samples] == [s.label for s in other.samples]
    part = {**clinic, "ill/notes.csv": b"a,b\n"}
    (note,) = indexed(folder(), write_tree(tmp_path / "c", part)).notes
    assert note.startswith("1 CSV files not used, such as ill/notes.csv")


def test_a_class_without_a_test_image_is_named(tmp_path: Path, clinic: Files) -> None:
    files = {
        f"{'train' if place % 2 or name.startswith('ill') else 'test'}/{name}": data
        for place, (name, data) in enumerate(clinic.items())
    }
    assert "no test image of class ill" in indexed(folder(), write_tree(tmp_path, files)).notes


def test_folders_of_which_some_are_splits_are_refused(tmp_path: Path, clinic: Files) -> None:
    files = {
        f"{('train', 'test', 'external')[place % 3]}/{name}": data
        for place, (name, data) in enumerate(clinic.items())
    }
    with pytest.raises(LayoutError, match="named like splits, but not external"):
        indexed(folder(), write_tree(tmp_path, files))


def test_sources_of_one_name_are_refused(tmp_path: Path, clinic: Files) -> None:
    sources = [write_tree(tmp_path / site / "images", clinic) for site in ("a", "b")]
    with pytest.raises(LayoutError, match="is in several sources of the same name"):
        indexed(folder(), *sources)


def trust_table(clinic: Files, trusted: Mapping[str, Sequence[str]]) -> bytes:
    """Return a CSV in which each split has the given values of ``trusted``, in turn."""
    rows = ["path,label,split,trusted"]
    for place, name in enumerate(clinic):
        split = ("train", "val", "test")[place % 3]
        values = trusted.get(split, [""])
        rows.append(f"{name},{name.split('/')[0]},{split},{values[place // 3 % len(values)]}")
    return "\n".join(rows).encode()


def test_labels_of_a_folder_are_not_trusted_unless_told(tmp_path: Path, clinic: Files) -> None:
    root = write_tree(tmp_path / "images", clinic)
    assert indexed(folder(), root).card.trusted == ()
    assert prepare(folder(), tmp_path, root, size=8).card.trusted == ()
    told = prepare(folder(), tmp_path, root, size=8, trusted=("test",))
    assert told.card.trusted == ("test",)
    assert read_card(told.path).trusted == ("test",)
    assert verify_images(told.path).content_hash == told.card.content_hash


def test_a_column_says_which_labels_are_trusted(tmp_path: Path, clinic: Files) -> None:
    values = {"test": ["yes", "TRUE", "1"], "val": ["no", "yes", "0", "False"]}
    files = {**clinic, "labels.csv": trust_table(clinic, values)}
    found = indexed(folder(), write_tree(tmp_path / "images", files))
    assert found.card.trusted == ("test",)
    assert [note for note in found.notes if "7 of 27 validation labels are trusted" in note]
    prepared = prepare(folder(), tmp_path, tmp_path / "images", size=8, trusted=("train", "test"))
    assert prepared.card.trusted == ("train", "test")  # the option goes before the column


def test_a_wrong_word_of_trust_names_the_line(tmp_path: Path, clinic: Files) -> None:
    files = {**clinic, "labels.csv": trust_table(clinic, {"train": ["perhaps"]})}
    with pytest.raises(LayoutError, match="line 2: trusted 'perhaps'; it is yes, no or empty"):
        indexed(folder(), write_tree(tmp_path / "images", files))


def test_a_class_with_one_image_is_refused_in_one_line(tmp_path: Path, clinic: Files) -> None:
    files = {**clinic, "rare/p99/0.png": next(iter(clinic.values()))}
    with pytest.raises(LayoutError, match=r"rare/p99/0\.png: is the only image of class 'rare'"):
        indexed(folder(), write_tree(tmp_path / "images", files))


@pytest.mark.parametrize("trusted", [(), ("test",), ("train", "validation", "test")])
@pytest.mark.parametrize("sizes", [(60, 20, 20), (9000, 1000, 2000)])
def test_the_first_protocol_can_decide_its_questions_and_asks_no_oracle(
    trusted: tuple[str, ...], sizes: tuple[int, ...], tmp_path: Path, clinic: Files
) -> None:
    card = prepare(folder(), tmp_path, write_tree(tmp_path / "i", clinic), size=64).card
    splits = dict(zip(SPLITS, sizes, strict=True))
    text = protocol_text(replace(card, trusted=trusted, split_sizes=splits))
    protocol = parse_protocol(text, "my-clinic.toml")
    found = expand(ProtocolFile(tmp_path / "x", text, protocol), discover(), DataContext(tmp_path))
    assert (len(found.runs), len(found.pretrainings())) == (42, 7)
    decided = decidability([run.axes for run in found.runs], protocol.statistics)
    assert [of.question for of in decided if of.decidable] == ["methods", "pretraining"]
    assert not [run for run in found.runs if settings_of(run).asks_oracle]
    noise = "symmetric" if "train" in trusted else "as-given"
    assert {run.axes["noise"] for run in found.runs} == {noise}
    said = [" ".join(line.split()) for line in text.splitlines() if " times, about" in line]
    large = sizes[0] == 9000  # 4 minutes with 480 images; 60 take an eighth of it
    assert ("# images.train to 9000 (leave it out) 19 times, about 75 min" in said) == large
    assert f"# images.size to 64 4 times, about {16 if large else 2} min" in said
    # 18.75 * 4 * 50 / 15 * 12 = 3000 times 4 min
    assert said[-1].endswith("all of these 3,000 times, about 200 h") == large


def settings_of(run: RunSpec) -> Any:
    model = discover().get(kind_named("method"), run.method.plugin).load_settings()
    return model.model_validate(run.method.settings)
