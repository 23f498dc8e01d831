"""The comparisons with peers notice work that is not equal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "performance"))
pytest.importorskip("lightly", reason="lightly is not installed: `uv sync --group peers`")

import bench_peers
from bench_augment import ROUNDING, UnequalWorkError, ours, peer, pictures, same_views, slack

SIDE = 24  # SimCLR's blur kernel has a side of 3 there


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Restore what a training process sets."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


@pytest.mark.parametrize("name", ["v1", "v2", "lightly", "kornia"])
def test_peers_make_the_same_views(name: str) -> None:
    if name == "kornia":
        pytest.importorskip("kornia", reason="kornia is not installed: `uv sync --group peers`")
    images = pictures(128, SIDE, 3)
    theirs, rounding = peer("simclr", images, 0, name), ROUNDING.get(name, 0.0)
    same_views(ours("simclr", images), theirs, slack("simclr"), rounding)


def test_other_views_are_noticed() -> None:
    images = pictures(128, SIDE, 3)
    mine = ours("simclr", images)
    with pytest.raises(UnequalWorkError, match="shape"):  # half of the images
        same_views(mine, peer("simclr", images[:64], 0, "v2"), 0.02)
    with pytest.raises(UnequalWorkError, match="shape"):  # one view of each
        same_views(mine, peer("flip-rotation", images, 0, "v2"), 0.02)
    with pytest.raises(UnequalWorkError, match="views from"):  # 0 to 255
        same_views(mine, [views * 255 for views in mine], 0.02)
    with pytest.raises(UnequalWorkError, match="float64"):
        same_views(mine, [views.double() for views in mine], 0.02)
    with pytest.raises(UnequalWorkError, match="mean"):
        same_views(mine, [views / 2 for views in mine], 0.02)
    with pytest.raises(UnequalWorkError, match="deviation"):  # no jitter, crop or blur
        same_views(mine, ours("flip-rotation", torch.cat([images, images])), 0.02)


@pytest.fixture
def trained() -> Any:
    return bench_peers.simclr_stage(images=16, threads=1, size=SIDE)


def test_an_epoch_of_lightly_does_equal_work_and_changes_the_loss(trained: Any) -> None:
    theirs = bench_peers.LightlySimCLR(trained, 0)
    bench_peers.same_loss(trained, theirs)
    sides = (trained.backbone, trained.head), (theirs.backbone, theirs.head)
    turns = bench_peers.Turns(trained._epoch, *sides, untimed=0)
    turns.begin()
    theirs.epoch()
    turns.end()
    assert turns.number == len(turns.seconds) == 1
    with pytest.raises(UnequalWorkError, match="losses"):  # other weights by now
        bench_peers.same_loss(trained, theirs)


def test_another_temperature_is_noticed(trained: Any) -> None:
    theirs = bench_peers.LightlySimCLR(trained, 0)
    theirs.criterion.temperature *= 2
    with pytest.raises(UnequalWorkError, match="losses"):
        bench_peers.same_loss(trained, theirs)


def test_networks_and_passes_that_differ_are_noticed() -> None:
    mine, theirs = nn.Linear(2, 2), nn.Linear(2, 2)
    with pytest.raises(UnequalWorkError, match="6 and 9 parameters"):
        bench_peers.Turns(print, [mine], [nn.Linear(2, 3)])

    turns = bench_peers.Turns(lambda _: mine(torch.zeros(8, 2)), [mine], [theirs])
    turns.begin()
    theirs(torch.zeros(8, 2))
    turns.end()
    turns.begin()
    theirs(torch.zeros(7, 2))
    with pytest.raises(UnequalWorkError, match=r"8.*7"):
        turns.end()
    turns.begin()
    theirs.eval()(torch.zeros(8, 2))
    with pytest.raises(UnequalWorkError, match="evaluation"):
        turns.end()
    turns.begin()
    with torch.no_grad():
        theirs.train()(torch.zeros(8, 2))
    with pytest.raises(UnequalWorkError, match="no gradients"):
        turns.end()


def test_other_labels_and_other_images_of_the_reference_are_noticed() -> None:
    how = {"images": 64, "threads": 1, "workers": 0, "pairs": 1}
    case = bench_peers.Reference("co-teaching", "none", 0.001, **how)
    images = torch.from_numpy(case.given.train_images).permute(0, 3, 1, 2).float() / 255
    labels, places = torch.from_numpy(case.given.noisy), torch.arange(64)
    case.same_batches([(images, labels, places)])
    with pytest.raises(UnequalWorkError, match="labels"):
        case.same_batches([(images, labels.roll(1), places)])
    with pytest.raises(UnequalWorkError, match="labels"):  # not all of the images
        case.same_batches([(images[:32], labels[:32], places[:32])])
    with pytest.raises(UnequalWorkError, match="mean"):
        case.same_batches([(images / 2, labels, places)])
