"""The simulation of docs/capacity.md, against what is known of any schedule."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[3] / "performance"))
simulate_capacity = pytest.importorskip("simulate_capacity")
Item, simulate = simulate_capacity.Item, simulate_capacity.simulate
longest = simulate_capacity.longest

#: Seconds of each pretraining and of the runs that start from it.
SHAPES = st.lists(
    st.tuples(st.floats(0.1, 100), st.lists(st.floats(0.1, 100), max_size=5)),
    min_size=1,
    max_size=8,
)


def grid(shape: list[tuple[float, list[float]]]) -> list[Item]:
    first = [Item(f"p{i}", None, seconds) for i, (seconds, _) in enumerate(shape)]
    then = [
        Item(f"p{i}r{j}", f"p{i}", seconds)
        for i, (_, runs) in enumerate(shape)
        for j, seconds in enumerate(runs)
    ]
    return [*first, *then]


@given(SHAPES, st.integers(1, 12))
def test_no_schedule_beats_the_bounds_and_greedy_is_within_twice(
    shape: list[tuple[float, list[float]]], workers: int
) -> None:
    """Graham 1969: a list schedule takes at most total / m + (1 - 1/m) longest path."""
    items = grid(shape)
    total, path = sum(item.seconds for item in items), longest(items)
    found = simulate(items, workers, 0.0, 0.0)
    assert found.makespan >= max(total / workers, path) - 1e-6
    assert found.makespan <= total / workers + (1 - 1 / workers) * path + 1e-6
    assert found.busy == pytest.approx(total)


def test_a_grid_worked_by_hand() -> None:
    """One pretraining of 4 s, two runs after it of 3 s, one without of 2 s; start 1 s."""
    items = [
        Item("p", None, 4.0), Item("a", "p", 3.0), Item("b", "p", 3.0), Item("c", None, 2.0),
    ]  # fmt: skip
    assert simulate(items, 1, 1.0, 0.0).makespan == 13.0
    two = simulate(items, 2, 1.0, 0.0)
    assert two.makespan == 8.0
    assert two.idle == pytest.approx(1 - 12 / 16)
