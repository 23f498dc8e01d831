"""Co-teaching against loops written out and against an epoch done by hand."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_task import assert_same, frozen_state, make_task, predict, questions, restore, started
from torch import Tensor

from medbench_plugins.methods.co_teaching import CoTeaching
from medbench_plugins.methods.ramps import power_ramp, rampup_length, warmup_length
from medbench_plugins.methods.selection import exchange, kept_count, small_loss


def loss_of(logits: Tensor, label: int) -> float:
    row = [float(v) for v in logits]
    top = max(row)
    return math.log(sum(math.exp(v - top) for v in row)) + top - row[label]


def random_batch(B: int, K: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn((B, K), generator=g, dtype=torch.float32),
        torch.randn((B, K), generator=g, dtype=torch.float32),
        torch.randint(K, (B,), generator=g),
    )


def test_upstream_fault_a_kept_sample_lost_to_floating_point() -> None:
    # (1 - 0.8) * 10 is 1.9999999999999996 in floating point.
    for hundredths in range(101):
        for B in range(1, 257):
            exact = int((1 - Fraction(hundredths, 100)) * B)
            assert kept_count(hundredths / 100, B) == max(1, exact)


@pytest.mark.parametrize(
    ("epoch", "T_k", "c", "expected"),
    [
        (0, 10, 1, 0),
        (3, 10, 1, 0.3),
        (2, 10, 2, 0.4),
        (4, 10, 2, 1),
        (4, 16, 0.5, 0.125),
        (16, 10, 0.5, 0.4),
        (99, 10, 0.5, 0.99498743710662),
        (100, 10, 0.5, 1),
        (10, 10, 1, 1),
        (99, 10, 2, 1),
        (0, 0, 1, 1),
        (0, 1, 1, 0),
        (1, 1, 1, 1),
    ],
)
def test_schedule_by_hand(epoch: int, T_k: int, c: float, expected: float) -> None:
    """min(t^c / T_k, 1), as in section 4 of the paper: c = 2 is early, c = .5 late."""
    assert power_ramp(epoch, T_k, c) == pytest.approx(expected, abs=1e-14)


def test_warmup_fits_short_budgets_and_obeys_the_setting() -> None:
    lengths = [warmup_length(None, epochs) for epochs in (1, 2, 3, 8, 19, 20, 300)]
    assert lengths == [1, 1, 1, 4, 9, 10, 10]
    assert warmup_length(7, 8) == 7


def test_the_ramp_of_dividemix_fits_short_budgets_as_its_warm_up_does() -> None:
    lengths = [rampup_length(None, epochs) for epochs in (1, 2, 3, 8, 31, 32, 300)]
    assert lengths == [1, 1, 1, 4, 15, 16, 16]
    assert rampup_length(0.5, 8) == 0.5


@given(
    losses=st.lists(st.integers(0, 5).map(float), min_size=1, max_size=20),
    keep=st.integers(1, 20),
)
def test_small_loss_against_a_loop(losses: list[float], keep: int) -> None:
    left = list(range(len(losses)))
    expected = []
    for _ in range(min(keep, len(losses))):
        best = min(left, key=lambda i: (losses[i], i))
        left.remove(best)
        expected.append(best)
    assert small_loss(torch.tensor(losses), keep).tolist() == expected


def test_a_loss_that_is_no_number_is_kept_last() -> None:
    losses = torch.tensor([math.nan, 3.0, math.inf, 1.0])
    assert small_loss(losses, 2).tolist() == [3, 1]


@given(B=st.integers(1, 12), K=st.integers(2, 5), rate=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_exchange_against_loops(B: int, K: int, rate: float, seed: int) -> None:
    z1, z2, y = random_batch(B, K, seed)
    l1 = [loss_of(z1[i], int(y[i])) for i in range(B)]
    l2 = [loss_of(z2[i], int(y[i])) for i in range(B)]
    k = kept_count(rate, B)
    d1 = sorted(range(B), key=lambda i: l1[i])[:k]
    d2 = sorted(range(B), key=lambda i: l2[i])[:k]
    loss_1, loss_2, kept_1, kept_2 = exchange(z1, z2, y, rate)
    assert set(kept_1.tolist()) == set(d1) and set(kept_2.tolist()) == set(d2)
    assert float(loss_1) == pytest.approx(sum(l1[i] for i in d2) / k, rel=1e-5, abs=1e-6)
    assert float(loss_2) == pytest.approx(sum(l2[i] for i in d1) / k, rel=1e-5, abs=1e-6)


def certain(rows: list[int], label: int, K: int = 3) -> Tensor:
    """Logits sure of ``label`` in ``rows`` and sure of another class elsewhere."""
    logits = torch.zeros((4, K))
    for i in range(4):
        logits[i, label if i in rows else (label + 1) % K] = 3.0 + 0.1 * i
    return logits.requires_grad_()


def test_a_network_learns_what_its_peer_kept() -> None:
    y = torch.zeros(4, dtype=torch.int64)
    z1, z2 = certain([0, 1], 0), certain([2, 3], 0)
    loss_1, loss_2, kept_1, kept_2 = exchange(z1, z2, y, 0.5)
    assert set(kept_1.tolist()) == {0, 1} and set(kept_2.tolist()) == {2, 3}
    (loss_1 + loss_2).backward()
    assert z1.grad is not None and z2.grad is not None
    # Network 1 gets gradients from network 2's choice alone, and the reverse.
    assert z1.grad.abs().sum(dim=1).bool().tolist() == [False, False, True, True]
    assert z2.grad.abs().sum(dim=1).bool().tolist() == [True, True, False, False]


def test_upstream_fault_mean_loss_divided_again_by_the_number_kept() -> None:
    y = torch.zeros(4, dtype=torch.int64)
    z1, z2 = certain([0, 1], 0), certain([2, 3], 0)
    exchange(z1, z2, y, 0.5)[0].backward()
    assert z1.grad is not None
    p = z1.detach()[2:].double().softmax(dim=1)
    gradient_of_the_mean = (p - torch.tensor([1.0, 0.0, 0.0])) / 2
    torch.testing.assert_close(z1.grad[2:].double(), gradient_of_the_mean, rtol=1e-5, atol=1e-7)


@given(order=st.permutations(range(9)), seed=st.integers(0, 2**31))
def test_exchange_does_not_depend_on_the_order_of_the_batch(order: list[int], seed: int) -> None:
    z1, z2, y = random_batch(9, 4, seed)
    a = exchange(z1, z2, y, 0.4)
    b = exchange(z1[order], z2[order], y[order], 0.4)
    torch.testing.assert_close(a[0], b[0])
    torch.testing.assert_close(a[1], b[1])
    assert {order[i] for i in b[2].tolist()} == set(a[2].tolist())
    assert {order[i] for i in b[3].tolist()} == set(a[3].tolist())


@given(seed=st.integers(0, 2**31))
def test_a_batch_given_twice_has_the_same_loss(seed: int) -> None:
    z1, z2, y = random_batch(8, 3, seed)
    once = exchange(z1, z2, y, 0.25)
    twice = exchange(z1.repeat(2, 1), z2.repeat(2, 1), y.repeat(2), 0.25)
    torch.testing.assert_close(once[0], twice[0])
    torch.testing.assert_close(once[1], twice[1])


def epoch_by_hand(method: CoTeaching, epoch: int, rate: float) -> np.ndarray:
    """One epoch in plain torch; returns what each network kept."""
    task = method.task
    nets = [method.network_1, method.network_2]
    optimisers = [method.optimiser_1, method.optimiser_2]
    kept = np.zeros((2, len(task.train)), dtype=bool)
    for net, optimiser in zip(nets, optimisers, strict=True):
        net.train()
        optimiser.start_epoch(epoch)
    for batch in task.train.batches(task.batch_size, task.rng("train", epoch)):
        losses = [-net(batch.images).log_softmax(1)[range(len(batch.labels)), batch.labels]
                  for net in nets]  # fmt: skip
        keep = max(1, math.floor((1 - rate) * len(batch.labels) + 1e-9))
        chosen = [np.argsort(loss.detach().numpy(), kind="stable")[:keep] for loss in losses]
        for m in (0, 1):
            kept[m, batch.indices.numpy()[chosen[m]]] = True
            optimisers[m].step(losses[m][torch.from_numpy(chosen[1 - m])].sum() / keep)
    return kept


def test_an_epoch_is_the_one_done_by_hand() -> None:
    settings = {"forget_rate": 0.4, "warmup_epochs": 2}
    method = started(CoTeaching, make_task(), **settings)
    twin = started(CoTeaching, make_task(), **settings)
    for epoch, rate in enumerate([0.0, 0.2, 0.4, 0.4]):
        report = method.train_epoch(epoch)
        kept = epoch_by_hand(twin, epoch, rate)
        np.testing.assert_array_equal(report.selected, kept)
        for a, b in zip(
            [*method.network_1.parameters(), *method.network_2.parameters()],
            [*twin.network_1.parameters(), *twin.network_2.parameters()],
            strict=True,
        ):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_forget_rate_of_none_asks_for_the_noise_rate_once() -> None:
    task = make_task(rate=0.3)
    method = started(CoTeaching, task)
    assert questions(task) == {}
    method.train_epoch(0)
    state = frozen_state(method)
    again = started(CoTeaching, task)
    restore(again, state)
    again.train_epoch(1)
    assert questions(task) == {"noise_rate": 1}
    assert again.forget_rate == 0.3


def test_a_given_forget_rate_asks_nothing() -> None:
    task = make_task()
    started(CoTeaching, task, forget_rate=0.2).train_epoch(0)
    assert questions(task) == {}


def test_report_marks_what_was_kept() -> None:
    task = make_task(samples=96, batch_size=16, epochs=4)
    method = started(CoTeaching, task, forget_rate=0.5, warmup_epochs=2)
    shares = [method.train_epoch(epoch).selected.mean(axis=1).tolist() for epoch in range(4)]
    assert shares == [[1, 1], [0.75, 0.75], [0.5, 0.5], [0.5, 0.5]]


def test_forgetting_everything_keeps_one_sample_a_batch() -> None:
    task = make_task(samples=48, batch_size=16, rate=1.0)
    method = started(CoTeaching, task, warmup_epochs=0)
    report = method.train_epoch(0)
    assert report.selected.sum(axis=1).tolist() == [3, 3]
    assert math.isfinite(report.loss)
    assert all(torch.isfinite(p).all() for p in method.network_1.parameters())


@pytest.mark.parametrize("samples", [17, 33])
def test_a_last_batch_of_one_trains(samples: int) -> None:
    report = started(CoTeaching, make_task(samples=samples, batch_size=16)).train_epoch(0)
    assert math.isfinite(report.loss) and report.selected.all()


def test_prediction_of_one_network_or_the_mean_of_both() -> None:
    task = make_task()
    images = task.train.images  # type: ignore[attr-defined]
    first, mean = (started(CoTeaching, task, predict_with=how) for how in ("first", "mean"))
    p1 = first.network_1.eval()(images).softmax(1)
    p2 = first.network_2.eval()(images).softmax(1)
    assert not torch.allclose(p1, p2)
    torch.testing.assert_close(predict(first, images), p1)
    torch.testing.assert_close(predict(mean, images), (p1 + p2) / 2)


def test_predicting_with_both_networks_in_between_changes_nothing() -> None:
    """Prediction leaves networks in eval mode; training has to take both out of it."""
    methods = [started(CoTeaching, make_task(), predict_with="mean") for _ in range(2)]
    for epoch in range(3):
        predict(methods[0], methods[0].task.train.images)
        assert_same(methods[0].train_epoch(epoch), methods[1].train_epoch(epoch))
    assert_same(frozen_state(methods[0]), frozen_state(methods[1]))


def test_taken_up_again_it_goes_on_bit_for_bit() -> None:
    settings: dict[str, Any] = {"warmup_epochs": 3}
    method = started(CoTeaching, make_task(), **settings)
    method.train_epoch(0)
    method.train_epoch(1)
    state = frozen_state(method)
    fresh = started(CoTeaching, make_task(), **settings)
    restore(fresh, state)
    assert_same(method.train_epoch(2), fresh.train_epoch(2))
    assert_same(frozen_state(method), frozen_state(fresh))
