"""What methods know of the noise without asking: the estimate of its rate, and who asks what."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_task import (
    TinyHarness,
    TinyImages,
    assert_same,
    clean_labels,
    frozen_state,
    make_task,
    predict,
    questions,
    restore,
    started,
)

from medbench.errors import ProtocolError
from medbench.interfaces.confident import confident_joint
from medbench.interfaces.method import LearningTask, LNLMethod
from medbench.protocol.read import checked
from medbench_plugins.methods import METHODS
from medbench_plugins.methods.co_teaching import CoTeaching
from medbench_plugins.methods.dividemix import DivideMix
from medbench_plugins.methods.estimation import estimate_noise_rate, rate_of
from medbench_plugins.methods.settings import CoTeachingSettings, SmallLossSettings
from medbench_plugins.methods.small_loss import SmallLoss

Array = np.ndarray
FORGETTING = pytest.mark.parametrize("method_class", [CoTeaching, SmallLoss])


# The estimate, from given predictions


def estimate(p: Array, y: Array) -> float:
    return rate_of(confident_joint(p, y), y)


def joint_by_loops(p: Array, y: Array) -> list[list[int]]:
    N, K = p.shape
    thresholds = []
    for j in range(K):
        own = [float(p[i, j]) for i in range(N) if y[i] == j]
        thresholds.append(math.fsum(own) / len(own) if own else math.inf)
    C = [[0] * K for _ in range(K)]
    for i in range(N):
        candidates = [j for j in range(K) if p[i, j] >= thresholds[j] - 1e-12]
        if candidates:
            top = max(float(p[i, j]) for j in candidates)
            best = [j for j in candidates if p[i, j] == top]
            C[y[i]][int(y[i]) if y[i] in best else best[0]] += 1
    return C


def rate_by_loops(p: Array, y: Array) -> float:
    C, N = joint_by_loops(p, y), len(y)
    wrong = 0.0
    for k, row in enumerate(C):
        if sum(row):
            wrong += sum(int(v) == k for v in y) / N * (sum(row) - row[k]) / sum(row)
    return wrong


@given(N=st.integers(1, 30), K=st.integers(2, 5), seed=st.integers(0, 2**31), coarse=st.booleans())
@settings(deadline=None)
def test_joint_and_rate_against_loops(N: int, K: int, seed: int, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(K, 0.5), size=N)
    if coarse:  # many ties
        p = np.round(p * 4) / 4
    y = rng.integers(K, size=N)
    np.testing.assert_array_equal(confident_joint(p, y), joint_by_loops(p, y))
    assert estimate(p, y) == pytest.approx(rate_by_loops(p, y), abs=1e-12)
    assert 0 <= estimate(p, y) <= 1


def test_rate_by_hand() -> None:
    # Thresholds: class 0 (.9 + .8 + .1) / 3 = .6, class 1 (.7 + .9) / 2 = .8.
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.1, 0.9]])
    y = np.array([0, 0, 0, 1, 1])
    np.testing.assert_array_equal(confident_joint(p, y), [[2, 1], [0, 1]])
    assert estimate(p, y) == pytest.approx(3 / 5 * 1 / 3)


@given(order=st.permutations(range(12)), names=st.permutations(range(3)), seed=st.integers(0, 999))
@settings(deadline=None)
def test_order_and_names_do_not_matter(order: list[int], names: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, y = rng.dirichlet(np.ones(3), size=12), rng.integers(3, size=12)
    renamed = np.empty_like(p)
    renamed[:, names] = p
    assert estimate(p[order], y[order]) == pytest.approx(estimate(p, y), abs=1e-12)
    assert estimate(renamed, np.array(names)[y]) == pytest.approx(estimate(p, y), abs=1e-12)
    assert estimate(np.tile(p, (2, 1)), np.tile(y, 2)) == pytest.approx(estimate(p, y), abs=1e-12)


def test_a_network_that_tells_nothing_apart_speaks_against_no_label() -> None:
    y = np.arange(30) % 3
    assert estimate(np.full((30, 3), 1 / 3), y) == 0.0
    assert estimate(np.tile([0.5, 0.3, 0.2], (30, 1)), y) <= 2 / 3


def test_no_samples_and_a_class_nobody_is_labelled_with() -> None:
    assert estimate(np.empty((0, 3)), np.empty(0, np.int64)) == 0.0
    p = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])
    assert estimate(p, np.array([0, 1, 1])) == 0.0  # the third is sure of a class nobody has


def noisy_labels(clean: Array, K: int, rate: float, kind: str, rng: np.random.Generator) -> Array:
    turn = 1 if kind == "pair" else rng.integers(1, K, size=len(clean))
    return np.where(rng.random(len(clean)) < rate, (clean + turn) % K, clean)


@pytest.mark.parametrize("kind", ["symmetric", "pair"])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.2, 0.4])
def test_with_the_true_conditional_probabilities_the_rate_is_found(rate: float, kind: str) -> None:
    """The source's theorem: exact where predictions are the noise process's own probabilities."""
    K, N = 4, 20_000
    rng = np.random.default_rng(0)
    clean = rng.integers(K, size=N)
    noisy = noisy_labels(clean, K, rate, kind, rng)
    T = np.array(
        [
            [
                1 - rate if i == j else (rate / (K - 1) if kind == "symmetric" else
                rate * (j == (i + 1) % K))
                for j in range(K)
            ]
            for i in range(K)
        ]
    )  # fmt: skip
    assert estimate(T[clean], noisy) == pytest.approx((noisy != clean).mean(), abs=1e-9)


# The estimate, from networks in training


class Silent:
    """An oracle nobody may ask."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"the oracle was asked for {name}")


def silent(task: LearningTask) -> LearningTask:
    harness = task.harness
    assert isinstance(harness, TinyHarness)
    deaf = TinyHarness(harness.root, harness.num_classes, harness.epochs, Silent())  # type: ignore[arg-type]
    return replace(task, harness=deaf)


def noisy_task(rate: float, kind: str, K: int, root: int) -> tuple[LearningTask, float]:
    """Return a task whose oracle is silent, and its realised rate."""
    task = make_task(samples=400, num_classes=K, rate=0.0, epochs=10, root=root)
    clean = clean_labels(task)
    noisy = noisy_labels(clean, K, rate, kind, np.random.default_rng(root))
    images = TinyImages(task.train.images, torch.from_numpy(noisy))  # type: ignore[attr-defined]
    return silent(replace(task, train=images)), float((noisy != clean).mean())


@FORGETTING
@pytest.mark.parametrize("kind", ["symmetric", "pair"])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4])
def test_the_estimate_is_near_the_true_rate_and_asks_nothing(
    rate: float, kind: str, method_class: type[LNLMethod]
) -> None:
    for root in (1, 2):
        task, realised = noisy_task(rate, kind, 3 if kind == "pair" else 4, root)
        method = started(method_class, task, forget_rate="estimate")
        for epoch in range(10):
            method.train_epoch(epoch)
        assert method.forget_rate == pytest.approx(realised, abs=0.1)


@FORGETTING
def test_the_estimate_is_made_in_the_warm_up_and_then_stays(method_class: type[LNLMethod]) -> None:
    method = started(method_class, make_task(), forget_rate="estimate", warmup_epochs=2)
    rates = []
    for epoch in range(5):
        method.train_epoch(epoch)
        rates.append(method.forget_rate)
    assert rates[0] == 0.0 and 0 < rates[1] < 1
    assert rates[2] == rates[3] == rates[4]


@FORGETTING
def test_without_warm_up_the_first_epoch_forgets_nothing(method_class: type[LNLMethod]) -> None:
    method = started(method_class, make_task(), forget_rate="estimate", warmup_epochs=0)
    assert method.train_epoch(0).selected.all()
    assert not method.train_epoch(1).selected.all()


@FORGETTING
def test_an_estimate_is_forgotten_like_a_given_rate(method_class: type[LNLMethod]) -> None:
    """Estimating draws nothing and changes no network."""
    estimating = started(method_class, make_task(), forget_rate="estimate", warmup_epochs=1)
    estimating.train_epoch(0)
    given = started(method_class, make_task(), forget_rate=0.0, warmup_epochs=1)
    given.train_epoch(0)
    first = estimating.train_epoch(1)
    given.forget_rate = estimating.forget_rate
    assert_same(first, given.train_epoch(1))
    assert_same(frozen_state(estimating), frozen_state(given))


def test_estimating_leaves_weights_and_buffers_alone() -> None:
    method = started(CoTeaching, make_task())
    method.train_epoch(0)
    p = [method.network_1.eval(), method.network_2.eval()]
    state = frozen_state(method)
    images, labels = method.task.train.images, method.task.train.labels.numpy()
    mean = sum(net(images).detach().softmax(1) for net in p) / 2
    rate = estimate_noise_rate(method.task, p)
    assert rate == pytest.approx(rate_by_loops(mean.numpy(), labels), abs=1e-6)
    assert_same(frozen_state(method), state)


@FORGETTING
@pytest.mark.parametrize("done", [1, 2, 4])
def test_resumed_it_does_not_estimate_again(method_class: type[LNLMethod], done: int) -> None:
    settings: dict[str, Any] = {"forget_rate": "estimate", "warmup_epochs": 2}
    method = started(method_class, silent(make_task()), **settings)
    for epoch in range(done):
        method.train_epoch(epoch)
    fresh = started(method_class, silent(make_task()), **settings)
    restore(fresh, frozen_state(method))
    for epoch in range(done, done + 2):
        assert_same(method.train_epoch(epoch), fresh.train_epoch(epoch))
    assert_same(frozen_state(method), frozen_state(fresh))


# Settings and presets


@pytest.mark.parametrize("model", [CoTeachingSettings, SmallLossSettings])
def test_the_default_asks_the_oracle_and_says_so_in_one_way(model: Any) -> None:
    for given_ in ({}, {"forget_rate": None}, {"forget_rate": "oracle"}):
        dumped = model(**given_).model_dump(mode="json")
        assert dumped["forget_rate"] is None
        assert dumped == model().model_dump(mode="json")
    assert model(forget_rate=0).model_dump(mode="json")["forget_rate"] == 0.0
    assert model(forget_rate="estimate").model_dump(mode="json")["forget_rate"] == "estimate"


def test_the_word_oracle_asks_as_the_default_does() -> None:
    task = make_task(rate=0.3)
    said, unsaid = started(CoTeaching, task, forget_rate="oracle"), started(CoTeaching, task)
    assert_same(said.train_epoch(0), unsaid.train_epoch(0))
    assert questions(task) == {"noise_rate": 2}


@pytest.mark.parametrize("value", [-0.1, 1.5, True, "guess", [0.2], float("nan")])
def test_other_forget_rates_are_refused_in_one_line(value: Any) -> None:
    with pytest.raises(
        ProtocolError,
        match=r"^here: forget_rate: must be a number in \[0, 1\], 'oracle' or 'estimate' \(found",
    ):
        checked(CoTeachingSettings, {"forget_rate": value}, "here")


def load(target: str) -> type[LNLMethod]:
    module, _, name = target.partition(":")
    cls: type[LNLMethod] = getattr(importlib.import_module(module), name)
    return cls


CLASSES = {plugin.name: load(plugin.target) for plugin in METHODS}


@pytest.mark.parametrize("method_class", CLASSES.values(), ids=CLASSES.keys())
@pytest.mark.parametrize("symmetric", [True, False])
def test_who_asks_has_a_preset_that_does_not(
    method_class: type[LNLMethod], symmetric: bool
) -> None:
    task = make_task(symmetric=symmetric)
    method = started(method_class, task)
    for epoch in range(4):
        method.train_epoch(epoch)
    presets = method_class.Settings.presets
    assert ("no-oracle" in presets) == method.settings.asks_oracle == bool(questions(task))
    if "no-oracle" in presets:
        assert {**presets["paper"], **presets["no-oracle"]} == presets["no-oracle"]
        values = {**presets["no-oracle"], "warmup_epochs": 2}
        method = started(method_class, silent(make_task(symmetric=symmetric)), **values)
        assert not method.settings.asks_oracle
        for epoch in range(4):
            method.train_epoch(epoch)
            predict(method, method.task.train.images)


def test_dividemix_without_oracle_takes_noise_for_symmetric() -> None:
    method = started(DivideMix, silent(make_task(symmetric=False)), asymmetric=False)
    asking = started(DivideMix, make_task(symmetric=True))
    assert_same(method.train_epoch(0), asking.train_epoch(0))
