"""The cases of bench_augment.py for pytest-benchmark: `uv run pytest performance`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from bench_augment import (
    COUNTS,
    PEERS,
    ROUNDING,
    WANTED,
    batches,
    ours,
    peer,
    pictures,
    same_views,
    slack,
)

WORKERS = 2
#: Who makes the views of which case; lightly augments for pretraining only.
CASES = [
    (who, case)
    for case in WANTED
    for who in ("medbench", "medbench, grey", *PEERS)
    if who != "lightly" or case == "simclr"
]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(WORKERS)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("size", COUNTS)
@pytest.mark.parametrize(("who", "case"), CASES)
def test_views(benchmark, who: str, case: str, size: int) -> None:
    images = pictures(COUNTS[size], size, 1 if who.endswith("grey") else 3)
    source = ours(case, images)
    if who in PEERS:
        if who in ("lightly", "kornia"):
            pytest.importorskip(who, reason=f"{who} is not installed: uv sync --group peers")
        mine, source = source, peer(case, images, WORKERS, who)
        same_views(mine, source, slack(case), ROUNDING.get(who, 0.0))
    benchmark.group = f"{case}, {size} px, {COUNTS[size]} images"
    benchmark.pedantic(lambda: list(batches(source)), rounds=3, warmup_rounds=1)
