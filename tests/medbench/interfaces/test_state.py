"""State of plugins, third parties' included: put back, it is as if nothing had happened."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medbench.engine.state_watch import StateWatch
from medbench.interfaces.state import Stateful
from medbench.store.arrays import dumps, loads


class Drifting(nn.Module):
    """Has a buffer that its state_dict leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drift: torch.Tensor
        self.register_buffer("drift", torch.zeros(4), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.drift += x.mean(0)
        y: torch.Tensor = self.norm(self.linear(x)) + self.drift
        return y


class Everything(Stateful):
    """Keeps state of every kind that a method may have."""

    stateful = (
        *("network", "optimiser", "schedule", "pair", "bank", "transition", "history", "recent"),
        *("count", "best", "rng", "numpy_rng", "frozen", "maybe"),
    )

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.network = Drifting().to(memory_format=torch.preserve_format)
        self.transition = nn.Parameter(torch.eye(4))
        self.optimiser = torch.optim.Adam([*self.network.parameters(), self.transition], 0.05)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, 12)
        self.pair = [nn.Linear(4, 2), nn.Linear(4, 2)]
        self.bank = {"features": torch.zeros(6, 4), "labels": np.zeros(6, np.int64)}
        self.alias = self.bank["features"]  # the same tensor under another name
        self.history: list[float] = []
        self.recent: deque[float] = deque(maxlen=3)
        self.count, self.best = 0, float("inf")
        self.rng = torch.Generator().manual_seed(1)
        self.numpy_rng = np.random.default_rng(1)
        self.frozen = (np.float32(0.5), "warm-up")
        self.maybe: torch.Tensor | None = None

    def epoch(self) -> list[Any]:
        """Train a little; return all that it depends on."""
        # as a method may that never says train(): the mode is what predicting left behind
        x = torch.rand(8, 4, generator=self.rng)
        y = self.network(x) @ self.transition
        loss = (y - float(self.numpy_rng.random())).square().mean() + self.alias.sum()
        for linear in self.pair:
            loss = loss + linear(y).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        self.bank["features"][self.count % 6] = y[0].detach()
        self.bank["labels"][self.count % 6] += 1
        with torch.no_grad():
            for linear in self.pair:
                linear.weight.mul_(0.9)
        self.count += 1
        value = float(loss.detach())
        self.best = min(self.best, value)
        self.history.append(value)
        self.recent.append(value)
        self.frozen = (np.float32(self.best), "late")
        self.maybe = y.detach() if self.maybe is None else self.maybe + y.detach()
        self.network.norm.eval()
        if self.count == 2:
            self.network.linear.weight.requires_grad_(False)
        return [value, self.best, y.tolist(), self.maybe.tolist(), self.frozen[0].item()]


def taken_up(state: Stateful, fresh: Stateful) -> None:
    fresh.load_state_dict(loads(dumps(state.state_dict())))


@pytest.mark.parametrize("done", range(5))
def test_taken_up_after_any_epoch_it_goes_on_the_same(done: int) -> None:
    whole = Everything()
    for _ in range(done):
        whole.epoch()
    again = Everything()
    taken_up(whole, again)
    assert [whole.epoch() for _ in range(4)] == [again.epoch() for _ in range(4)]
    assert list(again.recent) == again.history[-3:]
    assert again.recent.maxlen == 3


def test_objects_that_others_hold_stay_the_same_objects() -> None:
    whole, again = Everything(), Everything()
    whole.epoch()
    before = (again.transition, again.bank, again.bank["features"], again.pair, again.rng)
    taken_up(whole, again)
    after = (again.transition, again.bank, again.bank["features"], again.pair, again.rng)
    assert all(a is b for a, b in zip(before, after, strict=True))
    assert again.alias is again.bank["features"]


def test_channels_last_momenta_lie_as_the_weights_do() -> None:
    def made() -> tuple[nn.Conv2d, torch.optim.Optimizer]:
        torch.manual_seed(0)
        conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return conv, torch.optim.SGD(conv.parameters(), 0.1, momentum=0.9, fused=True)

    def step(conv: nn.Conv2d, optimiser: torch.optim.Optimizer) -> None:
        images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        optimiser.zero_grad()
        conv(images.to(memory_format=torch.channels_last)).square().sum().backward()
        optimiser.step()

    class Conv(Stateful):
        stateful = ("conv", "optimiser")

        def __init__(self) -> None:
            self.conv, self.optimiser = made()

    whole, again = Conv(), Conv()
    step(whole.conv, whole.optimiser)
    taken_up(whole, again)
    for _ in range(2):
        step(whole.conv, whole.optimiser)
        step(again.conv, again.optimiser)
    assert torch.equal(whole.conv.weight, again.conv.weight)


class Plain(Stateful):
    stateful = ("network", "step")

    def __init__(self) -> None:
        self.network = nn.Linear(2, 2)
        self.head = self.network.weight  # known under another name: no state of its own
        self.step = 0
        self.table = {"a": [1, 2]}
        self.peer = nn.Linear(2, 2)
        self.late: Any = None
        self.helper = type("Helper", (), {})()
        self.helper.count = 0


def watched(change: Any, *, stateful: tuple[str, ...] = Plain.stateful) -> str:
    made = type("Made", (Plain,), {"stateful": stateful})()
    watch = StateWatch(made, "method m", needed=True)
    change(made)
    return watch.obstacle()


def train(plugin: Plain) -> None:
    with torch.no_grad():
        plugin.network.weight += 1
    plugin.step += 1


def test_changes_of_what_is_named_are_no_obstacle() -> None:
    assert watched(train) == ""


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda m: m.table["a"].append(3), "table"),
        (lambda m: m.peer.weight.data.add_(1), "peer"),
        (lambda m: m.peer.eval(), "peer"),
        (lambda m: setattr(m.helper, "count", 1), "helper"),
        (lambda m: setattr(m, "new", 1), "new"),
    ],
)
def test_changes_of_what_is_not_named_are_told(change: Any, name: str) -> None:
    assert watched(change) == f"method m changes {name!r}, which 'stateful' does not name"


def test_a_network_made_later_cannot_be_put_back() -> None:
    def change(plugin: Plain) -> None:
        plugin.late = nn.Linear(2, 2)

    reason = watched(change, stateful=("network", "step", "late"))
    assert reason.startswith("method m makes late after start()")


def test_a_method_that_names_nothing_is_not_trusted() -> None:
    assert watched(lambda m: None, stateful=()) == "method m names nothing in 'stateful'"
    assert StateWatch(type("None_", (Stateful,), {})(), "pretext p").obstacle() == ""


def test_an_author_who_says_it_all_is_believed() -> None:
    class Own(Plain):
        def state_dict(self) -> dict[str, Any]:
            return {"all": 1}

    own = Own()
    watch = StateWatch(own, "method m", needed=True)
    own.table = {}
    assert watch.obstacle() == ""
