"""JoCoR, confident learning, DISC and agreement against loops and epochs done by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_task import clean_labels, make_task, predict, started
from torch import nn

from medbench.errors import MedbenchError
from medbench.interfaces.confident import UNCOUNTED
from medbench_plugins.methods.agreement import Agreement
from medbench_plugins.methods.confident_learning import ConfidentLearning, class_weights
from medbench_plugins.methods.disc import DISC, divide
from medbench_plugins.methods.jocor import JoCoR, joint_loss
from medbench_plugins.methods.selection_settings import JoCoRSettings


def same_weights(one: nn.Module, other: nn.Module) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


# JoCoR


@given(B=st.integers(1, 8), K=st.integers(2, 5), weight=st.floats(0, 1), seed=st.integers(0, 2**31))
@settings(deadline=None)
def test_joint_loss_against_loops(B: int, K: int, weight: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    z1, z2 = 2 * torch.randn((2, B, K), generator=g, dtype=torch.float64)
    y = torch.randint(K, (B,), generator=g)
    expected = []
    for i in range(B):
        p, q = z1[i].softmax(0).tolist(), z2[i].softmax(0).tolist()
        ce = -math.log(p[y[i]]) - math.log(q[y[i]])
        kl = sum(a * math.log(a / b) + b * math.log(b / a) for a, b in zip(p, q, strict=True))
        expected.append((1 - weight) * ce + weight * kl)
    torch.testing.assert_close(
        joint_loss(z1, z2, y, weight), torch.tensor(expected, dtype=torch.float64)
    )


def test_a_jocor_epoch_is_the_one_done_by_hand() -> None:
    values = {"forget_rate": 0.4, "warmup_epochs": 0, "agreement": 0.6}
    method, twin = (started(JoCoR, make_task(samples=48), **values) for _ in range(2))
    report = method.train_epoch(0)
    task, (one, two) = twin.task, twin.networks
    kept = np.zeros(48, dtype=bool)
    for batch in task.train.batches(16, task.rng("train", 0)):
        p, q = one(batch.images).softmax(1), two(batch.images).softmax(1)
        ce = -(p.log() + q.log())[range(16), batch.labels]
        losses = 0.4 * ce + 0.6 * (p * (p / q).log() + q * (q / p).log()).sum(1)
        chosen = losses.detach().argsort()[:9]  # (1 - .4) 16 = 9.6
        kept[batch.indices[chosen]] = True
        twin.optimiser.step(losses[chosen].mean())
    np.testing.assert_array_equal(report.selected, np.stack([kept, kept]))
    same_weights(method.networks, twin.networks)


def test_jocors_presets_share_co_teachings_schedule() -> None:
    assert JoCoRSettings.presets["no-oracle"]["forget_rate"] == "estimate"
    assert JoCoRSettings(forget_rate="oracle").forget_rate is None


# Confident learning


def test_each_folds_network_learns_the_other_folds_and_predicts_its_own() -> None:
    values: dict[str, Any] = {"folds": 3, "fold_epochs": 2}
    method, twin = (started(ConfidentLearning, make_task(samples=60), **values) for _ in range(2))
    for epoch in range(3):
        method.train_epoch(epoch)
    fold = method.fold.numpy()
    assert sorted(np.bincount(fold)) == [20, 20, 20]
    task = twin.task
    expected = np.zeros((60, 3))
    for m in range(3):
        net, optimiser = twin.fold_networks[m].train(), twin.fold_optimisers[m]
        others = torch.from_numpy(np.flatnonzero(fold != m))
        for epoch in range(2):
            rng = task.rng(f"fold-{m}", epoch)
            for batch in task.train.batches(16, rng, indices=others):
                assert (fold[batch.indices] != m).all()
                p = net(batch.images).softmax(1)
                optimiser.step(-p[range(len(p)), batch.labels].log().mean())
        same_weights(method.fold_networks[m], net)
        own = net.eval()(task.train.images[fold == m]).detach().softmax(1)
        expected[fold == m] = own.numpy()
    np.testing.assert_allclose(method.out_of_sample.numpy(), expected, rtol=1e-3, atol=1e-4)


def test_labels_off_the_diagonal_are_pruned_and_the_rest_trained_on() -> None:
    method, twin = (
        started(ConfidentLearning, make_task(samples=60, num_classes=2, rate=0.3), fold_epochs=1)
        for _ in range(2)
    )
    y = method.task.train.labels.numpy()
    clean = clean_labels(method.task)
    # Certain and right, but for one sample of each class that is confidently in neither.
    p = np.where(np.eye(2)[clean] > 0, 0.9, 0.1)
    unsure = [int(np.flatnonzero((y == k) & (clean == k))[0]) for k in range(2)]
    p[unsure] = 0.5
    method.out_of_sample, method.pruning = torch.from_numpy(p).float(), True
    report = method.train_epoch(1)
    kept = y == clean
    np.testing.assert_array_equal(report.selected, kept[None])
    np.testing.assert_array_equal(report.corrected, clean)
    np.testing.assert_allclose(report.clean_probability, p[range(60), y], rtol=1e-6)
    task, net = twin.task, twin.network.train()
    indices = torch.from_numpy(np.flatnonzero(kept))
    sure = np.delete(np.arange(60), unsure)
    weights = torch.tensor(
        [(clean[sure] == k).sum() / ((clean[sure] == k) & (y[sure] == k)).sum() for k in range(2)]
    )
    assert 1.1 < weights.min() < weights.max()
    for batch in task.train.batches(16, task.rng("train", 1), indices=indices):
        q = net(batch.images).softmax(1)
        own = weights[batch.labels]
        losses = -q[range(len(q)), batch.labels].log()
        twin.optimiser.step((own * losses).sum() / own.sum())
    same_weights(method.network, net)


def test_a_class_that_is_never_labelled_right_has_weight_one() -> None:
    classes, labels = np.array([0, 0, 1, UNCOUNTED, 2]), np.array([0, 1, 0, 1, 2])
    assert class_weights(classes, labels, 4).tolist() == [2.0, 1.0, 1.0, 1.0]


def test_each_training_goes_through_the_whole_schedule() -> None:
    seen: dict[int, list[int]] = {}
    method = started(ConfidentLearning, make_task(samples=40, epochs=10), folds=2, fold_epochs=4)
    for optimiser in [*method.fold_optimisers, method.optimiser]:
        started_at = optimiser.start_epoch

        def start(epoch: int, optimiser: Any = optimiser, inner: Any = started_at) -> None:
            seen.setdefault(id(optimiser), []).append(epoch)
            inner(epoch)

        optimiser.start_epoch = start
    for epoch in range(10):
        method.train_epoch(epoch)
    assert list(seen.values()) == [[0, 2, 5, 7]] * 2 + [[0, 1, 3, 5, 6, 8]]


def test_folds_predict_until_the_last_network_starts() -> None:
    task = make_task(epochs=4)
    method = started(ConfidentLearning, task, folds=2)
    method.train_epoch(0)
    images = task.train.images[:6]  # type: ignore[attr-defined]
    with torch.no_grad():
        mean = sum(net.eval()(images).softmax(1) for net in method.fold_networks) / 2
    torch.testing.assert_close(predict(method, images), mean, rtol=1e-4, atol=1e-6)
    for epoch in (1, 2):
        method.train_epoch(epoch)
    with torch.no_grad():
        last = method.network.eval()(images).softmax(1)
    torch.testing.assert_close(predict(method, images), last, rtol=1e-4, atol=1e-6)


def test_cross_validation_must_leave_epochs_for_training() -> None:
    with pytest.raises(MedbenchError, match="lower 'fold_epochs' or raise the budget"):
        started(ConfidentLearning, make_task(epochs=4), fold_epochs=4)


# DISC


def test_divide_by_hand() -> None:
    p = torch.tensor(
        [
            [[0.8, 0.2], [0.8, 0.2], [0.05, 0.95], [0.3, 0.7], [0.0, 1.0], [0.5, 0.5]],
            [[0.7, 0.3], [0.4, 0.6], [0.15, 0.85], [0.4, 0.6], [0.01, 0.99], [0.5, 0.5]],
        ]
    )
    tau = torch.tensor([[0.5, 0.5, 0.2, 0.5, 0.9, 0.5], [0.6, 0.5, 0.4, 0.5, 0.9, 0.5]])
    got = divide(p, torch.zeros(6, dtype=torch.int64), tau, margin=0.5)
    # 2: mean .9 > .3 + .5; 3: .65 < .99; 4: .995 > min(1.4, .99); 5: equal is not above
    assert got.clean.tolist() == [True, False, False, False, False, False]
    assert got.hard.tolist() == [False, True, False, False, False, False]
    assert got.purified.tolist() == [False, False, True, False, True, False]
    assert got.labels.tolist() == [0, 0, 1, 0, 1, 0]


def test_thresholds_follow_the_largest_probability_and_warm_up_is_cross_entropy() -> None:
    values = {"warmup_epochs": 2, "momentum": 0.8}
    method, twin = (started(DISC, make_task(samples=48), **values) for _ in range(2))
    task, net = twin.task, twin.network.train()
    tau = np.zeros((2, 48))
    for epoch in range(2):
        report = method.train_epoch(epoch)
        assert report.selected is None and report.corrected is None
        for batch in task.train.batches(16, task.rng("train", epoch), views=2):
            p = net(torch.cat(batch.views)).softmax(1)
            for view in range(2):
                largest = p[16 * view : 16 * (view + 1)].detach().numpy().max(1)
                tau[view, batch.indices] = 0.8 * tau[view, batch.indices] + 0.2 * largest
            twin.optimiser.step(-p[range(32), batch.labels.repeat(2)].log().mean())
        np.testing.assert_allclose(method.thresholds.numpy(), tau, rtol=1e-4)
    same_weights(method.network, net)


def test_a_disc_epoch_is_the_one_done_by_hand() -> None:
    values = {"warmup_epochs": 0, "momentum": 0.2, "margin": 0.02, "alpha": 5.0, "q": 0.5}
    method, twin = (started(DISC, make_task(samples=64, rate=0.4), **values) for _ in range(2))
    task, net = twin.task, twin.network
    groups = np.zeros(4, dtype=int)
    for epoch in range(3):
        report = method.train_epoch(epoch)
        net.train()
        order_rng, share_rng = task.rng("mix-up", epoch), task.numpy_rng("mix-up", epoch)
        for batch in task.train.batches(16, task.rng("train", epoch), views=2):
            z = net(torch.cat(batch.views))
            p = z.softmax(1)
            w, s = p[:16].detach(), p[16:].detach()
            labels, group = batch.labels.tolist(), []
            for b, i in enumerate(batch.indices.tolist()):
                thresholds = []
                for view, row in enumerate((w[b], s[b])):
                    twin.thresholds[view, i] = 0.2 * twin.thresholds[view, i] + 0.8 * row.max()
                    thresholds.append(float(twin.thresholds[view, i]))
                y = labels[b]
                sure = int(w[b, y] > thresholds[0]) + int(s[b, y] > thresholds[1])
                mean = (w[b] + s[b]) / 2
                if sure == 0 and float(mean.max()) > min(sum(thresholds) / 2 + 0.02, 0.99):
                    labels[b] = int(mean.argmax())
                    group.append(3)
                else:
                    group.append(sure)
                assert report.selected[0, i] == (group[b] == 2)
                assert report.corrected[i] == labels[b]
            groups += np.bincount(group, minlength=4)
            own = p[range(32), torch.tensor(labels * 2)]
            clean = torch.tensor([g == 2 for g in group] * 2)
            hard = torch.tensor([g == 1 for g in group] * 2)
            loss = torch.zeros(())
            loss = loss - own[clean].log().sum() / 32
            loss = loss + ((1 - own[hard] ** 0.5) / 0.5).sum() / 32
            used = [b for b in range(16) if group[b] != 0]
            share = share_rng.beta(5.0, 5.0)
            share = max(share, 1 - share)
            if used:
                images = torch.cat([view[used] for view in batch.views])
                targets = torch.eye(3)[[labels[b] for b in used] * 2]
                order = torch.randperm(len(images), generator=order_rng)
                mixed = share * images + (1 - share) * images[order]
                wanted = share * targets + (1 - share) * targets[order]
                loss = loss - (wanted * net(mixed).log_softmax(1)).sum(1).mean()
            twin.optimiser.step(loss)
    assert (groups > 0).all()  # each kind has been met
    same_weights(method.network, net)


@pytest.mark.parametrize(("epochs", "momentum"), [(1, 0.0), (20, 0.9), (200, 0.99), (800, 0.99)])
def test_momentum_fits_the_budget(epochs: int, momentum: float) -> None:
    assert started(DISC, make_task(epochs=epochs)).momentum == pytest.approx(momentum)


# Agreement


def test_an_agreement_epoch_is_the_one_done_by_hand() -> None:
    method, twin = (started(Agreement, make_task(samples=48)) for _ in range(2))
    task = twin.task
    frozen = {n: v.clone() for n, v in method.networks[0].named_parameters()}
    for epoch in range(2):
        report = method.train_epoch(epoch)
        selected = np.zeros((2, 48), dtype=bool)
        for batch in task.train.batches(16, task.rng("train", epoch)):
            z = [net.train()(batch.images) for net in twin.networks]
            chosen = [torch.arange(16)]
            for m in range(2):
                agrees = z[m].detach().argmax(1) == batch.labels
                selected[m, batch.indices] = agrees
                chosen.append(torch.nonzero(agrees).squeeze(1))
            for m in range(3):
                p = z[m].softmax(1)[chosen[m], batch.labels[chosen[m]]]
                twin.optimisers[m].step(-p.log().sum() / max(len(p), 1))
        np.testing.assert_array_equal(report.selected, selected)
    for one, other in zip(method.networks, twin.networks, strict=True):
        same_weights(one, other)
    moved = {n for n, v in method.networks[0].named_parameters() if not torch.equal(v, frozen[n])}
    assert moved == {"8.weight", "8.bias"}  # the head of the tiny network


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (JoCoR, {"agreement": 0.5}),
        (ConfidentLearning, {"folds": 4, "fold_epochs": 5}),
        (DISC, {"warmup_epochs": 5}),
        (Agreement, {}),
    ],
)
def test_they_select_right_labels_and_learn_true_classes(cls: Any, values: dict[str, Any]) -> None:
    task = make_task(samples=300, rate=0.3, epochs=10)
    method = started(cls, task, **values)
    reports = [method.train_epoch(epoch) for epoch in range(10)]
    clean = clean_labels(task)
    right = clean == task.train.labels.numpy()
    assert right[reports[-1].selected[-1]].mean() > right.mean() + 0.15
    p = predict(method, task.train.images).argmax(1).numpy()  # type: ignore[attr-defined]
    assert (p == clean).mean() > 0.9
