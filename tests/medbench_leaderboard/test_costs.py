"""What entrants cost, and the Pareto front."""

from __future__ import annotations

from pathlib import Path

import board_records as toy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medbench.store.weights import PretrainedWeights
from medbench_leaderboard.board import read_board
from medbench_leaderboard.costs import COLUMNS, pareto_front

_FEW = st.integers(0, 4)  # so that ties are frequent


@given(st.lists(st.tuples(_FEW, _FEW), max_size=12))
def test_the_front_is_what_no_other_beats(points: list[tuple[int, int]]) -> None:
    def beaten(cost: int, score: int) -> bool:
        return any(c <= cost and s >= score and (c < cost or s > score) for c, s in points)

    costs, scores = np.array(points, float).reshape(-1, 2).T
    found = pareto_front(costs, scores)
    assert found.tolist() == [not beaten(*point) for point in points]


def usage(seconds: float, step: float) -> dict[str, object]:
    timing = {"images": 300, "input": 1.0, "step": step, "evaluation": 2.0, "bookkeeping": 1.0}
    return {"cpu_seconds": seconds, "gpu_seconds": None, "gpu_bytes": None, "peak_kib": 2**20,
            "parameters": 1000, "timing": timing}  # fmt: skip


def test_costs_are_means_with_pretraining(tmp_path: Path) -> None:
    points = toy.grid(pretext=["none", "rotation", "simclr"], seed=[0, 1])
    results = toy.plan(tmp_path, points)
    scores = {"none": 0.5, "rotation": 0.75, "simclr": 0.7}
    seconds = {"none": 3.0, "rotation": 5.0, "simclr": 9.0}
    for axes in points:
        resources = usage(seconds[axes["pretext"]] + axes["seed"], 4.0)
        if axes["pretext"] != "none":
            about = {"times": {"training": 10.0}, "resources": {"cpu_seconds": 20.0}}
            toy.pretrain(results, axes, [1.0, 0.5], about)
        toy.finish(results, axes, scores[axes["pretext"]], resources=resources)
    board = read_board(tmp_path)
    assert list(board.costs) == list(COLUMNS)
    costs = board.costs.set_index("pretext")
    assert costs["seconds"].to_dict() == {"none": 3.0, "rotation": 13.0, "simclr": 13.0}
    assert costs["cpu_seconds"].to_dict() == {"none": 3.5, "rotation": 25.5, "simclr": 29.5}
    assert costs["gpu_seconds"].isna().all()
    assert set(costs["peak_gib"]) == {1.0}
    assert set(costs["images_per_second"]) == {60.0}  # 300 images in 1 + 4 seconds
    shares = costs[["input_share", "step_share", "evaluation_share", "bookkeeping_share"]]
    assert shares.to_numpy() == pytest.approx(np.tile([1 / 8, 4 / 8, 2 / 8, 1 / 8], (3, 1)))
    for name in ("seconds", "cpu_seconds"):
        front = costs[f"front_{name}"].to_dict()
        assert front == {"none": True, "rotation": True, "simclr": False}
    assert costs["front_peak_gib"].to_dict() == {"none": False, "rotation": True, "simclr": False}
    assert not costs["front_gpu_seconds"].any()


def test_a_curriculum_costs_all_its_steps() -> None:
    def step(before: PretrainedWeights | None, seconds: float | None) -> PretrainedWeights:
        resources = {"cpu_seconds": seconds, "gpu_seconds": None}
        about = {"times": {"data": 1.0, "training": 2.0}, "resources": resources}
        more = {"pretraining": before.cost} if before else {}
        return PretrainedWeights("k", {}, {}, np.zeros(1), np.zeros(1), 0.5, {**about, **more})

    first = step(None, 4.0)
    assert first.cost == {"seconds": 3.0, "cpu_seconds": 4.0, "gpu_seconds": None}
    assert step(first, 5.0).cost == {"seconds": 6.0, "cpu_seconds": 9.0, "gpu_seconds": None}
    unknown = step(first, None)
    assert step(unknown, 5.0).cost == {"seconds": 9.0, "cpu_seconds": None, "gpu_seconds": None}


def test_a_pretraining_of_unknown_cost_is_not_free(tmp_path: Path) -> None:
    points = toy.grid(pretext=["none", "rotation"])
    results = toy.plan(tmp_path, points)
    toy.finish_all(results, points, lambda axes: 0.5)
    board = read_board(tmp_path)
    costs = board.costs.set_index("pretext")
    assert costs["cpu_seconds"].isna().all()
    assert costs["seconds"].isna().to_dict() == {"none": False, "rotation": True}
    assert costs["front_seconds"].to_dict() == {"none": True, "rotation": False}
    costs = costs.reset_index()
    for name in ("cpu_seconds", "gpu_seconds", "peak_gib"):
        assert not costs[f"front_{name}"].any()
