"""The search for suspects: planted errors are found, and contradictions come first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medbench.data import open_images
from medbench.interfaces import DatasetCard
from medbench.interfaces.dataset import LabelledImages
from medbench.suspects import Plan, scores
from medbench.suspects.search import Found, SuspectsError, read_small, search

EMBEDDED = Path(__file__).parents[3] / "plugins/medbench_plugins/datasets/data"
SMALL = Plan(landmarks=200, filters=24)


def blobs(count: int, side: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Images of three classes: a bright square in one of three corners, under noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    images = rng.integers(0, 120, (count, side, side, 1))
    for image, label in zip(images, labels, strict=True):
        top, left = [(0, 0), (0, side // 2), (side // 2, 0)][label]
        image[top : top + side // 2, left : left + side // 2] += 60
    return images.astype(np.uint8), labels


def found_in(data: LabelledImages, card: DatasetCard) -> Found:
    images = read_small(card, data, SMALL.side, lambda done, total: None)
    return search(card, data, images, SMALL, lambda share: None)


def card_of(images: np.ndarray) -> DatasetCard:
    return DatasetCard(
        name="toy", title="Toy", modality="none", class_names=("a", "b", "c"),
        image_shape=images.shape[1:], split_sizes={}, licence="CC0", citation="nobody",
        source="a generator",
    )  # fmt: skip


def labelled(images: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None):
    ids = np.array([f"{row:03d}" for row in range(len(labels))])
    return LabelledImages(images, labels.astype(np.int64), np.zeros(len(labels)), ids, groups)


def test_the_real_pair_with_two_labels_of_busi_is_on_rank_one() -> None:
    path = EMBEDDED / "busi-mini.h5"
    with open_images(path) as data:
        from medbench.data import read_card

        found = found_in(data, read_card(path))
    first, second = found.suspects[:2]
    assert {first.id, second.id} == {"benign/benign (433).png", "malignant/malignant (145).png"}
    assert first.duplicate_of == second.id and second.duplicate_of == first.id
    assert "an identical image is labelled" in first.evidence
    assert found.contradicted == 2
    # one of the two is wrong
    assert first.probability_wrong + second.probability_wrong >= 0.98


def test_planted_errors_are_found_and_counted() -> None:
    images, clean = blobs(300)
    labels = clean.copy()
    wrong = np.random.default_rng(1).choice(300, 30, replace=False)
    labels[wrong] = (labels[wrong] + 1) % 3
    found = found_in(labelled(images, labels), card_of(images))
    assert {suspect.row for suspect in found.suspects[:30]} == set(wrong)
    assert all(suspect.suggested_label == "abc"[clean[suspect.row]]
               for suspect in found.suspects[:30])  # fmt: skip
    low, high = found.scores.bounds
    assert low <= 30 <= high < 40
    assert low == sum(suspect.probability_wrong > 0.99 for suspect in found.suspects)


def test_scores_do_not_depend_on_the_order_of_the_classes() -> None:
    images, labels = blobs(90)
    labels[:5] = (labels[:5] + 1) % 3
    first = scores(images, labels, 3, plan=SMALL)
    other = np.array([2, 0, 1])
    second = scores(images, other[labels], 3, plan=SMALL)
    np.testing.assert_allclose(first.probability_wrong, second.probability_wrong, atol=1e-3)
    np.testing.assert_array_equal(other[first.suggested], second.suggested)


def test_the_labels_of_a_patient_do_not_speak_for_one_another() -> None:
    """All images of a patient have the same wrong label: only other patients contradict it."""
    images, labels = blobs(120)
    patient = np.array([f"p{row // 12}-{label}" for row, label in enumerate(labels)])
    mistaken = patient == "p3-1"
    labels[mistaken] = 2
    rng = np.random.default_rng(0)
    for name in set(patient):  # each patient has a look of its own
        look = rng.integers(0, 80, (12, 12, 1))
        images[patient == name] = np.minimum(images[patient == name].astype(int) + look, 255)
    apart = scores(images, labels, 3, groups=patient.tolist(), plan=SMALL)
    together = scores(images, labels, 3, plan=SMALL)
    assert apart.probability_wrong[mistaken].min() > 0.5
    assert (apart.probability_wrong > together.probability_wrong)[mistaken].all()


def test_copies_with_one_label_share_their_probability_and_are_no_contradiction() -> None:
    images, labels = blobs(60)
    images[7] = images[1]
    found = found_in(labelled(images, labels), card_of(images))
    assert found.contradicted == 0
    assert found.scores.probability_wrong[7] == found.scores.probability_wrong[1]
    by_row = {suspect.row: suspect for suspect in found.suspects}
    assert (by_row[1].duplicate_of, by_row[7].duplicate_of) == ("007", "001")
    assert by_row[2].duplicate_of == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": 12}, "12 images of 3 classes; at least 20 images"),
        ({"labels": 0}, "60 images of 1 classes"),
        ({"side": 6}, "images of 6 x 6 px; at least 8 px a side"),
    ],
)
def test_a_dataset_that_cannot_be_scored_is_one_line(change: dict[str, int], said: str) -> None:
    images, labels = blobs(change.get("count", 60), change.get("side", 12))
    if "labels" in change:
        labels[:] = 0
    with pytest.raises(SuspectsError, match=said):
        found_in(labelled(images, labels), card_of(images))


def test_a_class_without_images_or_with_one_is_no_error() -> None:
    images, labels = blobs(60)
    labels[labels == 2] = 1
    assert np.isfinite(scores(images, labels, 3, plan=SMALL).probability_wrong).all()
    labels[5] = 2
    assert np.isfinite(scores(images, labels, 3, plan=SMALL).probability_wrong).all()


def test_flat_and_equal_images_are_no_error() -> None:
    images = np.zeros((40, 10, 10, 3), np.uint8)
    found = scores(images, np.arange(40) % 2, 2, plan=SMALL)
    assert np.isfinite(found.probabilities).all()
