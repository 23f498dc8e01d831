"""Small-loss selection by one network against loops and against an epoch done by hand."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_task import (
    assert_same,
    clean_labels,
    frozen_state,
    make_task,
    predict,
    questions,
    restore,
    started,
)

from medbench_plugins.methods import METHODS
from medbench_plugins.methods.co_teaching import CoTeaching
from medbench_plugins.methods.cross_entropy import CrossEntropy
from medbench_plugins.methods.selection import keep_own, kept_count
from medbench_plugins.methods.settings import CoTeachingSettings, SmallLossSettings
from medbench_plugins.methods.small_loss import SmallLoss


@given(B=st.integers(1, 12), K=st.integers(2, 5), rate=st.floats(0, 1), seed=st.integers(0, 2**31))
@settings(deadline=None)
def test_keep_own_against_a_loop(B: int, K: int, rate: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    z = torch.randn((B, K), generator=g)
    y = torch.randint(K, (B,), generator=g)
    losses = []
    for row, label in zip(z.tolist(), y.tolist(), strict=True):
        top = max(row)
        losses.append(math.log(sum(math.exp(v - top) for v in row)) + top - row[label])
    k = max(1, math.floor((1 - rate) * B + 1e-9))
    expected = sorted(range(B), key=lambda i: losses[i])[:k]
    loss, kept = keep_own(z, y, rate)
    assert set(kept.tolist()) == set(expected)
    assert float(loss) == pytest.approx(sum(losses[i] for i in expected) / k, rel=1e-5, abs=1e-6)


@given(order=st.permutations(range(9)), seed=st.integers(0, 2**31))
@settings(deadline=None)
def test_keep_own_does_not_depend_on_the_order_of_the_batch(order: list[int], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    z, y = torch.randn((9, 4), generator=g), torch.randint(4, (9,), generator=g)
    a, b = keep_own(z, y, 0.4), keep_own(z[order], y[order], 0.4)
    torch.testing.assert_close(a[0], b[0])
    assert {order[i] for i in b[1].tolist()} == set(a[1].tolist())


def test_what_is_forgotten_has_no_gradient() -> None:
    z = torch.tensor([[3.0, 0.0], [0.0, 3.0], [2.0, 0.0], [0.0, 2.0]], requires_grad=True)
    loss, kept = keep_own(z, torch.zeros(4, dtype=torch.int64), 0.5)
    loss.backward()
    assert sorted(kept.tolist()) == [0, 2] and z.grad is not None
    assert z.grad.abs().sum(dim=1).bool().tolist() == [True, False, True, False]
    # The mean over the kept is taken once.
    p = z.detach()[[0, 2]].double().softmax(1)
    torch.testing.assert_close(
        z.grad[[0, 2]].double(), (p - torch.tensor([1.0, 0.0])) / 2, rtol=1e-5, atol=1e-7
    )


def epoch_by_hand(method: SmallLoss, epoch: int, rate: float) -> np.ndarray:
    """One epoch in plain torch; returns what was kept."""
    task, net = method.task, method.network
    kept = np.zeros((1, len(task.train)), dtype=bool)
    net.train()
    method.optimiser.start_epoch(epoch)
    for batch in task.train.batches(task.batch_size, task.rng("train", epoch)):
        losses = -net(batch.images).log_softmax(1)[range(len(batch.labels)), batch.labels]
        keep = kept_count(rate, len(batch.labels))
        chosen = np.argsort(losses.detach().numpy(), kind="stable")[:keep]
        kept[0, batch.indices.numpy()[chosen]] = True
        method.optimiser.step(losses[torch.from_numpy(chosen)].sum() / keep)
    return kept


def test_an_epoch_is_the_one_done_by_hand() -> None:
    settings = {"forget_rate": 0.4, "warmup_epochs": 2}
    method = started(SmallLoss, make_task(), **settings)
    twin = started(SmallLoss, make_task(), **settings)
    for epoch, rate in enumerate([0.0, 0.2, 0.4, 0.4]):
        report = method.train_epoch(epoch)
        np.testing.assert_array_equal(report.selected, epoch_by_hand(twin, epoch, rate))
        for a, b in zip(method.network.parameters(), twin.network.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_forgetting_nothing_is_cross_entropy() -> None:
    one, other = (
        started(SmallLoss, make_task(), forget_rate=0.0),
        started(CrossEntropy, make_task()),
    )
    for epoch in range(3):
        report = one.train_epoch(epoch)
        plain = other.train_epoch(epoch)
        assert report.selected.all()
        assert report.loss == pytest.approx(plain.loss, rel=1e-6)
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_it_keeps_as_many_as_co_teaching() -> None:
    settings: dict[str, Any] = {"forget_rate": 0.5, "warmup_epochs": 2}
    one = started(SmallLoss, make_task(samples=96, epochs=4), **settings)
    two = started(CoTeaching, make_task(samples=96, epochs=4), **settings)
    for epoch in range(4):
        kept = one.train_epoch(epoch).selected
        assert kept.shape == (1, 96) and kept.dtype == np.bool_
        assert kept.mean() == two.train_epoch(epoch).selected.mean()


def test_a_forget_rate_of_none_asks_for_the_noise_rate_once() -> None:
    task = make_task(rate=0.3)
    method = started(SmallLoss, task)
    assert questions(task) == {}
    method.train_epoch(0)
    state = frozen_state(method)
    again = started(SmallLoss, task)
    restore(again, state)
    again.train_epoch(1)
    assert questions(task) == {"noise_rate": 1} and again.forget_rate == 0.3


def test_a_given_forget_rate_asks_nothing() -> None:
    task = make_task()
    started(SmallLoss, task, forget_rate=0.2).train_epoch(0)
    assert questions(task) == {}


@pytest.mark.parametrize("done", [0, 1, 3])
def test_taken_up_again_it_goes_on_bit_for_bit(done: int) -> None:
    settings: dict[str, Any] = {"warmup_epochs": 2, "forget_rate": "estimate"}
    method = started(SmallLoss, make_task(), **settings)
    for epoch in range(done):
        method.train_epoch(epoch)
        predict(method, torch.rand((3, 1, 8, 8), generator=torch.Generator().manual_seed(0)))
    fresh = started(SmallLoss, make_task(), **settings)
    restore(fresh, frozen_state(method))
    assert_same(method.train_epoch(done), fresh.train_epoch(done))
    assert_same(frozen_state(method), frozen_state(fresh))


@pytest.mark.parametrize("samples", [17, 33])
def test_a_last_batch_of_one_trains(samples: int) -> None:
    report = started(SmallLoss, make_task(samples=samples, batch_size=16)).train_epoch(0)
    assert math.isfinite(report.loss) and report.selected.all()


def test_forgetting_everything_keeps_one_sample_a_batch() -> None:
    method = started(SmallLoss, make_task(samples=48, rate=1.0), warmup_epochs=0)
    report = method.train_epoch(0)
    assert report.selected.sum() == 3
    assert all(torch.isfinite(p).all() for p in method.network.parameters())


def test_it_learns_and_keeps_the_right_labels() -> None:
    task = make_task(samples=240, rate=0.3, epochs=8)
    method = started(SmallLoss, task, warmup_epochs=3)
    reports = [method.train_epoch(epoch) for epoch in range(8)]
    clean = clean_labels(task)
    right = clean == task.train.labels.numpy()
    assert right[reports[-1].selected[0]].mean() > right.mean() + 0.15
    p = predict(method, task.train.images).argmax(1).numpy()  # type: ignore[attr-defined]
    assert (p == clean).mean() > 0.9


def test_two_classes_and_its_own_optimiser() -> None:
    method = started(SmallLoss, make_task(num_classes=2), optimiser={"name": "adam", "lr": 0.123})
    assert method.optimiser.settings.lr == 0.123
    assert math.isfinite(method.train_epoch(0).loss)
    p = predict(method, method.task.train.images[:5])
    assert p.dtype == torch.float32 and p.shape == (5, 2)
    torch.testing.assert_close(p.sum(1), torch.ones(5))


def test_settings_are_co_teachings_without_the_second_network() -> None:
    ours, theirs = SmallLossSettings.model_fields, CoTeachingSettings.model_fields
    assert set(theirs) - set(ours) == {"predict_with"}
    assert set(SmallLossSettings.presets) == set(CoTeachingSettings.presets)
    for name, values in CoTeachingSettings.presets.items():
        shared = {key: value for key, value in values.items() if key != "predict_with"}
        assert SmallLossSettings.presets[name] == shared


def test_it_is_announced_without_torch() -> None:
    plugin = next(plugin for plugin in METHODS if plugin.name == "small-loss")
    module, _, name = plugin.target.partition(":")
    assert getattr(importlib.import_module(module), name) is SmallLoss
    code = (
        "import sys\n"
        "from medbench.plugins.registry import discover\n"
        "from medbench.plugins.kinds import kind_named\n"
        "registry = discover()\n"
        "registry.get(kind_named('method'), 'small-loss').load_settings()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
