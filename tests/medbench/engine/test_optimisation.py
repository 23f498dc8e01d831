"""Schedules by hand, steps against torch's plain optimisers."""

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medbench.engine.optimisation import ScheduledOptimiser, learning_rate
from medbench.errors import MedbenchError
from medbench.interfaces import ImageSpace, OptimiserSettings
from medbench_plugins.backbones.tiny_vit import TinyViT


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def loss_of(net, step):
    x = torch.linspace(-1, 1, 20).reshape(4, 5) * (step + 1)
    return (net(x) ** 2).mean()


def rates(epochs, **settings):
    return [learning_rate(OptimiserSettings(**settings), e, epochs) for e in range(epochs)]


# ---------------------------------------------------------------- schedules


def test_a_constant_rate_stays() -> None:
    assert rates(4, lr=0.3, schedule="constant") == [0.3] * 4


def test_cosine_by_hand() -> None:
    root = math.sqrt(2) / 2
    expected = [0.8, 0.4 * (1 + root), 0.4, 0.4 * (1 - root)]
    assert rates(4, lr=0.8, schedule="cosine") == pytest.approx(expected, rel=1e-12)


@given(st.integers(1, 300))
def test_cosine_falls_and_stays_above_zero(epochs) -> None:
    found = rates(epochs, lr=0.1, schedule="cosine")
    assert found[0] == 0.1
    assert all(a > b > 0 for a, b in itertools.pairwise(found))


def test_cosine_is_torchs() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    theirs = torch.optim.SGD([parameter], 0.2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 11)
    for rate in rates(11, lr=0.2, schedule="cosine"):
        assert rate == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9)
        theirs.step()
        schedule.step()


def test_step_by_hand() -> None:
    assert rates(4, lr=0.5, schedule="step", step_at=0.5, step_factor=0.1) == pytest.approx(
        [0.5, 0.5, 0.05, 0.05]
    )
    assert rates(3, lr=0.5, schedule="step", step_at=1.0) == [0.5] * 3


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
def test_the_step_comes_exactly_at_its_share_of_the_epochs(case) -> None:
    first, epochs = case  # also where first / epochs has no exact binary form
    found = rates(epochs, lr=1.0, schedule="step", step_at=first / epochs, step_factor=0.5)
    assert found == [1.0] * first + [0.5] * (epochs - first)


@pytest.mark.parametrize(("step_at", "epochs", "first"), [(0.55, 100, 55), (0.07, 100, 7)])
def test_the_step_comes_in_time_for_shares_as_one_writes_them(step_at, epochs, first) -> None:
    found = rates(epochs, lr=1.0, schedule="step", step_at=step_at, step_factor=0.5)
    assert found.index(0.5) == first


# ---------------------------------------------------------------- steps

REFERENCES = {
    "sgd": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.8, weight_decay=0.01, foreach=False),
    "adam": lambda p, lr: torch.optim.Adam(p, lr, weight_decay=0.01, foreach=False),
    "adamw": lambda p, lr: torch.optim.AdamW(p, lr, weight_decay=0.01, foreach=False),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_steps_are_those_of_torchs_plain_optimiser(name) -> None:
    settings = OptimiserSettings(
        name=name, lr=0.05, momentum=0.8, weight_decay=0.01, schedule="cosine"
    )
    ours, theirs = network(), network()
    optimiser = ScheduledOptimiser((ours,), settings, 3)
    reference = REFERENCES[name](theirs.parameters(), 0.05)
    for epoch in range(3):
        optimiser.start_epoch(epoch)
        reference.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * epoch / 3)) / 2
        for step in range(2):
            optimiser.step(loss_of(ours, step))
            reference.zero_grad()
            loss_of(theirs, step).backward()
            reference.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    assert not torch.equal(ours[0].weight, network()[0].weight)


def test_all_modules_are_trained_and_gradients_do_not_add_up() -> None:
    body, head = network(), nn.Linear(3, 2)
    before = copy.deepcopy([body.state_dict(), head.state_dict()])
    settings = OptimiserSettings(name="sgd", lr=0.1, momentum=0, weight_decay=0)
    optimiser = ScheduledOptimiser((body, head), settings, 1)
    x = torch.ones(2, 5)
    for _ in range(2):
        optimiser.step(head(body(x)).sum())
    # d sum / d bias of the head is 2 in each step, never the 4 of two steps together
    torch.testing.assert_close(head.bias.detach(), before[1]["bias"] - 2 * 0.1 * 2)
    assert not torch.equal(body[0].weight, before[0]["0.weight"])


@pytest.mark.parametrize("name", REFERENCES)
def test_a_restored_optimiser_goes_on_bit_for_bit(name) -> None:
    settings = OptimiserSettings(name=name, lr=0.05, schedule="cosine")

    def trained(interrupted):
        net = network()
        optimiser = ScheduledOptimiser((net,), settings, 4)
        for epoch in range(4):
            if interrupted and epoch == 2:
                saved = copy.deepcopy((net.state_dict(), optimiser.state_dict()))
                net = network()
                optimiser = ScheduledOptimiser((net,), settings, 4)
                net.load_state_dict(saved[0])
                optimiser.load_state_dict(saved[1])
            optimiser.start_epoch(epoch)
            optimiser.step(loss_of(net, epoch))
        return net.state_dict()

    whole, resumed = trained(False), trained(True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


# ---------------------------------------------------------------- rates by layer


def test_rates_fall_from_layer_to_layer() -> None:
    body = TinyViT("vit", TinyViT.Settings(width=8, depth=3, heads=2)).build(ImageSpace(1, 16))[0]
    head = nn.Linear(8, 2)
    settings = OptimiserSettings(name="sgd", lr=0.1, momentum=0, weight_decay=0, schedule="cosine")
    optimiser = ScheduledOptimiser((body, head), settings, 4, layer_decay=0.5)
    before = [p.detach().clone() for p in (*body.parameters(), *head.parameters())]
    optimiser.start_epoch(2)
    rate = 0.1 * (1 + math.cos(math.pi * 2 / 4)) / 2
    parts = {
        0.5**4: body.embedding,
        0.5**3: body.blocks[0],
        0.5**2: body.blocks[1],
        0.5: body.blocks[2],
        1.0: nn.ModuleList([body.norm, head]),
    }
    optimiser.step(sum(p.sum() for p in (*body.parameters(), *head.parameters())))
    fell = dict(zip((*body.parameters(), *head.parameters()), before, strict=True))
    for factor, part in parts.items():
        for parameter in part.parameters():
            torch.testing.assert_close(fell.pop(parameter) - parameter.detach(),
                                       torch.full_like(parameter, factor * rate))  # fmt: skip
    assert not fell


def test_a_network_without_layers_to_count_is_refused() -> None:
    with pytest.raises(MedbenchError, match="no vision transformer"):
        ScheduledOptimiser((network(),), OptimiserSettings(), 1, layer_decay=0.9)
