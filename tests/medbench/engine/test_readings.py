"""From stored predictions to readings, curves and label quality, by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.canonical import canonical_json
from medbench.engine.readings import label_quality, read_run
from medbench.metrics import METRICS, READINGS, evaluate


def towards(classes, K=2, confidence=0.9):
    """Probabilities that predict the given classes."""
    classes = np.asarray(classes)
    rest = (1 - confidence) / (K - 1)
    return np.where(np.arange(K) == classes[..., None], confidence, rest).astype(np.float32)


def run_of(test_predicted, validation_predicted, **more):
    """Four test samples 0 0 1 1 and four validation samples 0 1 0 1, predicted by epoch."""
    epochs = len(test_predicted)
    return {
        "test/labels": np.array([0, 0, 1, 1]),
        "test/probabilities": towards(test_predicted),
        "validation/noisy_labels": np.array([0, 1, 0, 1]),
        "validation/probabilities": towards(validation_predicted),
        "train/clean_labels": np.array([0, 1]),
        "train/noisy_labels": np.array([0, 1]),
        "train/predicted": np.zeros((epochs, 2), np.int16),
        **more,
    }


# accuracies on the test set by epoch .5 1 .75 .25, on the validation set .5 .75 1 1
FOUR = run_of(
    [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0], [1, 0, 0, 0]],
    [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 1], [0, 1, 0, 1]],
)


# ---------------------------------------------------------------- readings


def test_the_three_readings_by_hand() -> None:
    readings, curves = read_run(FOUR, "accuracy", 2)
    assert tuple(readings) == READINGS
    np.testing.assert_array_equal(curves["curves/test/accuracy"], [0.5, 1, 0.75, 0.25])
    np.testing.assert_array_equal(curves["curves/validation/accuracy"], [0.5, 0.75, 1, 1])
    assert (readings["last"]["epoch"], readings["last"]["accuracy"]) == (2, 0.5)
    # the first of two epochs equally good on validation
    assert (readings["selected"]["epoch"], readings["selected"]["accuracy"]) == (2, 0.75)
    assert (readings["best"]["epoch"], readings["best"]["accuracy"]) == (1, 1.0)
    assert readings["last"]["recalls"] == [(1 + 0.5) / 2, (0.5 + 0) / 2]
    assert readings["selected"]["recalls"] == [1.0, 0.5]


def test_last_takes_all_epochs_where_there_are_fewer() -> None:
    readings, _ = read_run(FOUR, "accuracy", 50)
    assert readings["last"]["epoch"] == 0
    assert readings["last"]["accuracy"] == pytest.approx((0.5 + 1 + 0.75 + 0.25) / 4)
    one, _ = read_run(FOUR, "accuracy", 1)
    assert (one["last"]["epoch"], one["last"]["accuracy"]) == (3, 0.25)


def test_where_less_is_better_the_least_is_best() -> None:
    readings, curves = read_run(FOUR, "nll", 2)
    test, validation = curves["curves/test/nll"], curves["curves/validation/nll"]
    assert readings["best"]["epoch"] == 1 and test.min() == test[1]
    assert readings["selected"]["epoch"] == 2 and validation.min() == validation[2] < validation[1]


def test_an_epoch_without_a_value_is_never_chosen() -> None:
    arrays = {name: array.copy() for name, array in FOUR.items()}
    arrays["test/probabilities"][0] = np.nan
    arrays["validation/probabilities"][0] = np.nan
    with np.errstate(invalid="ignore"):
        for primary in ("nll", "macro_auroc"):
            readings, curves = read_run(arrays, primary, 4)
            assert math.isnan(curves[f"curves/test/{primary}"][0])
            assert readings["best"]["epoch"] == 1
            assert readings["selected"]["epoch"] == 2
            assert readings["last"][primary] is None  # the mean of what was not measured
            canonical_json(readings)


def test_every_metric_is_that_of_the_chosen_epoch() -> None:
    readings, curves = read_run(FOUR, "balanced_accuracy", 2)
    by_epoch = [evaluate(FOUR["test/labels"], p) for p in FOUR["test/probabilities"]]
    for name in METRICS:
        values = [each[name] for each in by_epoch]
        np.testing.assert_array_equal(curves[f"curves/test/{name}"], values)
        assert readings["best"][name] == pytest.approx(values[1])
        assert readings["selected"][name] == pytest.approx(values[2])
        assert readings["last"][name] == pytest.approx(np.mean(values[2:]))


def test_no_choice_but_best_is_made_on_the_test_set() -> None:
    other = {**FOUR, "test/labels": 1 - FOUR["test/labels"]}
    before, after = read_run(FOUR, "accuracy", 2)[0], read_run(other, "accuracy", 2)[0]
    assert before["selected"]["epoch"] == after["selected"]["epoch"]
    assert before["last"]["epoch"] == after["last"]["epoch"]
    assert before["best"]["epoch"] != after["best"]["epoch"]


def test_readings_are_json_where_a_class_is_absent() -> None:
    arrays = {**FOUR, "test/labels": np.zeros(4, int)}
    readings, curves = read_run(arrays, "accuracy", 2)
    assert readings["last"]["macro_auroc"] is None
    assert readings["last"]["recalls"] == [0.75, None]
    assert np.isnan(curves["curves/test/recalls"][:, 1]).all()
    canonical_json(readings)


@given(st.integers(0, 2**32), st.sampled_from(METRICS), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_best_is_the_best_and_selected_no_better(seed, primary, last_epochs) -> None:
    rng = np.random.default_rng(seed)
    arrays = {
        **FOUR,
        "test/probabilities": rng.dirichlet([1, 1], (5, 4)),
        "validation/probabilities": rng.dirichlet([1, 1], (5, 4)),
        "train/predicted": np.zeros((5, 2), int),
    }
    readings, curves = read_run(arrays, primary, last_epochs)
    sign = -1 if primary in ("brier", "nll", "ece", "ece_equal_mass") else 1
    gain = sign * curves[f"curves/test/{primary}"]
    assert sign * readings["best"][primary] == gain.max()
    assert gain[readings["selected"]["epoch"]] <= gain.max()
    assert sign * readings["last"][primary] == pytest.approx(gain[-last_epochs:].mean())
    assert readings["last"]["epoch"] == max(0, 5 - last_epochs)


# ---------------------------------------------------------------- label quality

#            wrong  wrong  wrong  wrong  right  right
CLEAN = np.array([0, 0, 1, 2, 1, 2])
NOISY = np.array([1, 2, 0, 0, 1, 2])


def quality_of(predicted, selected=None):
    arrays = {
        "test/probabilities": np.zeros((len(predicted), 1, 3)),
        "train/clean_labels": CLEAN,
        "train/noisy_labels": NOISY,
        "train/predicted": np.asarray(predicted, np.int16),
    }
    if selected is not None:
        arrays["train/selected"] = np.asarray(selected, bool)
    return {
        name.removeprefix("curves/train/"): curve for name, curve in label_quality(arrays).items()
    }


def test_what_became_of_wrong_labels_by_hand() -> None:
    found = quality_of(
        [
            [1, 2, 0, 0, 0, 0],  # all memorised; errors on right labels do not count
            [0, 0, 1, 2, 1, 2],  # all recovered
            [1, 0, 2, 1, 1, 2],  # one, one, and two neither
        ]
    )
    np.testing.assert_allclose(found["memorised"], [1, 0, 0.25])
    np.testing.assert_allclose(found["recovered"], [0, 1, 0.25])
    np.testing.assert_allclose(found["other"], [0, 0, 0.5])
    assert set(found) == {"memorised", "recovered", "other"}  # no selection was reported


def test_the_quality_of_a_selection_by_hand() -> None:
    two_networks = [
        [0, 1, 0, 0, 1, 1],  # took a wrong label, and both right ones
        [0, 0, 0, 0, 0, 1],  # took one right label
    ]
    found = quality_of([[0] * 6], [two_networks])
    assert found["selection_precision"] == pytest.approx([3 / 4])
    assert found["selection_recall"] == pytest.approx([3 / 4])  # 3 of 2 right labels x 2 networks
    # noisy class 0: two wrong, none taken; 1: one right; 2: one wrong taken, one right
    np.testing.assert_allclose(
        found["selection_precision_by_class"], [[np.nan, 1 / 1, 2 / 3]], equal_nan=True
    )
    np.testing.assert_allclose(
        found["selection_recall_by_class"], [[np.nan, 1 / 2, 2 / 2]], equal_nan=True
    )


def test_an_epoch_without_a_selection_has_no_quality() -> None:
    taken = np.ones(6)
    found = quality_of([[0] * 6, [0] * 6], [[np.zeros(6)], [taken]])
    assert np.isnan(found["selection_precision"][0]) and np.isnan(found["selection_recall"][0])
    assert np.isnan(found["selection_precision_by_class"][0]).all()
    assert np.isnan(found["selection_recall_by_class"][0]).all()
    assert (found["selection_precision"][1], found["selection_recall"][1]) == (2 / 6, 1)


def test_a_network_that_selects_nothing_recalls_nothing_next_to_one_that_does() -> None:
    found = quality_of([[0] * 6], [[np.zeros(6), np.ones(6)]])
    assert found["selection_recall"] == [0.5]


def test_without_wrong_labels_there_is_nothing_to_memorise() -> None:
    found = label_quality(
        {
            "train/clean_labels": CLEAN,
            "train/noisy_labels": CLEAN,
            "train/predicted": np.zeros((2, 6), int),
        }
    )
    for curve in found.values():
        assert curve.shape == (2,) and np.isnan(curve).all()


@given(st.integers(0, 2**32), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_label_quality_is_that_of_a_slow_loop(seed, networks) -> None:
    rng = np.random.default_rng(seed)
    E, T, K = 3, 25, 4
    clean, noisy = rng.integers(0, K, T), rng.integers(0, K, T)
    predicted, selected = rng.integers(0, K, (E, T)), rng.random((E, networks, T)) < 0.4
    found = label_quality(
        {
            "test/probabilities": np.zeros((E, 1, K)),
            "train/clean_labels": clean,
            "train/noisy_labels": noisy,
            "train/predicted": predicted,
            "train/selected": selected,
        }
    )
    wrong = [t for t in range(T) if clean[t] != noisy[t]]

    def share(hits, among):
        return len(hits) / len(among) if among else float("nan")

    for e in range(E):
        for name, target in (("memorised", noisy), ("recovered", clean)):
            hits = [t for t in wrong if predicted[e, t] == target[t]]
            assert found[f"curves/train/{name}"][e] == pytest.approx(share(hits, wrong))
        total = sum(found[f"curves/train/{n}"][e] for n in ("memorised", "recovered", "other"))
        assert total == pytest.approx(1)
        for group, suffix, place in [
            (range(K), "", (e,)),
            *(((k,), "_by_class", (e, k)) for k in range(K)),
        ]:
            pairs = [(m, t) for m in range(networks) for t in range(T) if noisy[t] in group]
            taken = [(m, t) for m, t in pairs if selected[e, m, t]]
            sound = [(m, t) for m, t in pairs if clean[t] == noisy[t]]
            both = [pair for pair in taken if pair in set(sound)]
            precision = found[f"curves/train/selection_precision{suffix}"][place]
            recall = found[f"curves/train/selection_recall{suffix}"][place]
            assert precision == pytest.approx(share(both, taken), nan_ok=True)
            assert recall == pytest.approx(share(both, sound), nan_ok=True)
