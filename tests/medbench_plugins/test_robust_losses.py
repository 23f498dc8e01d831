"""Methods that change the loss, against loops in float64, gradients by hand and limits."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_task import (
    TinyHarness,
    TinyOracle,
    assert_same,
    clean_labels,
    frozen_state,
    make_task,
    predict,
    questions,
    restore,
    started,
)
from torch import Tensor
from torch.nn import functional as F

from medbench.errors import MedbenchError
from medbench.interfaces.method import Batch
from medbench_plugins.methods.cross_entropy import CrossEntropy
from medbench_plugins.methods.elr import ELR
from medbench_plugins.methods.forward import Forward, anchor_matrix
from medbench_plugins.methods.gce import GCE
from medbench_plugins.methods.loss_settings import SCESettings
from medbench_plugins.methods.losses import (
    forward_cross_entropy,
    generalised_cross_entropy,
    masked_mean,
    normalised_cross_entropy,
    reverse_cross_entropy,
)
from medbench_plugins.methods.sce import SCE
from medbench_plugins.methods.volminnet import Transition, VolMinNet

SEEDS = st.integers(0, 2**31)
SIZES = {"B": st.integers(1, 9), "K": st.integers(2, 6), "seed": SEEDS}


def drawn(B: int, K: int, seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return 3 * torch.randn((B, K), generator=g, dtype=torch.float64), torch.randint(
        K, (B,), generator=g
    )


def probabilities(z: Tensor) -> list[list[float]]:
    rows = []
    for row in z.tolist():
        e = [math.exp(v - max(row)) for v in row]
        rows.append([v / math.fsum(e) for v in e])
    return rows


def close(values: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(values, torch.tensor(expected, dtype=values.dtype))


@given(**SIZES, q=st.floats(0.05, 1))
@settings(deadline=None)
def test_losses_against_loops(B: int, K: int, seed: int, q: float) -> None:
    z, y = drawn(B, K, seed)
    g = np.random.default_rng(seed)
    T = g.dirichlet(np.ones(K), size=K)
    p = probabilities(z)
    gce, rce, nce, corrected = [], [], [], []
    for row, label in zip(p, y.tolist(), strict=True):
        gce.append((1 - row[label] ** q) / q)
        one_hot = [0.0 if k == label else -4.0 for k in range(K)]  # log 1, log 0
        rce.append(-math.fsum(a * b for a, b in zip(row, one_hot, strict=True)))
        nce.append(math.log(row[label]) / math.fsum(math.log(v) for v in row))
        corrected.append(-math.log(math.fsum(row[i] * T[i, label] for i in range(K))))
    close(generalised_cross_entropy(z, y, q), gce)
    close(reverse_cross_entropy(z, y, -4.0), rce)
    close(normalised_cross_entropy(z, y), nce)
    close(forward_cross_entropy(z, y, torch.from_numpy(T)), corrected)


@given(**SIZES)
@settings(deadline=None)
def test_limits_of_gce_and_forward_are_cross_entropy(B: int, K: int, seed: int) -> None:
    z, y = drawn(B, K, seed)
    ce = F.cross_entropy(z, y, reduction="none")
    torch.testing.assert_close(generalised_cross_entropy(z, y, 1e-9), ce, rtol=1e-6, atol=1e-8)
    eye = torch.eye(K, dtype=torch.float64)
    # entries below 1e-8 count as 1e-8, which caps the loss
    torch.testing.assert_close(
        forward_cross_entropy(z, y, eye)[ce < 9], ce[ce < 9], rtol=1e-3, atol=1e-6
    )


def test_gces_gradient_is_cross_entropys_times_p_to_the_q() -> None:
    z, y = drawn(5, 4, 0)
    z.requires_grad_()
    (gce,) = torch.autograd.grad(generalised_cross_entropy(z, y, 0.7).sum(), z)
    (ce,) = torch.autograd.grad(F.cross_entropy(z, y, reduction="sum"), z)
    p = z.detach().softmax(1)[range(5), y]
    torch.testing.assert_close(gce, ce * p[:, None] ** 0.7)


def test_sums_over_labels_of_symmetric_losses_are_constant() -> None:
    """What makes a loss robust to symmetric noise (Ghosh et al. 2017): sum_k l(z, k) = C."""
    z, _ = drawn(6, 5, 1)
    labels = [torch.full((6,), k) for k in range(5)]
    rce = sum(reverse_cross_entropy(z, y, -4.0) for y in labels)
    nce = sum(normalised_cross_entropy(z, y) for y in labels)
    absolute = sum(generalised_cross_entropy(z, y, 1.0) for y in labels)
    close(rce, [4.0 * 4] * 6)
    close(nce, [1.0] * 6)
    close(absolute, [4.0] * 6)


def test_extreme_logits_have_finite_losses_and_gradients() -> None:
    z = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    y = torch.zeros(2, dtype=torch.int64)
    for losses in (
        generalised_cross_entropy(z, y, 0.7),
        reverse_cross_entropy(z, y, -4.0),
        normalised_cross_entropy(z, y),
        forward_cross_entropy(z, y, torch.eye(2)),
    ):
        (gradient,) = torch.autograd.grad(losses.sum(), z)
        assert torch.isfinite(losses).all() and torch.isfinite(gradient).all()


def test_masked_mean() -> None:
    losses = torch.tensor([1.0, 2.0, 6.0])
    assert float(masked_mean(losses, torch.tensor([True, False, True]))) == 3.5
    assert float(masked_mean(losses, torch.zeros(3, dtype=torch.bool))) == 0.0


# GCE


def test_a_pruned_sample_has_no_gradient() -> None:
    method = started(GCE, make_task(samples=6), truncate=0.5)
    method.kept[[1, 4]] = False
    z = torch.randn((6, 3), requires_grad=True)
    y = method.task.train.labels
    loss = method.loss(z, Batch((torch.zeros(6, 1, 8, 8),), y, torch.arange(6)))
    loss.backward()
    assert z.grad is not None
    kept = [True, False, True, True, False, True]
    assert z.grad.abs().sum(1).bool().tolist() == kept
    p = z.detach().double().softmax(1)[range(6), y]
    expected = sum((1 - float(v) ** 0.7) / 0.7 for v, k in zip(p, kept, strict=True) if k) / 6
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_pruning_is_due_at_its_epochs_and_by_the_network_as_it_is() -> None:
    task = make_task(samples=60, rate=0.3, epochs=10)
    method = started(GCE, task, truncate=0.4, prune_start=4, prune_every=3)
    for epoch in range(10):
        network = method.network.eval()
        p = network(task.train.images).detach().softmax(1)  # type: ignore[attr-defined]
        before = method.kept.clone()
        kept = method.train_epoch(epoch).selected[0]
        if epoch in (4, 7):
            expected = p[range(60), task.train.labels].numpy() > 0.4
            np.testing.assert_array_equal(kept, expected)
            assert 0 < kept.sum() < 60
        else:
            np.testing.assert_array_equal(kept, before.numpy())
        assert kept.all() or epoch >= 4


def test_a_pruning_of_everything_prunes_nothing() -> None:
    method = started(GCE, make_task(), truncate=0.999, prune_start=0)
    assert method.train_epoch(0).selected.all()


# SCE


@pytest.mark.parametrize("preset", ["paper", "nce-rce", "many-classes"])
def test_sce_is_the_weighted_sum(preset: str) -> None:
    values = SCESettings.presets[preset]
    method = started(SCE, make_task(), **values)
    z, y = drawn(7, 3, 2)
    total = 0.0
    for row, label in zip(probabilities(z), y.tolist(), strict=True):
        active = math.log(row[label])
        active = active / sum(map(math.log, row)) if "nce" in preset else -active
        total += values["alpha"] * active + values["beta"] * 4 * (1 - row[label])
    loss = method.loss(z, Batch((torch.zeros(7, 1, 8, 8),), y, torch.arange(7)))
    assert loss.item() == pytest.approx(total / 7)


def test_sce_without_the_reverse_part_is_cross_entropy() -> None:
    sce, plain = started(SCE, make_task(), alpha=1.0, beta=0.0), started(CrossEntropy, make_task())
    assert sce.train_epoch(0).loss == pytest.approx(plain.train_epoch(0).loss, rel=1e-6)
    for a, b in zip(sce.network.parameters(), plain.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


# ELR


def test_elrs_targets_and_loss_by_hand() -> None:
    method = started(ELR, make_task(samples=3, num_classes=2), momentum=0.7, weight=3.0)
    index = torch.tensor([2, 0])
    y = torch.tensor([0, 1])
    batch = Batch((torch.zeros(2, 1, 8, 8),), y, index)
    targets = {0: [0.0, 0.0], 1: [0.0, 0.0], 2: [0.0, 0.0]}
    for z in (torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[50.0, 0.0], [1.0, 0.0]])):
        z = z.double().requires_grad_()
        raw = z.detach().softmax(1)
        loss, expected, gradient = method.loss(z, batch), 0.0, torch.zeros(2, 2).double()
        for b, (i, label) in enumerate(zip(index.tolist(), y.tolist(), strict=True)):
            p = [min(max(float(v), 1e-4), 1 - 1e-4) for v in raw[b]]
            targets[i] = [0.7 * t + 0.3 * v / sum(p) for t, v in zip(targets[i], p, strict=True)]
            inner = sum(t * v for t, v in zip(targets[i], p, strict=True))
            expected += (-math.log(float(raw[b, label])) + 3 * math.log(1 - inner)) / 2
            if max(p) < 1 - 1e-4:  # where nothing is clamped: t does not move with z
                for k in range(2):
                    ce = float(raw[b, k]) - (k == label)
                    pull = p[k] * (targets[i][k] - inner) / (1 - inner)
                    gradient[b, k] = (ce - 3 * pull) / 2
            else:
                gradient[b] = (
                    torch.tensor([float(raw[b, k]) - (k == label) for k in range(2)]).double() / 2
                )
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        (given_,) = torch.autograd.grad(loss, z)
        torch.testing.assert_close(given_, gradient, rtol=1e-4, atol=1e-6)
        for i, t in targets.items():
            torch.testing.assert_close(method.targets[i], torch.tensor(t))


def test_elr_without_weight_is_cross_entropy() -> None:
    elr, plain = started(ELR, make_task(), weight=0.0), started(CrossEntropy, make_task())
    assert elr.train_epoch(0).loss == pytest.approx(plain.train_epoch(0).loss, rel=1e-6)


def test_elr_finds_wrong_labels() -> None:
    task = make_task(samples=240, rate=0.3, epochs=8)
    method = started(ELR, task)
    reports = [method.train_epoch(epoch) for epoch in range(8)]
    clean, given_ = clean_labels(task), task.train.labels.numpy()
    assert (reports[-1].corrected == clean).mean() > (given_ == clean).mean() + 0.15
    w = reports[-1].clean_probability
    assert w[given_ == clean].mean() > w[given_ != clean].mean() + 0.3


# Forward correction


def test_the_corrected_loss_is_least_at_the_true_probabilities() -> None:
    """Patrini et al.'s theorem: minimising on noisy labels recovers the clean posterior."""
    T = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]], dtype=torch.float64)
    true = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    z = torch.zeros((1, 3), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([z], max_iter=200, tolerance_grad=1e-12, tolerance_change=0)
    labels = torch.arange(3)

    def expected() -> Tensor:
        optimiser.zero_grad()
        loss = (true @ T * forward_cross_entropy(z.expand(3, 3), labels, T)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(expected)  # type: ignore[arg-type]
    torch.testing.assert_close(z.detach().softmax(1)[0], true, rtol=1e-4, atol=1e-5)


def test_forward_asks_once_and_resumes_without_asking_again() -> None:
    task = make_task(rate=0.3)
    method = started(Forward, task)
    assert not questions(task)
    method.train_epoch(0)
    again = started(Forward, task)
    restore(again, frozen_state(method))
    assert_same(method.train_epoch(1), again.train_epoch(1))
    assert questions(task) == {"transition_matrix": 1}
    expected = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.7, 0.3], [0.3, 0.0, 0.7]])
    torch.testing.assert_close(again.matrix, expected)


class Matrixless(TinyOracle):
    def transition_matrix(self) -> None:
        return None


def test_forward_says_where_the_noise_has_no_matrix() -> None:
    task = make_task()
    oracle = Matrixless(0.3, True, clean_labels(task))
    method = started(Forward, replace(task, harness=TinyHarness(0, 3, 6, oracle)))
    with pytest.raises(MedbenchError, match=r"no transition matrix; .* matrix = 'estimate'"):
        method.train_epoch(0)


def test_the_estimate_is_the_row_of_an_anchor() -> None:
    T = torch.tensor([[0.7, 0.3, 0.0], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    clean = torch.arange(300) % 3
    torch.testing.assert_close(anchor_matrix(T[clean]), T)
    # 101 samples: position 97 in rising order, so that the three likeliest are left out
    p = torch.linspace(0, 1, 101)[:, None]
    matrix = anchor_matrix(torch.cat([p, 1 - p], dim=1))
    torch.testing.assert_close(matrix, torch.tensor([[0.97, 0.03], [0.03, 0.97]]))


def test_forward_estimates_after_the_warm_up_and_asks_nothing() -> None:
    task = make_task(samples=400, rate=0.3, epochs=8)
    method = started(Forward, task, matrix="estimate", warmup_epochs=4)
    plain = started(CrossEntropy, task)
    for epoch in range(4):
        assert method.train_epoch(epoch).loss == pytest.approx(plain.train_epoch(epoch).loss, 1e-4)
        assert torch.equal(method.matrix, torch.eye(3))
    method.train_epoch(4)
    truth = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.7, 0.3], [0.3, 0.0, 0.7]])
    assert float((method.matrix - truth).abs().max()) < 0.25
    assert not questions(task)


# VolMinNet


def test_the_learned_matrix_and_the_gradient_of_its_volume_by_hand() -> None:
    transition = Transition(2, -2.0)
    with torch.no_grad():
        transition.w.copy_(torch.tensor([[9.0, -1.0], [0.5, -9.0]]))  # the diagonal is unused
    T = transition()
    a, b = 1 / (1 + math.e), 1 / (1 + math.exp(-0.5))
    expected = [[1 / (1 + a), a / (1 + a)], [b / (1 + b), 1 / (1 + b)]]
    torch.testing.assert_close(T, torch.tensor(expected))
    volume = torch.linalg.slogdet(T).logabsdet
    assert volume.item() == pytest.approx(math.log((1 - a * b) / ((1 + a) * (1 + b))), rel=1e-5)
    volume.backward()  # type: ignore[no-untyped-call]
    da = a * (1 - a) * (-b / (1 - a * b) - 1 / (1 + a))
    db = b * (1 - b) * (-a / (1 - a * b) - 1 / (1 + b))
    assert transition.w.grad is not None
    torch.testing.assert_close(transition.w.grad, torch.tensor([[0.0, da], [db, 0.0]]))


@given(K=st.integers(2, 8), seed=SEEDS)
@settings(deadline=None)
def test_rows_sum_to_one_and_the_diagonal_is_largest(K: int, seed: int) -> None:
    transition = Transition(K, -2.0)
    with torch.no_grad():
        g = torch.Generator().manual_seed(seed)
        transition.w.copy_(3 * torch.randn((K, K), generator=g))
    T = transition().detach()
    torch.testing.assert_close(T.sum(1), torch.ones(K))
    assert (T.diagonal()[:, None] >= T).all() and (T > 0).all()


def test_the_loss_is_corrected_cross_entropy_and_volume() -> None:
    method = started(VolMinNet, make_task(), weight=0.5)
    z, y = drawn(8, 3, 3)
    T = method.transition().detach().double()
    batch = Batch((torch.zeros(8, 1, 8, 8),), y, torch.arange(8))
    expected = float(forward_cross_entropy(z, y, T).mean()) + 0.5 * math.log(
        abs(np.linalg.det(T.numpy()))
    )
    assert method.loss(z, batch).item() == pytest.approx(expected, rel=1e-5)


def test_volminnet_learns_a_matrix_nearer_to_the_truth() -> None:
    task = make_task(samples=400, rate=0.3, epochs=12)
    method = started(VolMinNet, task)
    truth = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.7, 0.3], [0.3, 0.0, 0.7]])

    def distance() -> float:
        return float((method.transition().detach() - truth).abs().mean())

    before = distance()
    for epoch in range(12):
        method.train_epoch(epoch)
    assert distance() < 0.6 * before


@pytest.mark.parametrize(
    ("cls", "values"),
    [(GCE, {}), (SCE, {"beta": 2.0}), (Forward, {}), (VolMinNet, {})],
)
def test_they_learn_true_classes_of_noisy_labels(cls: Any, values: dict[str, Any]) -> None:
    task = make_task(samples=300, rate=0.3, epochs=8)
    method = started(cls, task, **values)
    for epoch in range(8):
        method.train_epoch(epoch)
    p = predict(method, task.train.images).argmax(1).numpy()  # type: ignore[attr-defined]
    assert (p == clean_labels(task)).mean() > 0.9
