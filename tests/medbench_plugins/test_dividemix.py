"""DivideMix, step by step against loops in double precision, then whole epochs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from tiny_task import (
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
from torch import Tensor, nn

from medbench.errors import MedbenchError
from medbench.interfaces.method import Batch
from medbench_plugins.methods import dividemix, mixture
from medbench_plugins.methods.dividemix import DivideMix, correct
from medbench_plugins.methods.mixmatch import (
    co_guess,
    co_refine,
    mean_probability,
    mix_up,
    negative_entropy,
    prior_penalty,
    sharpen,
    soft_cross_entropy,
    squared_error,
)
from medbench_plugins.methods.mixture import clean_probability, normalise
from medbench_plugins.methods.ramps import linear_ramp

SEEDS = st.integers(0, 2**31)
SHORT: dict[str, Any] = {"warmup_epochs": 1, "rampup_epochs": 2}


def logits_of(B: int, K: int, seed: int, scale: float = 2.0) -> Tensor:
    return scale * torch.randn((B, K), generator=torch.Generator().manual_seed(seed))


def soft(row: Sequence[float]) -> list[float]:
    top = max(row)
    e = [math.exp(v - top) for v in row]
    return [v / sum(e) for v in e]


def rows(t: Tensor) -> list[list[float]]:
    return [[float(v) for v in row] for row in t]


def powered(p: Sequence[float], T: float) -> list[float]:
    q = [v ** (1 / T) for v in p]
    return [v / sum(q) for v in q]


# --- division ---------------------------------------------------------------------------------


def test_normalise_by_hand() -> None:
    np.testing.assert_allclose(normalise(np.array([2.0, 4.0, 3.0])), [0, 1, 0.5])


@given(
    values=st.lists(st.floats(0, 100, width=32), min_size=2, max_size=30, unique=True),
    scale=st.floats(0.1, 10),
    shift=st.floats(-5, 5),
)
def test_normalise_forgets_scale_and_shift(values: list[float], scale: float, shift: float) -> None:
    losses = np.array(values)
    if np.ptp(losses) < 1e-2:
        return
    np.testing.assert_allclose(normalise(losses), normalise(scale * losses + shift), atol=1e-9)


@given(order=st.permutations(range(12)), seed=SEEDS)
def test_normalise_commutes_with_reordering(order: list[int], seed: int) -> None:
    losses = np.random.default_rng(seed).random(12)
    np.testing.assert_array_equal(normalise(losses)[order], normalise(losses[order]))


@pytest.mark.parametrize("value", [0.0, 1.0986123, 37.5])
def test_upstream_fault_0_over_0_on_constant_losses(value: float) -> None:
    losses = np.full(50, value, dtype=np.float32)
    losses[::2] = np.nextafter(losses[::2], np.float32(np.inf))  # rounding is no difference
    np.testing.assert_array_equal(normalise(losses), np.zeros(50))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(clean_probability(np.zeros(50), 0), np.full(50, 0.5))


def test_losses_that_are_no_numbers_count_as_the_largest() -> None:
    losses = np.array([1.0, np.nan, 3.0, np.inf, 2.0])
    np.testing.assert_array_equal(normalise(losses), [0, 1, 1, 1, 0.5])
    np.testing.assert_array_equal(normalise(np.full(3, np.nan)), [0, 0, 0])


def two_groups(seed: int, N: int = 400) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = rng.normal(0.1, 0.04, N * 3 // 4)
    high = rng.normal(0.7, 0.1, N - len(low))
    return normalise(rng.permutation(np.concatenate([low, high])))


def test_posterior_is_that_of_the_lower_mean_component_whichever_comes_first() -> None:
    losses = two_groups(0)
    lower_first = set()
    for seed in range(12):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=seed).fit(
                losses[:, None]
            )
        low = int(np.argmin(fit.means_))
        lower_first.add(low)
        # Bayes' rule written out, from the fitted weights, means and variances.
        density = [
            fit.weights_[k]
            * norm.pdf(losses, fit.means_[k, 0], math.sqrt(fit.covariances_[k, 0, 0]))
            for k in (0, 1)
        ]
        np.testing.assert_allclose(
            clean_probability(losses, seed), density[low] / (density[0] + density[1]), atol=1e-9
        )
    assert lower_first == {0, 1}  # both orders came up


def test_division_parts_two_groups() -> None:
    losses = two_groups(3)
    w = clean_probability(losses, 1)
    assert (w[losses < 0.2] > 0.9).all() and (w[losses > 0.45] < 0.1).all()


def test_ten_iterations_are_the_method_and_warn_nobody() -> None:
    rng = np.random.default_rng(0)
    slow = [  # groups that the fit has not sorted out after ten iterations
        np.concatenate(
            [rng.normal(rng.random(), rng.choice([0.001, 0.01, 0.1, 0.3]), 80) for _ in range(4)]
        )
        for _ in range(200)
    ]
    unfinished = 0
    for losses in map(normalise, slow):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
            if fit.fit(losses[:, None]).converged_:
                continue
        unfinished += 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            clean_probability(losses, 0)
    assert unfinished


@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_division_does_not_depend_on_the_order_of_the_samples(seed: int) -> None:
    losses = two_groups(seed, 120)
    order = np.random.default_rng(seed).permutation(len(losses))
    np.testing.assert_allclose(
        clean_probability(losses, 0)[order], clean_probability(losses[order], 0), atol=1e-6
    )


# --- targets ----------------------------------------------------------------------------------


@given(B=st.integers(1, 6), K=st.integers(2, 6), T=st.floats(0.2, 2), seed=SEEDS)
def test_sharpen_against_the_powers(B: int, K: int, T: float, seed: int) -> None:
    p = logits_of(B, K, seed, 1.0).double().softmax(1)
    expected = [powered(row, T) for row in rows(p)]
    np.testing.assert_allclose(sharpen(p, T), expected, atol=1e-9)


def test_sharpen_by_hand_and_at_the_edges() -> None:
    np.testing.assert_allclose(sharpen(torch.tensor([[0.8, 0.2]]), 0.5), [[16 / 17, 1 / 17]])
    sure = torch.tensor([[1.0, 0.0, 0.0]])
    assert torch.equal(sharpen(sure, 0.5), sure)
    # 23 equal classes to the power 1 / .01 vanish in float32: 0 / 0 in the plain formula.
    np.testing.assert_allclose(sharpen(torch.full((1, 23), 1 / 23), 0.01), 1 / 23, rtol=1e-4)


@given(B=st.integers(1, 5), K=st.integers(2, 5), seed=SEEDS)
def test_co_refine_against_loops(B: int, K: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, w = rng.integers(K, size=B), rng.random(B)
    guess = logits_of(B, K, seed).double().softmax(1)
    expected = []
    for i in range(B):
        mixed = [w[i] * (labels[i] == c) + (1 - w[i]) * float(guess[i, c]) for c in range(K)]
        expected.append(powered(mixed, 0.5))
    got = co_refine(torch.from_numpy(labels), torch.from_numpy(w), guess, 0.5)
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_co_refine_believes_a_sure_label_and_ignores_a_hopeless_one() -> None:
    guess = torch.tensor([[0.1, 0.9], [0.1, 0.9]])
    got = co_refine(torch.tensor([0, 0]), torch.tensor([1.0, 0.0]), guess, 1.0)
    torch.testing.assert_close(got, torch.tensor([[1.0, 0.0], [0.1, 0.9]]))


@given(B=st.integers(1, 5), K=st.integers(2, 5), seed=SEEDS)
def test_co_guess_against_loops(B: int, K: int, seed: int) -> None:
    outputs = [logits_of(B, K, seed + m) for m in range(4)]
    expected = []
    for i in range(B):
        p = [soft([float(v) for v in z[i]]) for z in outputs]
        expected.append(powered([sum(q[c] for q in p) / 4 for c in range(K)], 0.5))
    np.testing.assert_allclose(co_guess(outputs, 0.5), expected, atol=1e-5)
    np.testing.assert_allclose(mean_probability(outputs).sum(1), 1, atol=1e-6)


@given(share=st.floats(0.5, 1), order=st.permutations(range(5)), seed=SEEDS)
def test_mix_up_against_a_loop(share: float, order: list[int], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    x, q = torch.rand((5, 1, 2, 3), generator=g), torch.rand((5, 4), generator=g)
    mixed_x, mixed_q = mix_up(x, q, torch.tensor(order), share)
    for i in range(5):
        for got, all_ in ((mixed_x[i], x), (mixed_q[i], q)):
            expected = share * all_[i].double() + (1 - share) * all_[order[i]].double()
            np.testing.assert_allclose(got.double(), expected, atol=1e-6)


# --- losses -----------------------------------------------------------------------------------


@given(B=st.integers(1, 6), K=st.integers(2, 6), seed=SEEDS)
def test_losses_against_loops(B: int, K: int, seed: int) -> None:
    z, q = logits_of(B, K, seed).double(), logits_of(B, K, seed + 1).double().softmax(1)
    p = [soft(row) for row in rows(z)]
    lx = -sum(float(q[i, c]) * math.log(p[i][c]) for i in range(B) for c in range(K)) / B
    lu = sum((p[i][c] - float(q[i, c])) ** 2 for i in range(B) for c in range(K)) / (B * K)
    mean = [sum(p[i][c] for i in range(B)) / B for c in range(K)]
    shares = soft(rows(logits_of(1, K, seed + 2))[0])
    prior = sum(share * math.log(share / mean[c]) for c, share in enumerate(shares))
    entropy = sum(v * math.log(v) for row in p for v in row) / B
    assert float(soft_cross_entropy(z, q)) == pytest.approx(lx, abs=1e-9)
    assert float(squared_error(z, q)) == pytest.approx(lu, abs=1e-9)
    assert float(prior_penalty(z, torch.tensor(shares).double())) == pytest.approx(prior, abs=1e-6)
    assert float(negative_entropy(z)) == pytest.approx(entropy, abs=1e-9)


@given(order=st.permutations(range(6)), seed=SEEDS)
def test_losses_do_not_depend_on_the_order_nor_on_doubling(order: list[int], seed: int) -> None:
    z, q = logits_of(6, 4, seed).double(), logits_of(6, 4, seed + 1).double().softmax(1)
    for change in (lambda t: t[order], lambda t: t.repeat(2, 1)):
        for loss in (soft_cross_entropy, squared_error):
            torch.testing.assert_close(loss(change(z), change(q)), loss(z, q))
        prior = z.new_tensor([0.1, 0.2, 0.3, 0.4])
        torch.testing.assert_close(prior_penalty(change(z), prior), prior_penalty(z, prior))
        torch.testing.assert_close(negative_entropy(change(z)), negative_entropy(z))


def test_upstream_fault_log_0_in_the_penalties() -> None:
    z = torch.tensor([[500.0, -500.0, 0.0]] * 4, requires_grad=True)
    assert float(negative_entropy(z).detach()) == 0.0
    penalty = prior_penalty(z, torch.full((3,), 1 / 3))
    penalty.backward()
    assert math.isfinite(float(penalty.detach()))
    assert z.grad is not None and torch.isfinite(z.grad).all() and z.grad.abs().sum() > 0


def test_penalties_by_hand() -> None:
    even = torch.zeros((3, 4))
    assert float(prior_penalty(even, torch.full((4,), 0.25))) == pytest.approx(0, abs=1e-6)
    assert float(negative_entropy(even)) == pytest.approx(-math.log(4))
    # All in one class: the penalty pushes; each class once, surely: it does not.
    third = torch.full((3,), 1 / 3)
    assert float(prior_penalty(10 * torch.eye(3), third)) == pytest.approx(0, abs=1e-6)
    assert float(prior_penalty(torch.tensor([[10.0, 0, 0]] * 3), third)) > 1
    # A set of one class: what the uniform prior punishes is right, and absent classes cost nothing.
    single = torch.tensor([1.0, 0, 0])
    assert float(prior_penalty(torch.tensor([[100.0, 0, 0]] * 3), single)) == pytest.approx(0)


def test_the_prior_is_uniform_or_that_of_the_noisy_labels() -> None:
    task = make_task(samples=61, num_classes=3, epochs=12)
    labels = task.train.labels.tolist()
    shares = [labels.count(c) / 61 for c in range(3)]
    assert len(set(shares)) > 1
    assert started(DivideMix, task).prior.tolist() == pytest.approx([1 / 3] * 3)
    method = started(DivideMix, task, **DivideMix.Settings.presets["imbalanced"])
    assert method.prior.tolist() == pytest.approx(shares)


def test_a_penalty_of_no_weight_changes_nothing_by_its_prior() -> None:
    both = [
        started(DivideMix, make_task(), **SHORT, lambda_prior=0, prior=prior)
        for prior in ("uniform", "labels")
    ]
    for epoch in range(3):
        one, other = (method.train_epoch(epoch) for method in both)
        assert one.loss == other.loss


@pytest.mark.parametrize(
    ("position", "expected"),
    [(0, 0), (10, 0), (14, 0.25), (10.5, 1 / 32), (26, 1), (300, 1)],
)
def test_ramp_by_hand(position: float, expected: float) -> None:
    assert linear_ramp(position, 10, 16) == pytest.approx(expected)


def test_ramp_of_no_length_is_a_step() -> None:
    assert [linear_ramp(t, 3, 0) for t in (2.9, 3, 4)] == [0, 1, 1]


# --- whole epochs -----------------------------------------------------------------------------


def losses_of(network: nn.Module, images: TinyImages) -> np.ndarray:
    """Losses on the images as they are, in eval mode."""
    network.eval()
    with torch.no_grad():
        p = network(images.images).double().softmax(1)
    return -np.log(p.numpy()[np.arange(len(images)), images.labels.numpy()])


def warm_up_by_hand(
    method: DivideMix, net: nn.Module, optimiser: Any, m: int, epoch: int, asymmetric: bool
) -> None:
    task = method.task
    net.train()
    rng = task.rng(f"warm-up-{m}", epoch)
    for batch in task.train.batches(2 * task.batch_size, rng):
        p = net(batch.images).softmax(1)
        loss = -p[range(len(p)), batch.labels].log().mean()
        if asymmetric:
            loss = loss + (p * p.log()).sum(1).mean()
        optimiser.step(loss)


def train_by_hand(
    method: DivideMix, net: nn.Module, peer: nn.Module, optimiser: Any, w: np.ndarray,
    m: int, epoch: int,
) -> None:  # fmt: skip
    """Algorithm 1 of the paper with the reference's details, in its plain formulas."""
    task, s = method.task, method.settings
    net.train()
    peer.eval()
    labelled = torch.tensor([i for i in range(len(w)) if w[i] > s.p_threshold])
    unlabelled = torch.tensor([i for i in range(len(w)) if not w[i] > s.p_threshold])
    rng_u = task.rng(f"unlabelled-{m}", epoch)
    rng_x = task.rng(f"labelled-{m}", epoch)
    order_rng, beta_rng = task.rng(f"mix-up-{m}", epoch), task.numpy_rng(f"mix-up-{m}", epoch)
    B = task.batch_size
    iterator: Iterator[Batch] = iter(())
    steps = len(labelled) // B + 1
    for step, x in enumerate(task.train.batches(B, rng_x, indices=labelled, views=2)):
        try:
            u = next(iterator)
        except StopIteration:
            iterator = task.train.batches(B, rng_u, indices=unlabelled, views=2)
            u = next(iterator)
        with torch.no_grad():
            u11, u12 = net(u.views[0]).softmax(1), net(u.views[1]).softmax(1)
            u21, u22 = peer(u.views[0]).softmax(1), peer(u.views[1]).softmax(1)
            qu = ((u11 + u12 + u21 + u22) / 4) ** (1 / s.temperature)
            qu = qu / qu.sum(1, keepdim=True)
            p = (net(x.views[0]).softmax(1) + net(x.views[1]).softmax(1)) / 2
            qx = torch.zeros_like(p)
            for i, (index, label) in enumerate(zip(x.indices, x.labels, strict=True)):
                clean = float(w[index])
                qx[i] = (1 - clean) * p[i]
                qx[i, label] += clean
            qx = qx ** (1 / s.temperature)
            qx = qx / qx.sum(1, keepdim=True)
        share = beta_rng.beta(s.alpha, s.alpha)
        share = max(share, 1 - share)
        images = torch.cat([x.views[0], x.views[1], u.views[0], u.views[1]])
        targets = torch.cat([qx, qx, qu, qu])
        order = torch.randperm(len(images), generator=order_rng)
        images = share * images + (1 - share) * images[order]
        targets = share * targets + (1 - share) * targets[order]
        p = net(images).softmax(1)
        n = 2 * len(x.labels)
        lx = -(targets[:n] * p[:n].log()).sum(1).mean()
        lu = ((p[n:] - targets[n:]) ** 2).mean()
        reg = (torch.log(1 / p.shape[1] / p.mean(0)) / p.shape[1]).sum()
        start = method.warmup_epochs
        ramp = min(max((epoch + step / steps - start) / s.rampup_epochs, 0), 1)
        optimiser.step(lx + s.lambda_u * ramp * lu + reg)


def same_networks(a: DivideMix, b: DivideMix) -> None:
    """Parameters and batch statistics, so that the forward passes were the same ones too."""
    for name in ("network_1", "network_2"):
        first, second = getattr(a, name).state_dict(), getattr(b, name).state_dict()
        for key in first:
            torch.testing.assert_close(first[key], second[key], rtol=2e-3, atol=2e-5, msg=key)


def test_epochs_are_those_done_by_hand() -> None:
    method = started(DivideMix, make_task(samples=70), **SHORT)
    twin = started(DivideMix, make_task(samples=70), **SHORT)
    nets, optimisers = (twin.network_1, twin.network_2), (twin.optimiser_1, twin.optimiser_2)
    method.train_epoch(0)
    for m in (0, 1):
        warm_up_by_hand(twin, nets[m], optimisers[m], m + 1, 0, asymmetric=False)
    same_networks(method, twin)
    for epoch in (1, 2, 3):
        report = method.train_epoch(epoch)
        losses = [losses_of(net, twin.task.train) for net in nets]
        seeds = twin.task.numpy_rng("mixture", epoch).integers(2**31, size=2)
        w = [
            clean_probability(
                ((v - v.min()) / (v.max() - v.min())).astype(np.float32), int(seeds[m])
            )
            for m, v in enumerate(losses)
        ]
        assert all(2 <= (v > 0.5).sum() <= 68 for v in w)  # both kinds of sample take part
        train_by_hand(twin, nets[0], nets[1], optimisers[0], w[1], 1, epoch)
        train_by_hand(twin, nets[1], nets[0], optimisers[1], w[0], 2, epoch)
        same_networks(method, twin)
        np.testing.assert_array_equal(report.selected, [v > 0.5 for v in w])
        np.testing.assert_allclose(report.clean_probability, (w[0] + w[1]) / 2, atol=2e-3)


class Spy(TinyImages):
    """Notes which samples were asked for."""

    def batches(self, *args: Any, **kwargs: Any) -> Iterator[Batch]:
        self.asked.append(kwargs.get("indices"))
        return super().batches(*args, **kwargs)


def spied(**kwargs: Any) -> tuple[Any, list[Tensor | None]]:
    task = make_task(**kwargs)
    images = task.train
    images.__class__ = Spy
    images.asked = []  # type: ignore[attr-defined]
    return task, images.asked  # type: ignore[attr-defined]


def fix_w(monkeypatch: pytest.MonkeyPatch, w_1: np.ndarray, w_2: np.ndarray) -> None:
    turn = iter([w_1, w_2] * 10)
    monkeypatch.setattr(dividemix, "clean_probability", lambda losses, seed: next(turn))


def test_each_network_learns_on_the_division_by_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, asked = spied(samples=40, batch_size=40)
    first, last = np.arange(40) < 15, np.arange(40) >= 30
    fix_w(monkeypatch, 0.9 * first, 0.9 * last)
    report = started(DivideMix, task, warmup_epochs=0).train_epoch(0)
    sets = [set(i.tolist()) for i in asked if i is not None]
    by_2, by_1 = set(range(30, 40)), set(range(15))
    everyone = set(range(40))
    assert sets[:2] == [by_2, everyone - by_2]  # network 1 goes first, with network 2's
    assert sets[2:] == [by_1, everyone - by_1]
    np.testing.assert_array_equal(report.selected, [first, last])


def test_unlabelled_batches_are_cycled(monkeypatch: pytest.MonkeyPatch) -> None:
    task, asked = spied(samples=66, batch_size=8)
    w = np.arange(66) / 100 + 0.34  # all but 17 are believed: 49 to 17
    fix_w(monkeypatch, w, w)
    started(DivideMix, task, warmup_epochs=0).train_epoch(0)
    sizes = [len(i) for i in asked if i is not None]
    # 49 labelled samples make 6 batches, the last joined by the single one left;
    # 17 unlabelled make 2, so three rounds of them are needed.
    assert sizes == [49, 17, 17, 17] * 2


@pytest.mark.parametrize("symmetric", [True, False])
def test_confidence_penalty_in_warm_up_is_for_asymmetric_noise_only(symmetric: bool) -> None:
    task = make_task(symmetric=symmetric)
    method = started(DivideMix, task, warmup_epochs=2)
    twin = started(DivideMix, make_task(), warmup_epochs=2)
    for epoch in (0, 1):
        method.train_epoch(epoch)
        warm_up_by_hand(twin, twin.network_1, twin.optimiser_1, 1, epoch, not symmetric)
        warm_up_by_hand(twin, twin.network_2, twin.optimiser_2, 2, epoch, not symmetric)
    same_networks(method, twin)
    assert questions(task) == {"noise_is_symmetric": 1}


@pytest.mark.parametrize("asymmetric", [True, False])
def test_setting_asymmetric_asks_nothing(asymmetric: bool) -> None:
    task = make_task(symmetric=asymmetric)
    method = started(DivideMix, task, asymmetric=asymmetric, **SHORT)
    method.train_epoch(0)
    method.train_epoch(1)
    assert questions(task) == {}
    other = started(DivideMix, make_task(), asymmetric=not asymmetric, **SHORT)
    other.train_epoch(0)
    first, second = (next(m.network_1.parameters()) for m in (method, other))
    assert not torch.equal(first, second)


def test_loss_history_averages_the_last_normalised_losses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[np.ndarray] = []

    def note(losses: np.ndarray, seed: int) -> np.ndarray:
        seen.append(losses)
        return clean_probability(losses, seed)

    monkeypatch.setattr(dividemix, "clean_probability", note)
    method = started(DivideMix, make_task(epochs=9), loss_history=2, **SHORT)
    newest = []
    for epoch in range(5):
        if epoch:
            newest.append(
                [
                    normalise(losses_of(net, method.task.train))
                    for net in (method.network_1, method.network_2)
                ]
            )
        method.train_epoch(epoch)
    for division in range(4):
        expected = np.mean(newest[max(0, division - 1) : division + 1], axis=0)
        np.testing.assert_allclose(seen[2 * division : 2 * division + 2], expected, atol=1e-5)


def test_correction_by_hand() -> None:
    guess = np.array([[0.2, 0.8], [0.2, 0.8], [0.9, 0.1], [0.4, 0.6]], dtype=np.float32)
    labels = np.array([0, 0, 1, 0])
    w = np.array([0.9, 0.3, 0.2, 0.55])
    # believed and sure; doubted; doubted; believed: .55 + .45 * .4 > .45 * .6
    np.testing.assert_array_equal(correct(labels, w, guess, 0.5), [0, 1, 0, 0])
    # doubted labels do not count, however small the threshold's distance
    np.testing.assert_array_equal(correct(labels, w, guess, 0.6), [0, 1, 0, 1])


def test_prediction_takes_the_decision_of_the_added_outputs() -> None:
    task = make_task()
    method = started(DivideMix, task)
    images = task.train.images  # type: ignore[attr-defined]
    p = predict(method, images)
    z = method.network_1.eval()(images) + method.network_2.eval()(images)
    torch.testing.assert_close(p.sum(1), torch.ones(len(p)))
    assert torch.equal(p.argmax(1), z.argmax(1))
    torch.testing.assert_close(p, (z / 2).softmax(1))


def test_it_tells_wrong_labels_from_right_ones() -> None:
    task = make_task(samples=240, rate=0.3, epochs=6)
    method = started(DivideMix, task, warmup_epochs=3, lambda_u=5)
    for epoch in range(6):
        report = method.train_epoch(epoch)
    truth = clean_labels(task)
    right = task.train.labels.numpy() == truth
    assert report.clean_probability is not None and report.corrected is not None
    w = report.clean_probability
    assert w[right].mean() > 0.8 > 0.2 > w[~right].mean()
    assert (report.corrected == truth).mean() > 0.95 > right.mean()


# --- where users of the reference met crashes -------------------------------------------------


def healthy(method: DivideMix, report: Any) -> None:
    assert math.isfinite(report.loss)
    for net in (method.network_1, method.network_2):
        assert all(torch.isfinite(v).all() for v in net.state_dict().values())
    images = method.task.train.images  # type: ignore[attr-defined]
    assert torch.isfinite(predict(method, images)).all()


@pytest.mark.parametrize("believed", [0, 1])
def test_upstream_fault_crash_on_an_empty_labelled_division(
    monkeypatch: pytest.MonkeyPatch, believed: int
) -> None:
    task = make_task(samples=50)
    w = np.where(np.arange(50) < believed, 0.9, 0.1)
    fix_w(monkeypatch, w, w)
    method, twin = (started(DivideMix, t, **SHORT) for t in (task, make_task(samples=50)))
    for epoch in (0, 1):
        report = method.train_epoch(epoch)
        warm_up_by_hand(twin, twin.network_1, twin.optimiser_1, 1, epoch, False)
        warm_up_by_hand(twin, twin.network_2, twin.optimiser_2, 2, epoch, False)
    same_networks(method, twin)
    healthy(method, report)
    assert report.selected.sum(axis=1).tolist() == [believed, believed]


@pytest.mark.parametrize("doubted", [0, 1])
def test_upstream_fault_crash_on_an_empty_unlabelled_division(
    monkeypatch: pytest.MonkeyPatch, doubted: int
) -> None:
    task, asked = spied(samples=50)
    w = np.where(np.arange(50) < doubted, 0.1, 0.9)
    fix_w(monkeypatch, w, w)
    method = started(DivideMix, task, warmup_epochs=0, rampup_epochs=0, lambda_u=1e9)
    report = method.train_epoch(0)
    healthy(method, report)
    assert report.loss < 100  # lambda_u had nothing to weigh
    assert [len(i) for i in asked if i is not None] == [50 - doubted] * 2


@pytest.mark.parametrize(("labelled", "unlabelled"), [(17, 33), (33, 17), (2, 48), (48, 2)])
def test_upstream_fault_crash_on_a_last_batch_of_one(
    monkeypatch: pytest.MonkeyPatch, labelled: int, unlabelled: int
) -> None:
    w = np.where(np.arange(labelled + unlabelled) < labelled, 0.9, 0.1)
    fix_w(monkeypatch, w, w)
    task, asked = spied(samples=labelled + unlabelled)
    method = started(DivideMix, task, warmup_epochs=0)
    healthy(method, method.train_epoch(0))
    # Both kinds took part, even with no more than two samples.
    assert {len(i) for i in asked if i is not None} == {labelled, unlabelled}


def silent(method: DivideMix) -> None:
    """Make both networks answer the same to everything."""
    for net in (method.network_1, method.network_2):
        nn.init.zeros_(net[-1].weight)
        nn.init.zeros_(net[-1].bias)


def test_constant_losses_divide_nothing_and_train_on() -> None:
    method = started(DivideMix, make_task(), warmup_epochs=0)
    silent(method)
    report = method.train_epoch(0)
    assert (report.clean_probability == 0.5).all() and not report.selected.any()
    healthy(method, report)


def test_constant_losses_under_a_low_threshold_believe_every_label_halfway() -> None:
    method = started(DivideMix, make_task(), warmup_epochs=0, p_threshold=0.03)
    silent(method)
    report = method.train_epoch(0)
    assert report.selected.all()
    np.testing.assert_array_equal(report.corrected, method.task.train.labels.numpy())
    healthy(method, report)


def test_a_warm_up_as_long_as_the_budget_is_refused() -> None:
    with pytest.raises(MedbenchError, match=r"'warmup_epochs'"):
        started(DivideMix, make_task(epochs=6), warmup_epochs=6)
    assert started(DivideMix, make_task(epochs=6)).warmup_epochs == 3
    assert started(DivideMix, make_task(epochs=300)).warmup_epochs == 10


@pytest.mark.parametrize("history", [1, 3])
def test_taken_up_again_it_goes_on_bit_for_bit(history: int) -> None:
    chosen = {**SHORT, "loss_history": history}
    task = make_task()
    method = started(DivideMix, task, **chosen)
    method.train_epoch(0)
    method.train_epoch(1)
    state = frozen_state(method)
    fresh = started(DivideMix, task, **chosen)
    restore(fresh, state)
    for epoch in (2, 3):
        assert_same(method.train_epoch(epoch), fresh.train_epoch(epoch))
    assert_same(frozen_state(method), frozen_state(fresh))
    assert questions(task) == {"noise_is_symmetric": 1}


def test_taken_up_again_in_warm_up_it_does_not_ask_again() -> None:
    task = make_task(symmetric=False)
    method = started(DivideMix, task)
    method.train_epoch(0)
    fresh = started(DivideMix, task)
    restore(fresh, frozen_state(method))
    assert_same(method.train_epoch(1), fresh.train_epoch(1))
    assert questions(task) == {"noise_is_symmetric": 1}


def test_the_mixture_is_fitted_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    real = mixture.threadpool_limits

    def note(limits_: int | None = None, **kwargs: Any) -> Any:
        limits.append(kwargs["limits"])
        return real(**kwargs)

    monkeypatch.setattr(mixture, "threadpool_limits", note)
    clean_probability(two_groups(0), 0)
    assert limits == [1]
