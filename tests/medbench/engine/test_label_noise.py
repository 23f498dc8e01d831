"""The noise of labels as given, estimated from predictions of held-out images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from medbench.engine.label_noise import estimate_noise, splits_as_given
from medbench.engine.oracle import SilentOracle
from medbench.errors import MedbenchError
from medbench.interfaces.confident import confident_joint

SURE, UNSURE = (0.9, 0.1), (0.2, 0.8)


def arrays(given, probabilities, split="validation", epochs=1):
    names = {"validation": "validation/noisy_labels", "test": "test/labels"}
    stacked = np.tile(np.asarray(probabilities, np.float32), (epochs, 1, 1))
    return {names[split]: np.asarray(given), f"{split}/probabilities": stacked}


def test_rate_and_matrix_are_those_counted_by_hand() -> None:
    # labelled 0: three predicted 0, one predicted 1; labelled 1: four predicted 1, two predicted 0.
    # thresholds: (3 * .9 + .2) / 4 = .725 and (4 * .8 + 2 * .1) / 6 = .567
    given_ = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    p = [SURE] * 3 + [UNSURE] + [UNSURE] * 4 + [SURE] * 2
    found, matrices = estimate_noise(arrays(given_, p), ["validation"], 5)
    # of those confidently in class 0, three are labelled 0 and two 1; of class 1, one 0 and four 1
    np.testing.assert_allclose(matrices["noise/estimated_matrix"], [[0.6, 0.4], [0.2, 0.8]])
    assert found["rate"] == pytest.approx(3 / 10)
    assert (found["images"], found["splits"]) == (10, ["validation"])


@pytest.mark.parametrize(("wrong", "of"), [(0, 8), (3, 8), (8, 8), (40, 500)])
def test_intervals_are_those_of_scipy(wrong: int, of: int) -> None:
    # all labelled 0, some confidently in 1, where the threshold of class 1 comes from one sample
    given_ = [0] * of + [1]
    p = [UNSURE] * wrong + [SURE] * (of - wrong) + [(0.4, 0.6)]
    joint = confident_joint(np.array(p), np.array(given_))
    found, matrices = estimate_noise(arrays(given_, p), ["validation"], 5)
    hits, counted = int(joint.sum() - np.trace(joint)), int(joint.sum())
    limits = binomtest(hits, counted).proportion_ci(0.95, "wilson")
    assert (found["low"], found["high"]) == pytest.approx((limits.low, limits.high), abs=1e-6)
    column = joint[:, 1]
    limits = binomtest(int(column[0]), int(column.sum())).proportion_ci(0.95, "wilson")
    assert matrices["noise/estimated_low"][1, 0] == pytest.approx(limits.low, abs=1e-6)
    assert matrices["noise/estimated_high"][1, 0] == pytest.approx(limits.high, abs=1e-6)


def test_the_last_epochs_are_averaged_and_the_splits_joined() -> None:
    both = arrays([0, 1], [SURE, UNSURE]) | arrays([1, 0], [UNSURE, SURE], "test")
    whole = arrays([0, 1, 1, 0], [SURE, UNSURE, UNSURE, SURE])
    found, matrices = estimate_noise(both, ["validation", "test"], 5)
    alone, same = estimate_noise(whole, ["validation"], 5)
    assert found == {**alone, "splits": ["validation", "test"]}
    for name, matrix in matrices.items():
        np.testing.assert_array_equal(matrix, same[name])
    early = whole | {"validation/probabilities": np.concatenate(
        [np.float32([[[0, 1], [1, 0], [1, 0], [0, 1]]]), whole["validation/probabilities"]]
    )}  # fmt: skip
    assert estimate_noise(early, ["validation"], 1)[0] == alone


def test_only_splits_that_are_not_trusted_say_something() -> None:
    assert splits_as_given(()) == ["validation", "test"]
    assert splits_as_given(("test",)) == ["validation"]
    assert splits_as_given(("validation", "test")) == []
    assert estimate_noise({}, [], 5) == (None, {})


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_estimates_are_shares_inside_their_intervals(K: int, N: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(K), N)
    found, matrices = estimate_noise(arrays(rng.integers(0, K, N), p), ["validation"], 5)
    low, matrix, high = (matrices[f"noise/estimated_{n}"] for n in ("low", "matrix", "high"))
    there = ~np.isnan(matrix)
    assert (there == there[:, :1]).all()  # whole rows
    assert (low[there] >= 0).all() and (high[there] <= 1).all()
    assert (low[there] <= matrix[there]).all() and (matrix[there] <= high[there]).all()
    np.testing.assert_allclose(matrix[there.all(axis=1)].sum(axis=1), 1)
    if found["rate"] is not None:
        assert 0 <= found["low"] <= found["rate"] <= found["high"] <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_where_predictions_are_right_the_noise_is_found_exactly(K: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(K), 30)
    wrong = rng.random(len(truth)) < 0.2
    labels = np.where(wrong, (truth + rng.integers(1, K, len(truth))) % K, truth)
    p = 0.05 / K + 0.95 * np.eye(K)[truth]
    found, matrices = estimate_noise(arrays(labels, p), ["validation"], 5)
    realised = [[np.mean(labels[truth == i] == j) for j in range(K)] for i in range(K)]
    np.testing.assert_allclose(matrices["noise/estimated_matrix"], realised)
    assert found["rate"] == pytest.approx(np.mean(labels != truth))


def test_an_oracle_that_knows_nothing_says_so_in_one_line_and_counts_nothing() -> None:
    oracle = SilentOracle("mine")
    questions = [
        oracle.noise_rate, oracle.noise_is_symmetric, oracle.transition_matrix,
        lambda: oracle.clean_labels(np.array([0])),
    ]  # fmt: skip
    for ask in questions:
        with pytest.raises(MedbenchError, match=r"'mine'.*estimates") as caught:
            ask()
        assert "\n" not in str(caught.value)
    assert not oracle.answers
