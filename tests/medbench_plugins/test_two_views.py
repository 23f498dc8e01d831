"""MoCo, BYOL, Barlow Twins and LeJEPA against loops in float64 and lightly."""

import math

import numpy as np
import pytest
import torch
from lightly.loss import (
    BarlowTwinsLoss,
    LeJEPALoss,
    NegativeCosineSimilarity,
    NTXentLoss,
)
from torch import nn
from torch.nn import functional as F

from medbench.engine.pretraining import PretrainingInput, PretrainingStage
from medbench.errors import MedbenchError
from medbench.interfaces import ImageSpace, PretextStep, PretextTask
from medbench.interfaces.options import ComputeOptions, PretrainingOptions
from medbench_plugins.backbones.narrow import Narrow
from medbench_plugins.pretexts.barlow_twins import BarlowTwins, barlow
from medbench_plugins.pretexts.byol import BYOL
from medbench_plugins.pretexts.lejepa import LeJEPA, sigreg
from medbench_plugins.pretexts.moco import MoCo, info_nce
from medbench_plugins.pretexts.momentum import MomentumEncoder
from medbench_plugins.pretexts.simclr import SimCLR


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def make(pretext, **settings):
    return pretext("it", pretext.Settings(**settings))


def task_of(backbone, *, features=6, images=40, steps=50):
    return PretextTask(backbone, features, ImageSpace(1, 16), images, steps, torch.device("cpu"))


def trunk(features=6):
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(256, features))


# -- the losses ------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_info_nce_is_the_loop_and_lightlys(temperature):
    queries, keys, queue = (F.normalize(drawn(n, 4, seed=n), dim=1) for n in (5, 6, 9))
    keys = keys[:5]
    q, k, n = (each.double().numpy() for each in (queries, keys, queue))
    expected = 0.0
    for i in range(5):
        own = math.exp(q[i] @ k[i] / temperature)
        others = sum(math.exp(q[i] @ n[j] / temperature) for j in range(9))
        expected -= math.log(own / (own + others)) / 5
    assert info_nce(queries, keys, queue, temperature).item() == pytest.approx(expected, rel=1e-5)
    theirs = NTXentLoss(temperature=temperature, memory_bank_size=(9, 4))
    bank = theirs.memory_bank
    bank.bank = queue.clone() if bank.bank.shape == queue.shape else queue.T.clone()
    bank.bank_ptr = torch.zeros(1, dtype=torch.int64)
    assert theirs(queries.requires_grad_(), keys).item() == pytest.approx(expected, rel=1e-5)


def test_barlow_is_the_loop_and_lightlys():
    first, second = drawn(7, 4), drawn(7, 4, seed=1) + drawn(7, 4)
    a, b = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in
            (first.double().numpy(), second.double().numpy()))  # fmt: skip
    expected = 0.0
    for i in range(4):
        for j in range(4):
            c = sum(a[n, i] * b[n, j] for n in range(7)) / 7
            expected += (1 - c) ** 2 if i == j else 5e-3 * c**2
    ours, theirs = first.clone().requires_grad_(), first.clone().requires_grad_()
    loss, other = barlow(ours, second, 5e-3), BarlowTwinsLoss(5e-3)(theirs, second)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert other.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    other.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


def test_barlow_is_zero_for_equal_and_independent_features():
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert barlow(signs, 3 * signs + 2, 5e-3).item() == pytest.approx(0, abs=1e-8)
    assert barlow(signs, -signs, 5e-3).item() == pytest.approx(8, rel=1e-4)


def test_byol_is_lightlys_and_swaps_the_views():
    predictions, targets = drawn(10, 4), drawn(10, 4, seed=1)
    loss = make(BYOL).compare(predictions, targets, rng=generator())
    cosine = NegativeCosineSimilarity()
    both = cosine(predictions[:5], targets[5:]) + cosine(predictions[5:], targets[:5])
    assert loss.item() == pytest.approx(2 + both.item(), rel=1e-5)


def slow_sigreg(z, directions):
    """The definition, integrated over both halves."""
    t = np.linspace(-3, 3, 33)
    gaussian = np.exp(-(t**2) / 2)
    found = np.zeros((z.shape[0], directions.shape[1]))
    for v in range(z.shape[0]):
        for m in range(directions.shape[1]):
            x = z[v] @ directions[:, m]
            characteristic = np.exp(1j * np.outer(t, x)).mean(1)
            distance = np.abs(characteristic - gaussian) ** 2 * gaussian
            found[v, m] = len(x) * ((distance[1:] + distance[:-1]) / 2 * np.diff(t)).sum()
    return found


def test_sigreg_is_the_integral_written_out():
    z, directions = drawn(2, 12, 5), F.normalize(drawn(5, 7, seed=2), dim=0)
    expected = slow_sigreg(z.double().numpy(), directions.double().numpy())
    np.testing.assert_allclose(sigreg(z, directions).numpy(), expected, rtol=1e-4)


def test_sigreg_is_small_for_a_gaussian_alone():
    directions = F.normalize(drawn(3, 50, seed=2), dim=0)
    gaussian = drawn(1, 4000, 3, seed=4)
    assert sigreg(gaussian, directions).mean() < 2  # about its expectation for a Gaussian
    for other in (2 * gaussian, gaussian.sign(), 0 * gaussian, gaussian + 1):
        assert sigreg(other, directions).mean() > 20


def test_lejepa_is_lightlys_in_one_dimension():
    """There all directions are 1 or -1, and the statistic is the same for both."""
    z = drawn(20, 1)
    loss = make(LeJEPA, projection=1).compare(z, rng=generator())
    views = z.unflatten(0, (2, -1))
    theirs = LeJEPALoss(lambda_param=0.05)
    assert loss.item() == pytest.approx(
        theirs(local_proj=views, global_proj=views).item(), rel=1e-4
    )


# -- momentum encoders and the queue ---------------------------------------


def test_a_momentum_encoder_follows_by_hand():
    backbone, head = trunk(), nn.Linear(6, 2)
    encoder = MomentumEncoder(task_of(backbone, steps=4), head, 0.5)
    slow = [p.clone() for p in encoder.network.parameters()]
    for step in range(4):
        with torch.no_grad():
            for parameter in (*backbone.parameters(), *head.parameters()):
                parameter.add_(1.0)
        encoder.follow(backbone, head)
        m = 1 - 0.5 * (1 + math.cos(math.pi * step / 4)) / 2
        fast = [*backbone.parameters(), *head.parameters()]
        slow = [m * s + (1 - m) * f for s, f in zip(slow, fast, strict=True)]
        for found, expected in zip(encoder.network.parameters(), slow, strict=True):
            torch.testing.assert_close(found, expected)
    assert not any(p.requires_grad for p in encoder.network.parameters())
    assert all(p.requires_grad for p in backbone.parameters())


@pytest.mark.parametrize(("steps", "momentum"), [(5, 0), (100, 0.9), (10**6, 0.996)])
def test_a_short_pretraining_has_a_faster_encoder(steps, momentum):
    encoder = MomentumEncoder(task_of(trunk(), steps=steps), nn.Identity(), None)
    assert encoder.momentum == pytest.approx(momentum)


def test_keys_are_those_of_the_second_views_and_wait_in_line():
    backbone, moco = trunk(), make(MoCo, queue=7, projection=3)
    head = moco.start(task_of(backbone))
    slow = nn.Sequential(trunk(), head)  # no step was taken: the same weights
    line = None
    for seed in range(3):
        views = torch.rand(10, 1, 16, 16, generator=generator(seed))
        (projections,) = moco.project(backbone, head, views, generator(seed))
        torch.testing.assert_close(projections, slow(views))
        keys = F.normalize(projections[5:], dim=1)
        line = torch.cat([keys, keys]) if line is None else line
        loss = moco.compare(projections, rng=generator())
        expected = info_nce(F.normalize(projections[:5], dim=1), keys, line[:7], 0.2)
        torch.testing.assert_close(loss, expected)
        line = torch.cat([keys, line])[:7]
        torch.testing.assert_close(moco.queue, line)
    assert not moco.queue.requires_grad


def test_a_query_is_asked_for_its_key_among_those_of_the_batch():
    queries = torch.eye(4)
    keys = torch.tensor([[2.0, 1, 0, 0], [2, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 5]])
    correct, questions = make(MoCo).answers(torch.cat([queries, keys]))
    assert (correct, questions) == (3, 4)
    assert make(MoCo).chance(4) == 1 / 4


@pytest.mark.parametrize(("images", "length"), [(3, 2), (40, 20), (100_000, 4096)])
def test_the_queue_holds_at_most_half_of_the_set(images, length):
    moco, backbone = make(MoCo), trunk()
    head = moco.start(task_of(backbone, images=images))
    moco.loss(backbone, head, torch.rand(4, 1, 16, 16), generator())
    assert moco.queue.shape == (length, 128)
    torch.testing.assert_close(moco.queue.norm(dim=1), torch.ones(length))


def test_gradients_pass_through_the_online_network_alone():
    for pretext in (MoCo, BYOL):
        backbone, it = trunk(), make(pretext)
        head = it.start(task_of(backbone))
        it.loss(backbone, head, torch.rand(6, 1, 16, 16), generator()).loss.backward()
        assert all(p.grad is None for p in it.encoder.network.parameters())
        assert all(p.grad is not None for p in (*backbone.parameters(), *head.parameters()))


# -- trained by the harness ------------------------------------------------


def stage(pretext, epochs=3):
    rng = np.random.default_rng(0)
    given = PretrainingInput(
        images=rng.integers(0, 255, (25, 16, 16, 1), np.uint8),
        normalise="half",
        stage=PretrainingOptions(epochs=epochs, batch_size=8),
        compute=ComputeOptions(),
        network_seed=1,
        training_seed=2,
    )
    backbone = Narrow("narrow", Narrow.Settings(width=8, stages=2))
    settings = {"hidden": 16, "projection": 8}
    return PretrainingStage(given, backbone, make(pretext, **settings), "cpu")


def told(step):
    class Odd(SimCLR):
        def loss(self, backbone, head, images, rng):
            return step(super().loss(backbone, head, images, rng), len(images))

    with pytest.raises(MedbenchError) as caught:
        list(stage(Odd).epochs())
    return str(caught.value)


def test_steps_that_are_none_are_told():
    assert "the loss is nan: its training diverged" in told(
        lambda real, n: PretextStep(real.loss * float("nan"), real.correct, n)
    )
    assert "125 of 25 answers are correct" in told(
        lambda real, n: PretextStep(real.loss, torch.tensor(5.0 * n), n)
    )
    assert "loss returned tuple, no PretextStep" in told(lambda real, n: (real.loss, 1, n))


@pytest.mark.parametrize("pretext", [SimCLR, MoCo, BYOL, BarlowTwins, LeJEPA])
def test_momentum_and_queue_are_part_of_the_checkpoint(pretext):
    whole = stage(pretext)
    for _ in whole.epochs():
        pass
    begun = stage(pretext)
    next(begun.epochs())
    saved = begun.state.save()
    resumed = stage(pretext)
    resumed.state.load(saved)
    for _ in resumed.epochs(1):
        pass
    for name, array in whole.weights().items():
        np.testing.assert_array_equal(array, resumed.weights()[name])


def test_steps_are_those_taken():
    """25 images in batches of 8: the last one joins the batch before."""
    trained = stage(MoCo)
    for _ in trained.epochs():
        pass
    assert trained.pretext.encoder.step == trained.pretext.encoder.steps == 9
