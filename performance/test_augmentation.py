"""The cases of bench_augment.py for pytest-benchmark: `uv run pytest performance`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from bench_augment import COUNTS, WANTED, Ours, batches, peer, pictures, same_work

WORKERS = 2


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(WORKERS)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("size", COUNTS)
@pytest.mark.parametrize("case", WANTED)
@pytest.mark.parametrize("who", ["medbench", "medbench, grey", "torchvision v1", "torchvision v2"])
def test_views(benchmark, who: str, case: str, size: int) -> None:
    images = pictures(COUNTS[size], size, 1 if who.endswith("grey") else 3)
    ours = Ours(case, images)
    source = ours
    if who.startswith("torchvision"):
        source = peer(case, images, WORKERS, who.split()[1])
        same_work(ours, source)
    benchmark.group = f"{case}, {size} px, {COUNTS[size]} images"
    benchmark.pedantic(lambda: list(batches(source)), rounds=3, warmup_rounds=1)
