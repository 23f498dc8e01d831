"""What must not matter to a method: names of classes, order, repetition; and the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_method_contract import CLASSES, EVERY, run
from tiny_task import CPU, TinyHarness, TinyImages, TinyOracle, make_task, predict, started
from torch import Tensor

from medbench.interfaces.method import LearningTask, LNLMethod
from medbench_plugins.methods.dividemix import correct
from medbench_plugins.methods.mixmatch import (
    co_guess,
    co_refine,
    negative_entropy,
    prior_penalty,
    sharpen,
    soft_cross_entropy,
    squared_error,
)
from medbench_plugins.methods.mixture import clean_probability
from medbench_plugins.methods.selection import exchange, keep_own

SEEDS = st.integers(0, 2**31)
RENAMINGS = st.integers(2, 6).flatmap(lambda K: st.permutations(range(K)))


def batch(B: int, K: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn((2, B, K), generator=g, dtype=torch.float64)
    return z[0], z[1], torch.randint(K, (B,), generator=g)


def renamed(order: list[int], z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Name class order[j] j."""
    return z[:, order], torch.argsort(torch.tensor(order))[y]


# --- names of classes ---------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(order=RENAMINGS, seed=SEEDS)
def test_renaming_classes_changes_no_selection(order: list[int], seed: int) -> None:
    z1, z2, y = batch(9, len(order), seed)
    (new_1, new_y), (new_2, _) = renamed(order, z1, y), renamed(order, z2, y)
    for before, after in (
        (exchange(z1, z2, y, 0.4), exchange(new_1, new_2, new_y, 0.4)),
        (keep_own(z1, y, 0.4), keep_own(new_1, new_y, 0.4)),
    ):
        for old, new in zip(before, after, strict=True):
            torch.testing.assert_close(new, old)


@settings(max_examples=40, deadline=None)
@given(order=RENAMINGS, seed=SEEDS, T=st.floats(0.1, 2))
def test_renaming_classes_renames_dividemixs_targets(order: list[int], seed: int, T: float) -> None:
    z1, z2, y = batch(5, len(order), seed)
    (new_1, new_y), (new_2, _) = renamed(order, z1, y), renamed(order, z2, y)
    p, w = z1.softmax(1), torch.linspace(0, 1, 5, dtype=torch.float64)
    torch.testing.assert_close(sharpen(p[:, order], T), sharpen(p, T)[:, order])
    torch.testing.assert_close(co_guess([new_1, new_2], T), co_guess([z1, z2], T)[:, order])
    refined = co_refine(new_y, w, p[:, order], T)
    torch.testing.assert_close(refined, co_refine(y, w, p, T)[:, order])
    q = z2.softmax(1)
    for loss in (soft_cross_entropy, squared_error):
        torch.testing.assert_close(loss(new_1, q[:, order]), loss(z1, q))
    torch.testing.assert_close(prior_penalty(new_1, q[0, order]), prior_penalty(z1, q[0]))
    torch.testing.assert_close(negative_entropy(new_1), negative_entropy(z1))
    corrected = correct(y.numpy(), w.numpy(), p.float().numpy(), 0.5)
    again = correct(new_y.numpy(), w.numpy(), p[:, order].float().numpy(), 0.5)
    np.testing.assert_array_equal(np.array(order)[again], corrected)


# --- repetition ---------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, N=st.integers(8, 30))
def test_a_batch_given_twice_is_divided_as_once(seed: int, N: int) -> None:
    """The mixture is fitted to shares, not to numbers of samples."""
    rng = np.random.default_rng(seed)
    low, high = 0.1 + 0.02 * rng.random(N), 0.8 + 0.02 * rng.random(N)
    losses = rng.permutation(np.concatenate([low, high]))
    once = clean_probability(losses, seed=1)
    twice = clean_probability(np.tile(losses, 2), seed=1)
    np.testing.assert_allclose(twice, np.tile(once, 2), atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_small_loss_keeps_the_same_of_a_batch_given_twice(seed: int) -> None:
    z, _, y = batch(8, 3, seed)
    once, kept = keep_own(z, y, 0.25)
    twice, both = keep_own(z.repeat(2, 1), y.repeat(2), 0.25)
    torch.testing.assert_close(once, twice)
    assert sorted(i % 8 for i in both.tolist()) == sorted([*kept.tolist()] * 2)


# --- edges --------------------------------------------------------------------------------------


def test_equal_losses_keep_the_first_samples_and_lose_none() -> None:
    z, y = torch.zeros((10, 4)), torch.arange(10) % 4
    loss_1, loss_2, kept_1, kept_2 = exchange(z, z, y, 0.3)
    assert kept_1.tolist() == kept_2.tolist() == list(range(7))
    assert float(loss_1) == float(loss_2) == pytest.approx(math.log(4))
    loss, kept = keep_own(z, y, 0.3)
    assert kept.tolist() == list(range(7)) and float(loss) == pytest.approx(math.log(4))


def without_class(missing: int, num_classes: int = 4) -> LearningTask:
    """A task with a class that no sample is labelled with."""
    task = make_task(samples=60, num_classes=num_classes, epochs=4)
    keep = task.train.labels != missing
    tiny = TinyImages(task.train.images[keep], task.train.labels[keep])  # type: ignore[attr-defined]
    oracle = TinyOracle(0.3, True, np.zeros(int(keep.sum()), np.int64))
    harness = TinyHarness(0, num_classes, 4, oracle)
    return LearningTask(num_classes, 4, 16, tiny, tiny, CPU, harness)


@EVERY
@pytest.mark.parametrize("missing", [0, 3])
def test_a_class_without_samples(method_class: type[LNLMethod], missing: int) -> None:
    task = without_class(missing)
    method = started(method_class, task)
    reports = run(method, range(4))
    assert all(math.isfinite(report.loss) for report in reports)
    p = predict(method, task.train.images)  # type: ignore[attr-defined]
    assert p.shape == (len(task.train), 4) and torch.isfinite(p).all()


@EVERY
def test_as_few_samples_as_there_are_classes(method_class: type[LNLMethod]) -> None:
    task = make_task(samples=3, num_classes=3, epochs=3, batch_size=4)
    method = started(method_class, task)
    assert all(math.isfinite(report.loss) for report in run(method, range(3)))


@pytest.mark.parametrize("name", ["co-teaching", "small-loss"])
def test_an_absent_class_can_be_estimated_with(name: str) -> None:
    method = started(CLASSES[name], without_class(1), forget_rate="estimate")
    run(method, range(4))
    assert 0 <= method.forget_rate <= 1
