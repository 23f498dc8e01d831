"""The cases of bench_augment.py for pytest-benchmark: `uv run pytest performance`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from bench_augment import COUNTS, PEERS, WANTED, batches, ours, peer, pictures, same_views, slack

WORKERS = 2


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(WORKERS)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("size", COUNTS)
@pytest.mark.parametrize("case", WANTED)
@pytest.mark.parametrize("who", ["medbench", "medbench, grey", *PEERS])
def test_views(benchmark, who: str, case: str, size: int) -> None:
    images = pictures(COUNTS[size], size, 1 if who.endswith("grey") else 3)
    source = ours(case, images)
    if who in PEERS:
        if who in ("lightly", "kornia"):
            pytest.importorskip(who, reason=f"{who} is not installed: uv sync --group peers")
        if who == "lightly" and case != "simclr":
            pytest.skip("lightly augments for pretraining only")
        mine, source = source, peer(case, images, WORKERS, who)
        same_views(mine, source, slack(case))
    benchmark.group = f"{case}, {size} px, {COUNTS[size]} images"
    benchmark.pedantic(lambda: list(batches(source)), rounds=3, warmup_rounds=1)
