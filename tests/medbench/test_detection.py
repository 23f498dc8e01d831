"""Detection of wrong labels, held against scikit-learn, all orders of ties and values by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve, roc_auc_score

from medbench.detection import auroc, detect, precision_at_k, wrong_label_scores

flags = st.lists(st.booleans(), min_size=2, max_size=40)


def both(wrong) -> bool:
    return 0 < np.sum(wrong) < len(wrong)


@given(flags.filter(both), st.randoms(use_true_random=False), st.integers(1, 6))
def test_auroc_is_that_of_scikit_learn(wrong, random, values) -> None:
    scores = np.array([random.randrange(values) / values for _ in wrong])
    wrong = np.array(wrong)
    assert auroc(scores, wrong) == pytest.approx(roc_auc_score(wrong, scores), abs=1e-12)


@given(flags.filter(both), st.randoms(use_true_random=False))
def test_precision_at_k_is_where_precision_and_recall_meet(wrong, random) -> None:
    scores = np.array(random.sample(range(1000), len(wrong)), float)
    wrong = np.array(wrong)
    precision, recall, thresholds = precision_recall_curve(wrong, scores)
    (place,) = np.flatnonzero(thresholds == np.sort(scores)[-wrong.sum()])
    assert precision_at_k(scores, wrong) == pytest.approx(precision[place], abs=1e-12)
    assert recall[place] == pytest.approx(precision[place], abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6))
def test_precision_at_k_of_ties_is_the_mean_over_their_orders(pairs) -> None:
    scores, wrong = np.array([s for s, _ in pairs], float), np.array([w for _, w in pairs])
    if not wrong.any():
        assert np.isnan(precision_at_k(scores, wrong))
        return
    shares = [
        np.mean([wrong[i] for i in sorted(order, key=lambda i: -scores[i])[: wrong.sum()]])
        for order in permutations(range(len(wrong)))  # sorted keeps the order of ties
    ]
    assert precision_at_k(scores, wrong) == pytest.approx(np.mean(shares), abs=1e-12)


def test_what_is_not_defined_is_nan() -> None:
    scores = np.array([0.1, 0.2])
    assert np.isnan(auroc(scores, np.array([False, False])))
    assert np.isnan(auroc(scores, np.array([True, True])))
    assert np.isnan(auroc(np.array([0.1, np.nan]), np.array([True, False])))
    assert precision_at_k(scores, np.array([True, True])) == 1


def record(**arrays):
    """Four samples, of which the first two have wrong labels; three epochs."""
    names = {f"train/{name}": np.asarray(array) for name, array in arrays.items()}
    return {
        "train/clean_labels": np.array([0, 1, 2, 0]),
        "train/noisy_labels": np.array([1, 2, 2, 0]),
        "train/noisy_loss": np.float32([[9, 9, 0, 0], [4, 1, 2, 0], [2, 1, 3, 0]]),
        **names,
    }


def test_the_loss_scores_a_method_that_reports_nothing_by_the_last_epochs() -> None:
    # means over two epochs: 3, 1, 2.5, 0
    found = detect(record(), 2)
    assert (found.scored_by, found.wrong, found.share) == ("loss", 2, 0.5)
    assert found.auroc == 0.75  # of four pairs only (1, 2.5) is in the wrong order
    assert found.precision_at_k == 0.5
    assert (found.loss_auroc, found.loss_precision_at_k) == (0.75, 0.5)


def test_what_the_method_reports_comes_first_in_the_order_of_the_rule() -> None:
    corrected = [[1, 2, 2, 0], [0, 2, 2, 0], [0, 1, 2, 0]]
    selected = [[[1, 1, 1, 1], [1, 1, 1, 1]], [[0, 0, 1, 1], [1, 0, 1, 1]], [[0, 0, 1, 1]] * 2]
    clean = [[np.nan] * 4, [0.25, 0.5, 0.75, 1], [0.25, 0.5, 0.75, 1]]
    every = record(
        corrected=corrected, selected=np.array(selected, bool), clean_probability=np.float32(clean)
    )
    scores = wrong_label_scores(every, 2)
    assert list(scores) == ["clean probability", "selection", "corrected label", "loss"]
    assert scores["clean probability"].tolist() == [0.75, 0.5, 0.25, 0]
    assert scores["selection"].tolist() == [0.75, 1, 0, 0]
    assert scores["corrected label"].tolist() == [1, 0.5, 0, 0]
    assert scores["loss"].tolist() == [3, 1, 2.5, 0]
    found = detect(every, 2)
    assert (found.scored_by, found.auroc, found.loss_auroc) == ("clean probability", 1, 0.75)


def test_an_epoch_without_a_report_is_left_out_and_no_report_at_all_leaves_the_loss() -> None:
    nothing = np.zeros((3, 2, 4), bool)
    late = nothing.copy()
    late[2, :, 2:] = True
    assert wrong_label_scores(record(selected=late), 2)["selection"].tolist() == [1, 1, 0, 0]
    silent = record(
        selected=nothing, clean_probability=np.full((3, 4), np.nan), corrected=np.full((3, 4), -1)
    )
    assert detect(silent, 2) == detect(record(), 2)
    # a report of an earlier epoch is none of LAST
    early = nothing.copy()
    early[0] = True
    assert detect(record(selected=early), 2).scored_by == "loss"


def test_a_run_of_fewer_epochs_than_last_is_scored_by_all_it_has() -> None:
    assert detect(record(), 9).auroc == 1


def test_without_wrong_or_without_known_labels_there_is_nothing_to_find() -> None:
    clean = record()
    clean["train/clean_labels"] = clean["train/noisy_labels"]
    assert np.isnan(detect(clean, 2).auroc)
    for name in ("train/clean_labels", "train/noisy_loss"):
        assert detect({n: array for n, array in record().items() if n != name}, 2) is None
