"""Metrics on resamples against the engine's metrics on the images repeated."""

from __future__ import annotations

import numpy as np
import pytest

from medbench.engine.metrics import evaluate
from medbench.metric_names import METRICS
from medbench_leaderboard.statistics.weighted import draw_counts, resampled_metric


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("coarse", [False, True], ids=["fine", "ties"])
def test_a_metric_on_a_resample_is_that_of_the_images_repeated(metric: str, coarse: bool) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 50)
    logits = rng.normal(size=(50, 4)) + 1.5 * np.eye(4)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if coarse:
        probabilities = np.round(probabilities * 8) / 8
    # groups of unequal size, so that resamples differ in their number of images
    units = np.sort(rng.integers(0, 20, 50))
    units = np.unique(units, return_inverse=True)[1]
    counts = draw_counts(units, 30, rng)
    found = resampled_metric(metric, counts, labels, probabilities)
    for row, value in zip(counts.astype(int), found, strict=True):
        there = np.repeat(np.arange(50), row)
        assert value == pytest.approx(
            evaluate(labels[there], probabilities[there])[metric], abs=1e-6, nan_ok=True
        )


def test_a_group_is_drawn_whole_or_not_at_all() -> None:
    units = np.array([0, 0, 0, 1, 2, 2])
    counts = draw_counts(units, 500, np.random.default_rng(0))
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 4] == counts[:, 5]).all()
    by_unit = counts[:, [0, 3, 4]]
    assert (by_unit.sum(axis=1) == 3).all()
    assert by_unit.mean(axis=0) == pytest.approx([1, 1, 1], abs=0.15)


def test_a_class_that_was_not_drawn_has_no_recall() -> None:
    labels, probabilities = np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]])
    counts = np.array([[2.0, 0.0], [0.0, 2.0]], np.float32)
    assert resampled_metric("balanced_accuracy", counts, labels, probabilities).tolist() == [1, 0]
    assert np.isnan(resampled_metric("macro_auroc", counts, labels, probabilities)).all()
