from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

from medbench.engine import timing
from medbench.engine.timing import PARTS, StageTimer


class Clock:
    """Seconds that pass only where a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def drawn(self, sizes: list[int], seconds: float) -> Iterator[list[int]]:
        for size in sizes:
            self.now += seconds
            yield [0] * size


def epoch(timer: StageTimer, clock: Clock, sizes: list[int]) -> None:
    with timer.part("step"):
        clock.now += 64  # before the first mini-batch
        for _ in timer.batches(clock.drawn(sizes, 1), len):
            clock.now += 4
    with timer.part("evaluation"):
        clock.now += 8
    with timer.part("bookkeeping"):
        clock.now += 16
    clock.now += 1000  # in no part


def test_parts_add_up_without_the_first_mini_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, timer = Clock(monkeypatch), StageTimer(torch.device("cpu"))
    epoch(timer, clock, [5, 5, 2])
    counted = {"images": 7, "input": 2, "step": 8, "evaluation": 8, "bookkeeping": 16}
    assert timer.summary() == counted
    epoch(timer, clock, [5, 5, 2])  # warm from its beginning
    more = {"images": 12, "input": 3, "step": 64 + 12, "evaluation": 8, "bookkeeping": 16}
    assert timer.summary() == {name: counted[name] + more[name] for name in counted}


def test_a_single_mini_batch_is_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, timer = Clock(monkeypatch), StageTimer(torch.device("cpu"))
    with timer.part("step"):
        for _ in timer.batches(clock.drawn([5], 1), len):
            clock.now += 4
    assert timer.summary() == {"images": 0, **dict.fromkeys(PARTS, 0.0)}


def test_two_loaders_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, timer = Clock(monkeypatch), StageTimer(torch.device("cpu"))
    with timer.part("step"):
        labelled = timer.batches(clock.drawn([2] * 3, 1), len)
        unlabelled = timer.batches(clock.drawn([3] * 3, 10), len)
        for _ in zip(labelled, unlabelled, strict=True):
            clock.now += 4
    # all but the first labelled mini-batch, which is the warm-up
    assert timer.summary() == {
        "images": 2 * 2 + 3 * 3, "input": 2 + 30, "step": 12, "evaluation": 0, "bookkeeping": 0
    }  # fmt: skip


def test_many_intervals_are_added_up_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, timer = Clock(monkeypatch), StageTimer(torch.device("cpu"))
    monkeypatch.setattr(timing, "_MOST", 3)
    with timer.part("step"):
        for _ in timer.batches(clock.drawn([1] * 50, 1), len):
            clock.now += 4
    assert timer.summary() == {
        "images": 49, "input": 49, "step": 4 * 49, "evaluation": 0, "bookkeeping": 0
    }  # fmt: skip


def test_what_raises_ends_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, timer = Clock(monkeypatch), StageTimer(torch.device("cpu"))
    epoch(timer, clock, [1, 1])
    before = timer.summary()
    with pytest.raises(RuntimeError), timer.part("step"):
        clock.now += 2
        raise RuntimeError
    clock.now += 100
    assert timer.summary()["step"] == before["step"] + 2
