"""Corrected versions of a dataset: nothing is lost, and what cannot be applied changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.data import Columns, ImageBatch, open_images, verify_images, write_images
from medbench.data.corrections import CorrectionError, Decision, History, read_corrections
from medbench.interfaces import DatasetCard

CLASSES = ("cat", "dog", "eel")
COUNT = 12


def quiet(done: int, total: int) -> None:
    pass


def dataset(folder: Path, *, masks: bool = False, shift: int = 0) -> Path:
    """Write a dataset of 12 images, labelled cat, dog, eel in turn."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, 8, 8, 1), np.uint8)
    card = DatasetCard(
        name="zoo", title="Zoo", modality="none", class_names=CLASSES, image_shape=(8, 8, 1),
        split_sizes={}, licence="CC0", citation="nobody", source="a generator",
    )  # fmt: skip
    labels = (np.arange(COUNT) + shift) % 3
    columns = Columns(labels, np.arange(COUNT) // 4, [f"{i}.png" for i in range(COUNT)])
    regions = np.ones((COUNT, 8, 8), np.uint8) if masks else None
    folder.mkdir(parents=True, exist_ok=True)
    write_images(folder / "zoo.h5", card, [ImageBatch(images, regions)], columns)
    return folder / "zoo.h5"


@pytest.fixture
def zoo(tmp_path: Path) -> History:
    return History(dataset(tmp_path))


def checked(history: History, *texts: str, **options: bool) -> list[Decision]:
    files = [(f"{number}.csv", text) for number, text in enumerate(texts, 1)]
    return read_corrections(files, history, "today", **options)[0]


def corrected(history: History, *texts: str, **options: bool) -> None:
    history.correct(checked(history, *texts, **options), quiet)


def test_a_version_has_the_new_labels_and_nothing_else_changes(tmp_path: Path) -> None:
    history = History(dataset(tmp_path, masks=True))
    before = history.base.read_bytes()
    corrected(history, "id,label,who,when,why\n0.png,dog,Ada,noon,barks\n2.png,eel,Ada,,\n")
    assert history.base.read_bytes() == before
    path = history.path_of(2)
    assert path.name == "zoo@2.h5"
    card = verify_images(path)
    assert card.name == "zoo@2"
    assert card.content_hash == history.latest.content_hash != history.card.content_hash
    with open_images(history.base) as old, open_images(path) as new:
        assert new.labels.tolist() == [1, *old.labels.tolist()[1:]]
        for part in ("images", "split", "ids", "masks"):
            np.testing.assert_array_equal(getattr(old, part)[:], getattr(new, part)[:])
    text = history.file.read_text()
    assert text.splitlines()[1].startswith("2,0.png,cat,dog,Ada,noon,barks,,")
    assert text.splitlines()[2].startswith("2,2.png,eel,eel,Ada,today,,,")


def test_an_undo_gives_the_same_content_and_keeps_the_decisions(zoo: History) -> None:
    corrected(zoo, "id,label,who\n0.png,dog,Ada\n")
    corrected(zoo, "id,label,who\n0.png,eel,Ada\n1.png,cat,Ada\n")
    text = zoo.file.read_text()
    zoo.undo("Bob", "today", quiet)
    assert zoo.latest.content_hash == zoo.versions[1].content_hash
    zoo.undo("Bob", "today", quiet)
    assert zoo.latest.content_hash == zoo.card.content_hash
    assert zoo.file.read_text().startswith(text)
    assert [version.undoes for version in zoo.versions] == [0, 0, 0, 3, 2]
    with pytest.raises(CorrectionError, match="no decision to undo"):
        zoo.undo("Bob", "today", quiet)


@settings(max_examples=15, deadline=None)
@given(steps=st.lists(st.one_of(
    st.none(), st.dictionaries(st.integers(0, COUNT - 1), st.sampled_from(CLASSES), min_size=1)
), max_size=6))  # fmt: skip
def test_any_order_of_corrections_and_undos_is_a_stack(
    steps: list[dict[int, str] | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    history = History(dataset(tmp_path_factory.mktemp("zoo")))
    stack = [history.labels(1)]
    for step in steps:
        if step is not None:
            rows = [f"{number}.png,{label},Ada" for number, label in step.items()]
            text = "\n".join(["id,label,who", *rows])
            if all(stack[-1][f"{number}.png"] == label for number, label in step.items()):
                with pytest.raises(CorrectionError, match="no label changes"):
                    corrected(history, text)
                continue
            corrected(history, text)
            stack.append(stack[-1] | {f"{number}.png": label for number, label in step.items()})
        elif len(stack) > 1:
            history.undo("Ada", "today", quiet)
            stack.pop()
        read = History(history.base)
        assert read.labels(read.latest.number) == stack[-1]
        with open_images(read.path_of(read.latest.number)) as data:
            assert [CLASSES[label] for label in data.labels] == list(stack[-1].values())


def test_reviewers_who_disagree_are_named_and_nothing_changes(zoo: History) -> None:
    ada, bob = "id,label,who\n0.png,dog,Ada\n", "id,label,who\n0.png,eel,Bob\n"
    named = "'0.png': Ada says dog, Bob says eel"
    with pytest.raises(CorrectionError, match=f"disagree on 1 images: {named}"):
        checked(zoo, ada, bob)
    corrected(zoo, ada)
    with pytest.raises(CorrectionError, match=named):
        checked(zoo, bob)
    assert len(zoo.versions) == 2
    corrected(zoo, bob, overrule=True)
    assert zoo.labels(3)["0.png"] == "eel"
    # a reviewer may think again, and may agree with another
    corrected(zoo, "id,label,who\n1.png,eel,Bob\n")
    corrected(zoo, "id,label,who\n1.png,dog,Bob\n")
    checked(zoo, "id,label,who\n1.png,dog,Ada\n", overrule=True)


def test_decisions_that_change_no_label_make_no_version(zoo: History) -> None:
    with pytest.raises(CorrectionError, match="zoo: no label changes, so no version is made"):
        corrected(zoo, "id,label,who\n0.png,cat,Ada\n1.png,dog,Ada\n")
    assert not zoo.file.exists()
    assert not zoo.path_of(2).exists()


def test_a_decision_that_was_undone_contradicts_nobody(zoo: History) -> None:
    corrected(zoo, "id,label,who\n0.png,dog,Ada\n")
    zoo.undo("Ada", "today", quiet)
    assert checked(zoo, "id,label,who\n0.png,eel,Bob\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,label,who\n99.png,dog,Ada\n", r"line 2: no image of zoo has the id '99.png'"),
        ("id,label,who\n0.png,dog,Ada\n0.png,dog,Ada\n", r"line 3: id '0.png' twice"),
        ("id,label,who\n0.png,cow,Ada\n", r"'cow' is no class; classes are cat, dog, eel"),
        ("id,label,who\n0.png,dog,\n", r"who is empty"),
        ("id,class\n0.png,dog\n", r"no column label and who"),
        ("id,label,who\n", r"holds no decision"),
        ("", r"no column id and label and who; found nothing"),
        ("id;label;who\n0.png;dog;Ada\n", r"found id;label;who; .* with commas between them"),
        ("id,label,who,why\n0.png,dog,Ada,he said, no\n", r"line 2: more fields than columns"),
        (f"id,label,who,content_hash\n0.png,dog,Ada,{'f' * 64}\n", r"made for other data \(ffffff"),
    ],
)
def test_what_cannot_be_applied_is_one_line_and_changes_nothing(
    text: str, said: str, zoo: History
) -> None:
    with pytest.raises(CorrectionError, match=said) as raised:
        checked(zoo, text)
    assert "\n" not in str(raised.value)
    assert not zoo.file.exists()


def test_a_reviewer_decides_once_over_all_files(zoo: History) -> None:
    files = [
        ("first.csv", "id,label,who\n0.png,dog,Ada\n"),
        ("second.csv", "id,label,who\n1.png,eel,Ada\n0.png,eel,Ada\n"),
    ]
    with pytest.raises(
        CorrectionError, match=r"second\.csv, line 3: .* in first\.csv, line 2, too"
    ):
        read_corrections(files, zoo, "today")


def test_a_file_for_an_older_version_is_applied_and_it_is_said(zoo: History) -> None:
    corrected(zoo, "id,label,who\n0.png,dog,Ada\n")
    old = f"id,label,who,content_hash\n1.png,eel,Ada,{zoo.card.content_hash}\n"
    decisions, notes = read_corrections([("old.csv", old)], zoo, "today")
    assert notes == ["old.csv: made for zoo, applied to zoo@2"]
    zoo.correct(decisions, quiet)
    assert zoo.labels(3)["0.png"] == "dog"
    assert zoo.labels(3)["1.png"] == "eel"


def test_decisions_for_data_that_were_prepared_again_are_refused(zoo: History) -> None:
    corrected(zoo, "id,label,who\n0.png,dog,Ada\n")
    dataset(zoo.base.parent, shift=1)
    with pytest.raises(CorrectionError, match="made for other data than"):
        History(zoo.base)


def test_a_damaged_file_of_decisions_is_named(zoo: History) -> None:
    corrected(zoo, "id,label,who\n0.png,dog,Ada\n")
    text = zoo.file.read_text()
    zoo.file.write_text(text[: len(text) - 90])
    with pytest.raises(CorrectionError, match="damaged file of decisions"):
        History(zoo.base)


def test_a_version_that_is_missing_is_written_again_with_the_same_bytes(zoo: History) -> None:
    corrected(zoo, "id,label,who\n0.png,dog,Ada\n")
    content = zoo.path_of(2).read_bytes()
    zoo.path_of(2).unlink()
    History(zoo.base).restore(2, quiet)
    assert zoo.path_of(2).read_bytes() == content


def test_a_process_that_was_overtaken_changes_nothing(zoo: History) -> None:
    other = History(zoo.base)
    corrected(other, "id,label,who\n0.png,dog,Ada\n")
    with pytest.raises(CorrectionError, match="was corrected meanwhile"):
        corrected(zoo, "id,label,who\n1.png,eel,Bob\n")
    assert len(History(zoo.base).versions) == 2


def test_the_audit_is_that_of_the_new_labels(tmp_path: Path) -> None:
    from medbench.data import Fingerprints, audited

    base = dataset(tmp_path)
    with open_images(base) as data:
        images = data.images[:]
        columns = Columns(data.labels, data.split, data.ids.tolist())
    images[1] = images[0]  # a cat and a dog
    card = audited(
        replace(History(base).card, confounders=("Known.",)),
        columns, Fingerprints.of(images), lambda row: images[row],
    )  # fmt: skip
    write_images(base, card, [ImageBatch(images)], columns)
    history = History(base)
    assert history.card.audit["exact_duplicates"]["sets_across_classes"] == 1
    corrected(history, "id,label,who\n1.png,cat,Ada\n")
    card = verify_images(history.path_of(2))
    assert card.audit["exact_duplicates"]["sets_across_classes"] == 0
    assert card.audit["class_counts"]["train"] == {"cat": 3, "dog": 0, "eel": 1}
    assert sum("Exact duplicates" in line for line in card.confounders) == 1
    assert card.confounders[0] == "Known."
