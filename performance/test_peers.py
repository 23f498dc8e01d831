"""Epochs of bench_peers.py for pytest-benchmark: `uv run --group peers pytest performance`."""

from __future__ import annotations

import pytest
from bench_peers import LightlySimCLR, simclr_stage

IMAGES, THREADS = 512, 2

pytest.importorskip("lightly", reason="lightly is not installed: uv sync --group peers")


@pytest.mark.parametrize("who", ["medbench", "lightly"])
def test_simclr(benchmark, who: str) -> None:
    trained = simclr_stage(IMAGES, THREADS)
    theirs = LightlySimCLR(trained, THREADS)
    numbers = iter(range(1000))
    benchmark.group = f"an epoch of SimCLR, 64 px, {IMAGES} images"
    epoch = theirs.epoch if who == "lightly" else lambda: trained._epoch(next(numbers))
    benchmark.pedantic(epoch, rounds=3, warmup_rounds=1)
