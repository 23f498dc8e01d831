"""Co-teaching with VOG: the closed form against autograd, the selection against loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_task import assert_same, frozen_state, make_task, restore, started
from torch import nn
from torch.nn import functional as F

from medbench_plugins.methods.co_teaching import CoTeaching
from medbench_plugins.methods.co_teaching_vog import CoTeachingVOG
from medbench_plugins.methods.selection import kept_count
from medbench_plugins.methods.settings import CoTeachingVOGSettings
from medbench_plugins.methods.vog import (
    label_gradients,
    small_loss_and_vog,
    training_gradients,
    variance_of_gradients,
)

SHORT: dict[str, Any] = {"warmup_epochs": 2, "forget_rate": 0.4, "vog_window": 3}


@given(
    samples=st.integers(1, 5),
    classes=st.integers(2, 4),
    dim=st.integers(1, 4),
    epochs=st.integers(2, 5),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=30)
def test_vog_against_a_loop_with_autograd(
    samples: int, classes: int, dim: int, epochs: int, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (samples,), generator=g)
    history, by_autograd = [], np.zeros((epochs, samples, dim + 1))
    for epoch in range(epochs):
        head = nn.Linear(dim, classes)
        for parameter in head.parameters():
            nn.init.normal_(parameter, generator=g)
        features = torch.randn((samples, dim), generator=g)
        history.append(label_gradients(features, head(features).detach(), labels))
        for i in range(samples):
            loss = F.cross_entropy(head(features[i : i + 1]), labels[i : i + 1])
            weight, bias = torch.autograd.grad(loss, [head.weight, head.bias])
            by_autograd[epoch, i] = [*weight[labels[i]].tolist(), float(bias[labels[i]])]
    expected = [by_autograd[:, i].std(axis=0).mean() for i in range(samples)]
    np.testing.assert_allclose(variance_of_gradients(history), expected, rtol=1e-4, atol=1e-6)


def test_training_gradients_are_of_plain_images_in_eval_mode() -> None:
    task = make_task(samples=20)
    network = task.make_network(0)
    network.train()
    found = training_gradients(task, network)
    network.eval()
    images, labels = task.train.images, task.train.labels  # type: ignore[attr-defined]
    for i in range(20):
        loss = F.cross_entropy(network(images[i : i + 1]), labels[i : i + 1])
        weight, bias = torch.autograd.grad(loss, [network[-1].weight, network[-1].bias])
        expected = torch.cat([weight[labels[i]], bias[labels[i]][None]])
        torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-6)
    assert not network[-1]._forward_pre_hooks


@given(B=st.integers(1, 30), rate=st.floats(0, 1), share=st.floats(0, 1), seed=st.integers(0, 99))
@settings(deadline=None)
def test_selection_by_a_loop(B: int, rate: float, share: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    losses, vog = torch.rand(B, generator=g), torch.rand(B, generator=g)
    keep = kept_count(rate, B)
    chosen = small_loss_and_vog(losses, vog, keep, share).tolist()
    by_vog = int(share * keep + 1e-9)
    expected = sorted(range(B), key=lambda i: losses[i])[: keep - by_vog]
    rest = sorted(set(range(B)) - set(expected), key=lambda i: vog[i])
    assert chosen == expected + rest[:by_vog]
    # the released code keeps int(K (1 - m)) + int(K m), which may be one fewer
    assert len(set(chosen)) == keep


def test_until_the_warm_up_has_ended_it_is_co_teaching() -> None:
    plain = {key: value for key, value in SHORT.items() if key != "vog_window"}
    ours, theirs = started(CoTeachingVOG, make_task(), **SHORT), None
    theirs = started(CoTeaching, make_task(), **plain)
    for epoch in range(4):
        same = np.array_equal(ours.train_epoch(epoch).selected, theirs.train_epoch(epoch).selected)
        assert same == (epoch <= 2)


def test_an_epoch_after_the_warm_up_is_the_one_done_by_hand() -> None:
    method, twin = (started(CoTeachingVOG, make_task(), **SHORT) for _ in range(2))
    networks = (twin.network_1, twin.network_2)
    history: list[list[torch.Tensor]] = [[], []]
    for epoch in range(3):
        method.train_epoch(epoch)
        twin.train_epoch(epoch)
        for kept, network in zip(history, networks, strict=True):
            kept.append(training_gradients(twin.task, network))
    vog = [torch.stack(each).std(dim=0, correction=0).mean(dim=1) for each in history]
    report = method.train_epoch(3)
    selected = np.zeros((2, 90), np.bool_)
    for optimiser, network in zip((twin.optimiser_1, twin.optimiser_2), networks, strict=True):
        network.train()
        optimiser.start_epoch(3)
    for batch in twin.task.train.batches(16, twin.task.rng("train", 3)):
        losses = [
            F.cross_entropy(net(batch.images), batch.labels, reduction="none") for net in networks
        ]
        keep = kept_count(0.4, len(batch.labels))
        kept = [
            small_loss_and_vog(own.detach(), v[batch.indices], keep, 0.2)
            for own, v in zip(losses, vog, strict=True)
        ]
        twin.optimiser_1.step(losses[0][kept[1]].mean())
        twin.optimiser_2.step(losses[1][kept[0]].mean())
        for m in range(2):
            selected[m, batch.indices[kept[m]]] = True
    np.testing.assert_array_equal(report.selected, selected)
    for a, b in zip(method.network_1.parameters(), twin.network_1.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("done", [1, 3, 5])
def test_continued_it_gives_the_same_bits(done: int) -> None:
    method = started(CoTeachingVOG, make_task(), **SHORT)
    for epoch in range(done):
        method.train_epoch(epoch)
    fresh = started(CoTeachingVOG, make_task(), **SHORT)
    restore(fresh, frozen_state(method))
    assert_same(method.train_epoch(done), fresh.train_epoch(done))
    assert_same(frozen_state(method), frozen_state(fresh))


def test_only_the_window_is_held_and_only_from_where_it_is_needed() -> None:
    method = started(CoTeachingVOG, make_task(epochs=8), warmup_epochs=4, vog_window=2)
    held = []
    for epoch in range(8):
        method.train_epoch(epoch)
        held.append(len(method.gradients[0]))
    assert held == [0, 0, 0, 1, 2, 2, 2, 2]
    assert method.gradients[0][0].shape == (90, 17)


def test_a_share_of_zero_is_co_teaching() -> None:
    ours = started(CoTeachingVOG, make_task(), **SHORT, vog_share=0.0)
    theirs = started(CoTeaching, make_task(), warmup_epochs=2, forget_rate=0.4)
    for epoch in range(5):
        assert_same(ours.train_epoch(epoch), theirs.train_epoch(epoch))


def test_presets_have_the_papers_values() -> None:
    paper = CoTeachingVOGSettings(**CoTeachingVOGSettings.presets["paper"])
    assert (paper.vog_share, paper.vog_window, paper.warmup_epochs) == (0.2, 5, 10)
    assert paper.optimiser is not None and paper.optimiser.lr == 0.01
