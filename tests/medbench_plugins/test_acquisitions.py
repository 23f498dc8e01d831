"""Acquisition functions against direct computation and against scikit-activeml."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from skactiveml.classifier import ParzenWindowClassifier
from skactiveml.pool import Badge, batch_bald, k_greedy_center, uncertainty_scores

from medbench.check.rules.acquisition import made_pool
from medbench.interfaces import Pool, Settings
from medbench_plugins.acquisitions.badness import Badness
from medbench_plugins.acquisitions.diversity import BADGE, Coreset, nearest_centres
from medbench_plugins.acquisitions.random import Random
from medbench_plugins.acquisitions.settings import BALDSettings
from medbench_plugins.acquisitions.uncertainty import BALD, Entropy, LeastConfidence, Margin

SEEDED = given(samples=st.integers(3, 40), classes=st.integers(2, 5))


def made(cls: type[Any], **values: Any) -> Any:
    return cls(cls.__name__, cls.Settings(**values) if values else cls.Settings())


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---------------------------------------------------------------- by score


@SEEDED
@settings(deadline=None)
def test_uncertainty_by_loops(samples: int, classes: int) -> None:
    pool = made_pool(samples, classes)
    for i, row in enumerate(pool.probabilities.astype(np.float64)):
        first, second = sorted(row, reverse=True)[:2]
        entropy = -sum(p * math.log(p) for p in row if p > 0)
        assert made(Entropy).scores(pool)[i] == pytest.approx(entropy, abs=1e-12)
        assert made(LeastConfidence).scores(pool)[i] == pytest.approx(1 - first, abs=1e-6)
        assert made(Margin).scores(pool)[i] == pytest.approx(second - first, abs=1e-6)
        badness = sum(float(loss) for loss in pool.losses[:, i]) / len(pool.losses)
        assert made(Badness).scores(pool)[i] == pytest.approx(badness - entropy, rel=1e-6)


@pytest.mark.parametrize(
    ("cls", "method"),
    [(Entropy, "entropy"), (LeastConfidence, "least_confident"), (Margin, "margin_sampling")],
)
def test_uncertainty_against_scikit_activeml(cls: type[Any], method: str) -> None:
    pool = made_pool()
    p = pool.probabilities.astype(np.float64)
    theirs = uncertainty_scores(p / p.sum(axis=1, keepdims=True), method=method)[pool.candidates]
    chosen = made(cls).choose(pool, 12, rng())
    assert chosen.tolist() == pool.candidates[np.argsort(-theirs, kind="stable")[:12]].tolist()


def test_bald_by_loops_and_against_scikit_activeml() -> None:
    bald = made(BALD, passes=7)
    assert bald.dropout_passes == 7
    pool = made_pool(passes=7)
    assert pool.dropout is not None
    scores = bald.scores(pool)
    for i in range(len(scores)):
        passes = pool.dropout[:, i].astype(np.float64)
        mean = passes.mean(axis=0)
        of_mean = -sum(p * math.log(p) for p in mean)
        mean_of = sum(-sum(p * math.log(p) for p in row if p > 0) for row in passes) / 7
        assert scores[i] == pytest.approx(of_mean - mean_of, abs=1e-9)
    theirs = batch_bald(pool.dropout.astype(np.float64), 1, random_state=0)
    np.testing.assert_allclose(scores, theirs[0], atol=1e-6)


def test_passes_that_agree_have_no_information_for_bald() -> None:
    pool = made_pool(passes=3)
    alike = replace(pool, dropout=np.repeat(pool.probabilities[None], 3, axis=0))
    np.testing.assert_allclose(made(BALD, passes=3).scores(alike), 0, atol=1e-7)


def test_badness_asks_for_the_wrong_label_of_an_easy_image_before_that_of_a_hard_one() -> None:
    """Both labels are contradicted for all epochs; one image is certain, the other ambiguous."""
    pool = Pool(
        probabilities=np.array([[0.98, 0.02], [0.5, 0.5], [0.97, 0.03]], np.float32),
        features=np.zeros((3, 1), np.float32),
        labels=np.array([1, 1, 0]),
        trusted=np.zeros(3, np.bool_),
        candidates=np.arange(3),
        losses=np.array([[2.0, 2.0, 0.1], [3.0, 3.0, 0.1]], np.float32),
    )
    assert made(Badness).choose(pool, 3, rng()).tolist() == [0, 1, 2]
    assert made(Entropy).choose(pool, 1, rng()).tolist() == [1]


def test_of_equal_scores_the_earlier_candidate_is_chosen() -> None:
    pool = made_pool()
    pool = replace(pool, probabilities=np.full_like(pool.probabilities, 1 / 3))
    assert made(Entropy).choose(pool, 5, rng()).tolist() == pool.candidates[:5].tolist()


# ---------------------------------------------------------------- by draw and distance


def test_random_draws_each_candidate_equally_often() -> None:
    pool = made_pool(12)
    drawn = np.concatenate([made(Random).choose(pool, 3, rng(seed)) for seed in range(2000)])
    counts = np.array([(drawn == position).sum() for position in pool.candidates])
    expected = len(drawn) / len(counts)
    assert chi2.sf(((counts - expected) ** 2 / expected).sum(), len(counts) - 1) > 1e-4


@given(seed=st.integers(0, 2**31), centres=st.integers(1, 5))
@settings(deadline=None)
def test_nearest_centres_by_loops(seed: int, centres: int) -> None:
    points, there = rng(seed).normal(size=(6, 3)), rng(seed + 1).normal(size=(centres, 3))
    expected = [min(sum((a - b) ** 2) for b in there) for a in points]
    np.testing.assert_allclose(nearest_centres(points, there), expected, atol=1e-9)


def test_coreset_by_loops_and_against_scikit_activeml() -> None:
    pool = made_pool()
    chosen = made(Coreset).choose(pool, 8, rng())
    centres = list(np.flatnonzero(pool.trusted))
    for position in chosen:
        gaps = {
            i: min(np.linalg.norm(pool.features[i] - pool.features[c]) for c in centres)
            for i in pool.candidates
        }
        assert position == max(gaps, key=lambda i: gaps[i])
        centres.append(position)
    labels = np.where(pool.trusted, 0.0, np.nan)
    theirs = k_greedy_center(pool.features.astype(np.float64), labels, batch_size=8)[0]
    assert chosen.tolist() == list(theirs)


def test_badge_draws_in_proportion_to_the_squared_distance_of_gradients() -> None:
    """The second choice: against gradients written out, and against scikit-activeml's chances."""
    features = rng(3).normal(size=(9, 2))
    labels = np.array([0, 1, 2, *[np.nan] * 6])
    classifier = ParzenWindowClassifier(classes=[0, 1, 2], random_state=0).fit(features, labels)
    p = classifier.predict_proba(features).astype(np.float32)
    pool = replace(
        made_pool(9),
        probabilities=p,
        features=features.astype(np.float32),
        trusted=~np.isnan(labels),
        candidates=np.arange(3, 9),
    )
    gradients = [np.outer(p[i] - np.eye(3)[p[i].argmax()], features[i]) for i in range(3, 9)]
    first = int(np.argmax([np.linalg.norm(g) for g in gradients]))
    gaps = np.array([np.linalg.norm(g - gradients[first]) ** 2 for g in gradients])
    badge, trials = made(BADGE), 3000
    pairs = [badge.choose(pool, 2, rng(seed)) for seed in range(trials)]
    assert {int(one) for one, _ in pairs} == {first + 3}
    expected = trials * gaps / gaps.sum()
    counts = np.bincount([int(two) - 3 for _, two in pairs], minlength=6)
    likely = expected > 1e-9
    assert counts[~likely].sum() == 0
    statistic = ((counts - expected)[likely] ** 2 / expected[likely]).sum()
    assert chi2.sf(statistic, likely.sum() - 1) > 1e-4
    _, theirs = Badge(random_state=0).query(
        features, labels, classifier, fit_clf=False, batch_size=2, return_utilities=True
    )
    # it counts the origin as a centre, which the reference does not
    norms = [np.linalg.norm(g) ** 2 for g in gradients]
    nearest = np.minimum(gaps, norms)
    ours = np.delete(nearest / nearest.sum(), first)
    np.testing.assert_allclose(ours, np.delete(theirs[1, 3:], first), rtol=1e-4, atol=1e-6)


def test_settings_without_values_are_the_defaults() -> None:
    assert BALDSettings().passes == 20 and Random.Settings is Settings
