"""Noise models against matrices written by hand and against their own draws."""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from medbench.errors import MedbenchError
from medbench.interfaces import Settings
from medbench.interfaces.noise import CleanLabels, MatrixNoise, NoiseModel
from medbench_plugins.noise import NOISE_MODELS
from medbench_plugins.noise.class_dependent import ClassDependent
from medbench_plugins.noise.pair_flip import PairFlip
from medbench_plugins.noise.symmetric import SymmetricExclusive, SymmetricInclusive

CONFUSIONS = [[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.5, 0.0, 0.5]]
PLAIN = {
    "symmetric": SymmetricExclusive,
    "symmetric-inclusive": SymmetricInclusive,
    "pair-flip": PairFlip,
}


def make(name: str, **settings: Any) -> NoiseModel:
    cls = PLAIN.get(name, ClassDependent)
    return cls(name, cls.Settings(**settings))


def names(K: int) -> tuple[str, ...]:
    return tuple(f"class {k}" for k in range(K))


def data(labels: np.ndarray, K: int) -> CleanLabels:
    return CleanLabels(labels.astype(np.int64), names(K), "toy", np.zeros((len(labels), 1, 1, 1)))


def by_hand(name: str, i: int, j: int, K: int, rate: float) -> float:
    if name == "symmetric":
        return 1 - rate if i == j else rate / (K - 1)
    if name == "symmetric-inclusive":
        return 1 - rate + rate / K if i == j else rate / K
    return (1 - rate) * (i == j) + rate * (j == (i + 1 if i + 1 < K else 0))


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("K", [2, 3, 7])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_matrix_is_the_one_written_by_hand(name: str, K: int, rate: float) -> None:
    expected = [[by_hand(name, i, j, K, rate) for j in range(K)] for i in range(K)]
    matrix = make(name).transition_matrix(names(K), "toy", rate)
    assert matrix is not None and matrix.dtype == np.float64
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", [*PLAIN, "class-dependent"])
@pytest.mark.parametrize("rate", [0.15, 0.3, 0.5])
def test_draws_follow_the_matrix(name: str, rate: float) -> None:
    K, each = 3, 20_000
    model = make(name, matrix=CONFUSIONS) if name == "class-dependent" else make(name)
    clean = np.repeat(np.arange(K), each)
    noisy = model.corrupt(data(clean, K), rate, np.random.default_rng(7))
    assert noisy.dtype == np.int64
    mean_off = np.mean([1 - CONFUSIONS[i][i] for i in range(K)])
    for i in range(K):
        if name == "class-dependent":
            row = [rate / mean_off * CONFUSIONS[i][j] for j in range(K)]
            row[i] = 1 - sum(row[j] for j in range(K) if j != i)
        else:
            row = [by_hand(name, i, j, K, rate) for j in range(K)]
        counts = np.bincount(noisy[clean == i], minlength=K)
        possible = np.array(row) > 0
        assert counts[~possible].sum() == 0
        assert chisquare(counts[possible], each * np.array(row)[possible]).pvalue > 1e-3


class Doubled(MatrixNoise):
    """Rows that are no probabilities."""

    def transition_matrix(self, class_names: tuple[str, ...], dataset: str, rate: float) -> Any:
        return np.full((2, 2), 0.9)


def test_rows_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(ValueError, match=r"noise doubled are no probabilities: .* 1\.8, 1\.8"):
        Doubled("doubled", Settings()).corrupt(data(np.zeros(4), 2), 0.4, np.random.default_rng(0))


def test_exclusive_at_rate_1_never_keeps_a_label_and_inclusive_does() -> None:
    clean = np.arange(40_000) % 4
    rng = np.random.default_rng(0)
    assert not (make("symmetric").corrupt(data(clean, 4), 1.0, rng) == clean).any()
    kept = (make("symmetric-inclusive").corrupt(data(clean, 4), 1.0, rng) == clean).mean()
    assert kept == pytest.approx(1 / 4, abs=0.01)


@pytest.mark.parametrize("name", ["symmetric", "pair-flip"])
def test_two_classes_at_rate_1_swap(name: str) -> None:
    clean = np.arange(1000) % 2
    noisy = make(name).corrupt(data(clean, 2), 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(noisy, 1 - clean)


@pytest.mark.parametrize("name", [*PLAIN, "class-dependent"])
def test_rate_0_changes_nothing(name: str) -> None:
    model = make(name, matrix=CONFUSIONS) if name == "class-dependent" else make(name)
    clean = np.random.default_rng(1).integers(3, size=5000)
    noisy = model.corrupt(data(clean, 3), 0.0, np.random.default_rng(2))
    np.testing.assert_array_equal(noisy, clean)


@pytest.mark.parametrize("name", ["symmetric", "symmetric-inclusive"])
@given(order=st.permutations(range(5)), rate=st.floats(0, 1))
def test_symmetric_noise_commutes_with_renaming_classes(
    name: str, order: list[int], rate: float
) -> None:
    T = make(name).transition_matrix(names(5), "toy", rate)
    assert T is not None
    np.testing.assert_array_equal(T[np.ix_(order, order)], T)


@given(rate=st.floats(0, 1), K=st.integers(2, 12), shift=st.integers(0, 11))
def test_pair_flip_commutes_with_turning_the_classes(rate: float, K: int, shift: int) -> None:
    T = make("pair-flip").transition_matrix(names(K), "toy", rate)
    assert T is not None
    np.testing.assert_array_equal(np.roll(T, (shift, shift), axis=(0, 1)), T)


@given(
    weights=st.lists(st.lists(st.floats(0.01, 1), min_size=4, max_size=4), min_size=4, max_size=4),
    share=st.floats(0, 1),
)
def test_class_dependent_has_the_rate_and_the_shape(
    weights: list[list[float]], share: float
) -> None:
    M = np.array(weights) / np.sum(weights, axis=1, keepdims=True)
    off = 1 - np.diag(M)
    rate = share * off.mean() / off.max() * (1 - 1e-12)
    T = make("class-dependent", matrix=M.tolist()).transition_matrix(names(4), "toy", rate)
    assert T is not None
    np.testing.assert_allclose(T.sum(axis=1), 1, atol=1e-12)
    assert (T >= 0).all()
    assert np.mean(1 - np.diag(T)) == pytest.approx(rate, abs=1e-12)
    for i, (j, k) in itertools.product(range(4), itertools.permutations(range(4), 2)):
        if i not in (j, k) and share > 1e-3:  # ratios within a row stay
            assert T[i, j] / T[i, k] == pytest.approx(M[i, j] / M[i, k], rel=1e-6)


def test_class_dependent_of_the_matrix_own_rate_is_the_matrix() -> None:
    own = np.mean([0.3, 0.1, 0.5])
    T = make("class-dependent", matrix=CONFUSIONS).transition_matrix(names(3), "toy", own)
    np.testing.assert_allclose(T, CONFUSIONS, atol=1e-15)


def test_class_dependent_too_high_a_rate_names_dataset_class_and_limit() -> None:
    model = make("class-dependent", matrices={"toy": CONFUSIONS})
    with pytest.raises(MedbenchError, match=r"'toy'.*'class 2'.*largest possible rate is 0\.6$"):
        model.transition_matrix(names(3), "toy", 0.61)
    T = model.transition_matrix(names(3), "toy", 0.6)  # the limit itself
    assert T is not None
    np.testing.assert_allclose(T[2], [1, 0, 0], atol=1e-12)


def test_class_dependent_own_matrix_comes_before_the_common_one() -> None:
    swap = [[0.0, 1.0], [1.0, 0.0]]
    first = [[0.5, 0.5], [0.0, 1.0]]
    model = make("class-dependent", matrix=swap, matrices={"toy": first})
    np.testing.assert_allclose(model.transition_matrix(names(2), "toy", 0.25), first, atol=1e-15)
    np.testing.assert_allclose(model.transition_matrix(names(2), "other", 1.0), swap, atol=1e-15)


def test_class_dependent_without_a_matrix_names_the_setting_and_the_table() -> None:
    model = make("class-dependent", matrices={"other": CONFUSIONS})
    with pytest.raises(
        MedbenchError, match=r"'toy'.*'matrix'.*'matrices\.toy'.*\[noise\.class-dependent\]"
    ):
        model.transition_matrix(names(3), "toy", 0.2)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0.5, 0.5], [0.5, 0.5]], "3 rows of 3 numbers.*has 2 rows of 2"),
        ([[1.0, 0.0, 0.0], [0.0, 1.0], [0.0, 0.0, 1.0]], "has 3 rows of 2 or 3"),
        ([], "has 0 rows of no numbers"),
        ([[0.5, 0.4, 0.0], [0, 1, 0], [0, 0, 1]], "'class 0' sums to 0.9"),
        ([[1, 0, 0], [-0.1, 1.1, 0], [0, 0, 1]], "'class 1' has an entry"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], "is the identity"),
    ],
)
def test_class_dependent_refuses_what_is_no_matrix(matrix: Any, message: str) -> None:
    with pytest.raises(MedbenchError, match=message) as caught:
        make("class-dependent", matrix=matrix).transition_matrix(names(3), "toy", 0.2)
    assert "'toy'" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_class_dependent_refuses_what_is_no_number(value: float) -> None:
    with pytest.raises((MedbenchError, ValueError)):
        make("class-dependent", matrix=[[1, 0], [value, 0]]).transition_matrix(names(2), "toy", 0.2)


@pytest.mark.parametrize("name", [*PLAIN, "class-dependent"])
@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rate_outside_0_to_1_is_refused(name: str, rate: float) -> None:
    model = make(name, matrix=CONFUSIONS) if name == "class-dependent" else make(name)
    with pytest.raises(MedbenchError, match="between 0 and 1"):
        model.transition_matrix(names(3), "toy", rate)


@pytest.mark.parametrize("name", PLAIN)
def test_one_class_is_refused(name: str) -> None:
    with pytest.raises(MedbenchError, match="fewer than two classes"):
        make(name).transition_matrix(names(1), "toy", 0.2)


@pytest.mark.parametrize("name", PLAIN)
def test_draws_depend_on_the_generator_alone(name: str) -> None:
    clean = np.arange(500) % 5
    draw = [make(name).corrupt(data(clean, 5), 0.4, np.random.default_rng(s)) for s in (3, 3, 4)]
    np.testing.assert_array_equal(draw[0], draw[1])
    assert (draw[0] != draw[2]).any()


def test_upstream_fault_two_meanings_of_symmetric_under_one_name() -> None:
    exclusive = make("symmetric").transition_matrix(names(4), "toy", 0.4)
    inclusive = make("symmetric-inclusive").transition_matrix(names(4), "toy", 0.4)
    assert exclusive is not None and inclusive is not None
    np.testing.assert_allclose(np.diag(exclusive), 0.6)
    np.testing.assert_allclose(np.diag(inclusive), 0.7)
    summaries = {p.name: p.summary for p in NOISE_MODELS}
    assert "1 - rate" in summaries["symmetric"]
    assert "rate/K" in summaries["symmetric-inclusive"]


def test_announcing_and_settings_load_no_torch() -> None:
    code = (
        "import sys\n"
        "from medbench.plugins.registry import discover\n"
        "from medbench.plugins.kinds import kind_named\n"
        "for entry in discover().of_kind(kind_named('noise')): entry.load_settings()\n"
        "assert 'torch' not in sys.modules and 'scipy.stats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_record_leads_to_a_noise_model() -> None:
    assert [p.name for p in NOISE_MODELS] == [
        "symmetric",
        "symmetric-inclusive",
        "pair-flip",
        "class-dependent",
        "annotator",
        "instance-dependent",
        "given",
        "as-given",
    ]
    for plugin in NOISE_MODELS:
        module, _, cls = plugin.target.partition(":")
        assert issubclass(getattr(importlib.import_module(module), cls), NoiseModel)
        assert plugin.interface == 1
