"""The models behind the suspects, against slow direct computation and planted truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from medbench.suspects.label_model import LabelModel, fit_label_model
from medbench.suspects.leave_out import fit
from medbench.suspects.neighbours import neighbours, votes


def targets(rng: np.random.Generator, count: int, classes: int = 3) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[rng.integers(0, classes, count)]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 9), ridge=st.floats(0.1, 10))
def test_a_prediction_without_a_group_is_that_of_a_fit_without_it(
    seed: int, size: int, ridge: float
) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(40, 4)).astype(np.float32)
    y = targets(rng, 40)
    group = rng.permutation(40)[:size]
    members = [group] if size > 1 else []
    shares = fit(features, np.arange(40), ridge, members).predict(y)
    squared = cdist(features, features, "sqeuclidean")
    kernel = np.exp(-squared / np.median(squared))
    rest = np.setdiff1d(np.arange(40), group)
    solved = np.linalg.solve(kernel[np.ix_(rest, rest)] + ridge * np.eye(len(rest)), y[rest])
    slow = np.clip(kernel[np.ix_(group, rest)] @ solved, 0, None) + 1e-6
    np.testing.assert_allclose(
        shares[group], slow / slow.sum(axis=1, keepdims=True), rtol=0, atol=2e-3
    )


def test_an_image_is_predicted_the_same_for_any_label_of_its_own() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 3)).astype(np.float32)
    model = fit(features, np.arange(50), 0.5, [np.array([4, 7, 9])])
    y = targets(rng, 50)
    changed = y.copy()
    changed[[4, 7, 9]] = np.roll(y[[4, 7, 9]], 1, axis=1)
    before, after = model.predict(y), model.predict(changed)
    np.testing.assert_allclose(before[[4, 7, 9]], after[[4, 7, 9]], atol=1e-4)
    assert np.abs(before - after).max() > 0.01


def test_few_landmarks_come_close_to_all() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 2)).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[(features[:, 0] > 0).astype(int)]
    exact = fit(features, np.arange(300), 0.5, []).predict(y)
    some = fit(features, rng.permutation(300)[:100], 0.5, []).predict(y)
    assert np.abs(exact - some).mean() < 0.01


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5))
def test_neighbours_are_the_most_similar_outside_the_group(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(30, 5)).astype(np.float32)
    groups = rng.integers(0, 10, 30)
    found = neighbours(features, count, groups)
    similarity = 1 - cdist(features, features, "cosine")
    for row in range(30):
        others = np.flatnonzero(groups != groups[row])
        best = np.sort(similarity[row, others])[::-1][:count]
        np.testing.assert_allclose(similarity[row, found[row]], best, atol=1e-5)


def test_votes_are_means_with_one_neighbour_of_any_class() -> None:
    y = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    found = votes(np.array([[1, 2], [0, 2], [0, 1]]), y)
    np.testing.assert_allclose(found, [[1.5 / 3, 1.5 / 3], [1.5 / 3, 1.5 / 3], [2.5 / 3, 0.5 / 3]])


def test_the_probability_of_a_class_follows_from_bayes_rule() -> None:
    """One model of weight 1 says .8 and .2; a label of class 1 comes from class 0 in .1."""
    model = LabelModel(np.ones(1), np.zeros(2), np.array([[0.9, 0.1], [0.3, 0.7]]))
    opinions = np.log(np.array([[[0.8, 0.2]]]))
    found = model.posterior(opinions, np.array([1]))
    np.testing.assert_allclose(found, [[0.08 / 0.22, 0.14 / 0.22]])


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_the_label_model_finds_planted_noise_and_what_the_models_are_worth(rate: float) -> None:
    rng = np.random.default_rng(1)
    true = rng.integers(0, 3, 3000)
    # the second model knows nothing
    scores = rng.normal(size=(2, 3000, 3))
    scores[0, np.arange(3000), true] += 4
    opinions = scores - np.log(np.exp(scores).sum(axis=2, keepdims=True))
    flipped = rng.random(3000) < rate
    labels = np.where(flipped, (true + 1) % 3, true)
    model = fit_label_model(opinions, labels)
    # the prior moves a part of the wrong labels to other classes
    np.testing.assert_allclose(np.diag(model.noise), 1 - rate, atol=0.02)
    np.testing.assert_array_equal(np.argsort(-model.noise, axis=1)[:, 1], [1, 2, 0])
    assert model.weights[0] > 5 * model.weights[1]
    wrong = 1 - model.posterior(opinions, labels)[np.arange(3000), labels]
    assert abs(wrong.sum() - flipped.sum()) < 0.15 * flipped.sum() + 10
    # probabilities mean what they say
    some = (wrong > 0.1) & (wrong < 0.9)
    error = np.sqrt((wrong[some] * (1 - wrong[some])).sum())
    assert abs(wrong[some].sum() - flipped[some].sum()) < 3 * error
