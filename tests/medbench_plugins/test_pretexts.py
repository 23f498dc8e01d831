"""Pretexts, held against loops, numpy and hand-made pictures."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from lightly.loss.ntx_ent_loss import NTXentLoss
from pydantic import ValidationError
from torch import nn

from medbench.engine.networks import build_backbone, load_weights, weights_of
from medbench.errors import MedbenchError
from medbench.interfaces import ImageSpace, PretextTask
from medbench_plugins.backbones.narrow import Narrow
from medbench_plugins.pretexts import PRETEXTS
from medbench_plugins.pretexts.answers import choose
from medbench_plugins.pretexts.barlow_twins import BarlowTwins
from medbench_plugins.pretexts.byol import BYOL
from medbench_plugins.pretexts.jigmag import JigMag
from medbench_plugins.pretexts.jigsaw import Jigsaw
from medbench_plugins.pretexts.lejepa import LeJEPA
from medbench_plugins.pretexts.moco import MoCo
from medbench_plugins.pretexts.none import NoPretext
from medbench_plugins.pretexts.permutations import distant_permutations
from medbench_plugins.pretexts.rotation import Rotation, four_rotations
from medbench_plugins.pretexts.simclr import SimCLR, nt_xent
from medbench_plugins.pretexts.two_views import partners_found
from medbench_plugins.pretexts.vae import VAE

#: Their heads have batch normalisation, so that they need two images.
NORMALISING = [BYOL, BarlowTwins, LeJEPA]
ASKING = [Rotation, Jigsaw, JigMag, SimCLR, MoCo, *NORMALISING]
TRAINED = [*ASKING, VAE]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(pretext, **settings):
    return pretext("it", pretext.Settings(**settings))


def start(pretext, backbone, channels, side, features=8, images=40):
    space = ImageSpace(channels, side)
    return pretext.start(
        PretextTask(backbone, features, space, images, steps=50, device=torch.device("cpu"))
    )


def trunk(channels, features=8):
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(channels, features, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


# -- all of them -----------------------------------------------------------


SEVERAL, ONE = [(5, 3, 32), (5, 1, 37)], [(1, 3, 37), (1, 1, 32), (1, 3, 224)]


@pytest.mark.parametrize(
    ("pretext", "batch", "channels", "side"),
    [
        (pretext, *shape)
        for pretext in TRAINED
        # batch normalisation needs more than one image
        for shape in (SEVERAL if pretext in NORMALISING else SEVERAL + ONE)
    ],
)
def test_step(pretext, batch, channels, side):
    backbone, outcomes = trunk(channels), []
    images = torch.rand(batch, channels, side, side, generator=generator(1))
    untouched = images.clone()
    for seed in (6, 5, 5):  # a momentum encoder and a queue change from step to step
        torch.manual_seed(3)
        task = make(pretext)
        head = start(task, backbone, channels, side)
        before = torch.get_rng_state()
        outcomes.append(task.loss(backbone, head, images, generator(seed)))
        assert torch.equal(torch.get_rng_state(), before)
    other, again, step = outcomes
    assert torch.equal(step.loss, again.loss)
    assert torch.equal(step.correct, again.correct)
    if batch > 1:
        assert not torch.equal(step.loss, other.loss)
    assert torch.equal(images, untouched)
    assert step.loss.shape == step.correct.shape == ()
    assert step.loss.dtype == torch.float32
    assert 0 <= step.correct <= step.questions
    step.loss.backward()
    gradient = backbone[0].weight.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    if pretext is SimCLR and batch == 1:
        assert step.loss == 0
        assert gradient.abs().max() == 0
    else:
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("pretext", ASKING)
def test_random_guessing_scores_chance(pretext):
    """A backbone that sees nothing answers as often rightly as ``chance`` says."""
    task, batch = make(pretext), 12
    noise = generator(9)
    backbone = type("Blind", (nn.Module,), {})()
    backbone.forward = lambda images: torch.randn(len(images), 4, generator=noise)
    head = start(task, backbone, 1, 32, features=4)
    correct = questions = 0
    for seed in range(150):
        with torch.no_grad():
            step = task.loss(backbone, head, torch.rand(batch, 1, 32, 32), generator(seed))
        correct, questions = correct + int(step.correct), questions + step.questions
    chance = task.chance(batch)
    assert abs(correct / questions - chance) < 5 * math.sqrt(chance * (1 - chance) / questions)


@pytest.mark.parametrize("pretext", TRAINED)
def test_bfloat16_networks(pretext):
    backbone, losses = trunk(3), []
    images = torch.rand(16, 3, 32, 32, generator=generator(1))
    for half in (False, True):
        torch.manual_seed(3)
        task = make(pretext)
        head = start(task, backbone, 3, 32)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            losses.append(task.loss(backbone, head, images, generator(2)).loss)
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(losses[1], losses[0], rtol=0.05, atol=0.03)


def test_plugins_announce_themselves_without_torch():
    code = (
        "import sys, medbench_plugins.pretexts as p, medbench_plugins.pretexts.settings as s;"
        "sys.exit('torch' in sys.modules or any(not hasattr(s, x.settings.split(':')[1])"
        " for x in p.PRETEXTS))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert {plugin.name for plugin in PRETEXTS} >= {"none", "rotation", "simclr", "byol", "vae"}


def test_none_trains_nothing():
    task = make(NoPretext)
    assert not task.settings.trains
    assert all(make(pretext).settings.trains for pretext in TRAINED)
    assert task.chance(8) == 0
    with pytest.raises(NotImplementedError, match="trains"):
        task.loss(nn.Identity(), task.make_head(3, ImageSpace(1, 32)), torch.rand(1), generator())


def test_choose_is_mean_cross_entropy():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.5]])
    step = choose(logits, torch.tensor([2, 1]))
    p = np.exp(logits.double().numpy())
    p /= p.sum(1, keepdims=True)
    assert step.loss.item() == pytest.approx(-(np.log(p[0, 2]) + np.log(p[1, 1])) / 2, abs=1e-6)
    assert step.correct == 1
    assert step.questions == 2


# -- rotation --------------------------------------------------------------


def test_rotations_are_exact():
    images = torch.rand(3, 2, 7, 7, generator=generator())
    turned = four_rotations(images).numpy()
    for quarter in range(4):
        for index in range(3):
            expected = np.rot90(images[index].numpy(), quarter, axes=(1, 2))
            np.testing.assert_array_equal(turned[3 * quarter + index], expected)


def test_rotation_poses_all_four_of_each_image_with_the_right_answer():
    task = make(Rotation, horizontal_flip=False, translate=0)
    images = torch.zeros(5, 1, 32, 32)
    images[:, :, :4] = 1  # bright on top: the edge tells the rotation

    def sees_the_edge(tiles):  # top, left, bottom, right
        edges = [tiles[..., :4, :], tiles[..., :4], tiles[..., -4:, :], tiles[..., -4:]]
        return torch.stack([edge.mean((1, 2, 3)) for edge in edges], 1) * 100

    step = task.loss(sees_the_edge, nn.Identity(), images, generator())
    assert step.correct == step.questions == 20
    assert step.loss < 1e-6


def test_rotation_learns():
    """On pictures with an up and a down, a tiny network gets well above one in four."""
    rows = torch.linspace(0, 1, 16)[:, None]
    rng = generator(4)
    images = (
        rows * torch.rand(200, 1, 1, 1, generator=rng)
        + 0.5 * torch.rand(200, 1, 16, 16, generator=rng)
    ).clamp(0, 1)
    task, backbone = make(Rotation), trunk(1, 16)
    backbone[2] = nn.AdaptiveAvgPool2d(2)
    head = task.make_head(64, ImageSpace(1, 16))
    optimiser = torch.optim.Adam([*backbone.parameters(), *head.parameters()], 1e-2)
    for epoch in range(8):
        correct = questions = 0
        for batch in images.split(50):
            step = task.loss(backbone, head, batch, rng)
            optimiser.zero_grad()
            step.loss.backward()
            optimiser.step()
            correct, questions = correct + int(step.correct), questions + step.questions
        if epoch == 0:
            first = correct / questions
    assert correct / questions > max(0.6, first)


# -- permutations ----------------------------------------------------------


def least_distance(permutations):
    return min(
        sum(a != b for a, b in zip(one, other, strict=True))
        for one, other in itertools.combinations(permutations, 2)
    )


@pytest.mark.parametrize(
    ("items", "count", "least"), [(9, 24, 7), (9, 100, 6), (4, 24, 2), (16, 30, 13)]
)
def test_upstream_fault_permutations_that_differ_in_two_or_three_places(items, count, least):
    chosen = distant_permutations(items, count)
    assert len(set(chosen)) == count
    assert all(sorted(permutation) == list(range(items)) for permutation in chosen)
    assert least_distance(chosen) >= least


def test_permutations_are_greedy_on_the_least_distance_then_the_mean():
    chosen = distant_permutations(4, 8)
    for step in range(1, 8):
        distances = {
            candidate: [
                sum(a != b for a, b in zip(candidate, c, strict=True)) for c in chosen[:step]
            ]
            for candidate in itertools.permutations(range(4))
        }
        best = max((min(d), sum(d)) for d in distances.values())
        taken = distances[chosen[step]]
        assert (min(taken), sum(taken)) == best


def test_permutations_do_not_depend_on_the_process():
    here = distant_permutations(9, 6)
    code = (
        "from medbench_plugins.pretexts.permutations import distant_permutations as d;"
        "print(d(9, 6))"
    )
    there = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert there.stdout.strip() == str(here)
    assert distant_permutations(9, 12)[:6] == here


def test_more_permutations_than_there_are():
    with pytest.raises(MedbenchError, match="24 orders"):
        distant_permutations(4, 25)
    with pytest.raises(ValidationError, match="24 orders"):
        Jigsaw.Settings(grid=2)


# -- jigsaw ----------------------------------------------------------------


def coordinates(side):
    """Images whose first channel is the row, the second the column, of each pixel."""
    line = torch.arange(float(side)) / side
    grid = torch.stack([line[:, None].expand(side, side), line.expand(side, side)])
    return torch.cat([grid, grid[:1]])[None]


@pytest.mark.parametrize(("side", "grid"), [(32, 3), (37, 3), (224, 3), (32, 2), (64, 4)])
def test_tiles_stay_in_their_cells_and_never_touch(side, grid, monkeypatch):
    monkeypatch.setattr(
        "medbench_plugins.pretexts.jigsaw._match_statistics", lambda tiles, _: tiles
    )
    task = make(Jigsaw, grid=grid, permutations=20, grey=0, channel_shift=2)
    batch = 40
    cells = torch.stack([torch.randperm(grid**2, generator=generator(s)) for s in range(batch)])
    tiles = task.cut(coordinates(side).expand(batch, -1, -1, -1), cells, generator())
    pixels = (tiles * side).round().int()
    cell = side // grid
    margin = (side - cell * grid) // 2
    for channel, number in ((0, cells // grid), (1, cells % grid), (2, cells // grid)):
        first, last = pixels[:, :, channel].amin((2, 3)), pixels[:, :, channel].amax((2, 3))
        assert (first >= margin + number * cell).all()
        assert (last <= margin + (number + 1) * cell - 2).all()  # a free pixel before the next
        assert len((first - number * cell).unique()) > 1  # the place is random
        assert (last - first == tiles.shape[-1] - 1).all()
    assert (pixels[:, :, 0] != pixels[:, :, 2]).any()  # channels slip


def test_jigsaw_order_is_the_answer():
    """With a flat tint for each cell, the tints of the tiles spell the permutation."""
    task = make(Jigsaw, grey=0)
    tints = torch.linspace(0.1, 0.9, 9)
    image = tints.view(3, 3).repeat_interleave(11, 0).repeat_interleave(11, 1)
    images = image.expand(30, 1, -1, -1)
    orders = distant_permutations(9, 100)
    rng = generator()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medbench_plugins.pretexts.jigsaw._match_statistics", lambda tiles, _: tiles)
        tiles, answers = task.puzzles(images, rng)
    seen = tiles.mean((2, 3, 4))
    for row, answer in zip(seen, answers.tolist(), strict=True):
        assert torch.allclose(row, tints[list(orders[answer])], atol=1e-5)
    assert len(answers.unique()) > 10


def test_tiles_share_mean_and_deviation_with_the_batch():
    task = make(Jigsaw, grey=0)
    images = torch.rand(6, 3, 36, 36, generator=generator()) ** 2 * torch.linspace(0.2, 1, 36)
    tiles, _ = task.puzzles(images, generator())
    expected = images.transpose(0, 1).flatten(1)
    mean, std = tiles.mean((3, 4)), tiles.std((3, 4), correction=0)
    torch.testing.assert_close(mean, expected.mean(1).expand_as(mean), atol=1e-4, rtol=0)
    torch.testing.assert_close(std, expected.std(1, correction=0).expand_as(std), atol=1e-4, rtol=0)


def test_flat_background_is_not_blown_up():
    images = torch.full((4, 1, 32, 32), 0.2)
    images[:2] = torch.rand(2, 1, 32, 32, generator=generator())
    images[2:] += 1e-4 * torch.rand(2, 1, 32, 32, generator=generator())
    tiles, _ = make(Jigsaw).puzzles(images, generator())
    assert tiles.isfinite().all()
    assert tiles[2:].std((3, 4)).max() < 0.01


def test_jigsaw_permuting_images_permutes_tiles():
    task = make(Jigsaw, tile_share=1.0, gap=0, channel_shift=0)  # nothing left to draw
    images, order = torch.rand(4, 3, 30, 30, generator=generator()), torch.tensor([2, 0, 3, 1])
    cells = torch.tensor(distant_permutations(9, 4))
    tiles = task.cut(images, cells, generator())
    permuted = task.cut(images[order], cells[order], generator())
    torch.testing.assert_close(permuted, tiles[order], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("settings", "side"), [({"tile_size": 16}, 32), ({"tile_size": 20}, 224)])
def test_tile_size(settings, side):
    tiles, _ = make(Jigsaw, **settings).puzzles(torch.rand(2, 3, side, side), generator())
    assert tiles.shape == (2, 9, 3, settings["tile_size"], settings["tile_size"])


def test_default_tiles():
    tiles, _ = make(Jigsaw).puzzles(torch.rand(2, 1, 32, 32), generator())
    assert tiles.shape == (2, 9, 1, 8, 8)
    tiles, _ = make(Jigsaw).puzzles(torch.rand(1, 1, 224, 224), generator())
    assert tiles.shape == (1, 9, 1, 63, 63)


@pytest.mark.parametrize(("pretext", "side"), [(Jigsaw, 12), (JigMag, 7)])
def test_images_too_small(pretext, side):
    with pytest.raises(MedbenchError, match="use larger images"):
        make(pretext).make_head(8, ImageSpace(1, side))


# -- jigmag ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "ladder", "tile"),
    [
        (48, (1.0, 1.25, 1.5, 2.0), 24),
        (64, (1.0, 1.25, 1.5, 2.0), 32),
        (96, (1.0, 2.0, 3.0, 4.0), 24),
    ],
)
def test_jigmag_order_is_the_answer(side, ladder, tile):
    """On a ramp the slope of a tile is one over its magnification."""
    task = make(JigMag)
    images = coordinates(side).expand(50, -1, -1, -1)
    tiles, answers = task.puzzles(images, generator())
    assert tiles.shape == (50, 4, 3, tile, tile)
    near, far = tile // 3, 2 * tile // 3
    slope = (tiles[:, :, 1, :, far] - tiles[:, :, 1, :, near]).mean(2) / (far - near) * tile
    orders = list(itertools.permutations(range(4)))
    for row, answer in zip(slope, answers.tolist(), strict=True):
        expected = torch.tensor([1 / ladder[place] for place in orders[answer]])
        torch.testing.assert_close(row, expected, atol=0.02, rtol=0)
    assert len(answers.unique()) > 15
    assert task.chance(8) == pytest.approx(1 / 24)


def test_jigmag_crops():
    images = coordinates(64).expand(30, -1, -1, -1)
    centre, _ = make(JigMag).puzzles(images, generator())
    middle = centre.mean((3, 4))[:, :, :2]
    torch.testing.assert_close(middle, torch.full_like(middle, 31.5 / 64), atol=1e-3, rtol=0)
    task = make(JigMag, **{**JigMag.Settings.presets["random-crops"], "magnifications": (1, 4)})
    random, answers = task.puzzles(images, generator())
    assert random.shape[-1] == 16
    magnified = random[torch.arange(30), 1 - answers]  # order (0, 1) is answer 0
    assert magnified.mean((2, 3))[:, 0].std() > 0.1
    assert magnified.amin() >= 0


def test_jigmag_refuses_equal_magnifications():
    for values in ((2, 2), (0.5, 1)):
        with pytest.raises(ValidationError, match="different numbers"):
            JigMag.Settings(magnifications=values)


@pytest.mark.parametrize("channels", [1, 3])
def test_upstream_fault_tiles_joined_as_channels_and_the_first_layer_lost(channels):
    """What JigMag pretrains is a network for images, its first layer included."""
    space = ImageSpace(channels, 32)
    backbone, features = build_backbone(Narrow("n", Narrow.Settings()), space, (0.5,), (0.3,), 0)
    task = make(JigMag)
    head = task.make_head(features, space)
    seen = []
    backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    before = backbone.backbone.stem.weight.detach().clone()
    images = torch.rand(6, channels, 32, 32, generator=generator())
    optimiser = torch.optim.SGD(backbone.parameters(), 0.1)
    task.loss(backbone, head, images, generator(1)).loss.backward()
    optimiser.step()
    assert seen == [(6 * 4, channels, 16, 16)]  # every tile by itself
    assert not torch.equal(backbone.backbone.stem.weight, before)

    # another network takes all of it over, and sees whole images with it
    fresh, _ = build_backbone(Narrow("n", Narrow.Settings()), space, (0.5,), (0.3,), 1)
    load_weights(fresh, weights_of(backbone))
    assert torch.equal(fresh.backbone.stem.weight, backbone.backbone.stem.weight)
    assert torch.equal(fresh.eval()(images), backbone.eval()(images))


# -- simclr ----------------------------------------------------------------


def slow_nt_xent(projections, temperature):
    z = projections.double().numpy()
    pairs = len(z) // 2
    loss = correct = 0
    for i in range(2 * pairs):
        partner = (i + pairs) % (2 * pairs)
        similarity = {
            k: z[i] @ z[k] / np.linalg.norm(z[i]) / np.linalg.norm(z[k])
            for k in range(2 * pairs)
            if k != i
        }
        total = sum(math.exp(s / temperature) for s in similarity.values())
        loss -= math.log(math.exp(similarity[partner] / temperature) / total)
        correct += max(similarity, key=similarity.__getitem__) == partner
    return loss / (2 * pairs), correct


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
@pytest.mark.parametrize("pairs", [2, 7])
def test_nt_xent_is_the_double_loop(pairs, temperature):
    z = torch.randn(2 * pairs, 5, generator=generator())
    z[pairs:] = z[:pairs] + 0.8 * z[pairs:]
    loss, correct = nt_xent(z, temperature), partners_found(z)
    expected, right = slow_nt_xent(z, temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert correct == right
    order = torch.randperm(pairs, generator=generator())
    shuffled = nt_xent(torch.cat([z[order], z[order + pairs]]), temperature)
    assert shuffled.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 0.5])
@pytest.mark.parametrize("pairs", [2, 16])
def test_nt_xent_and_its_gradient_are_lightlys(pairs, temperature):
    z = torch.randn(2 * pairs, 8, generator=generator(4))
    ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
    loss = nt_xent(ours, temperature)
    loss.backward()
    expected = NTXentLoss(temperature=temperature)(theirs[:pairs], theirs[pairs:])
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_nt_xent_in_bfloat16_is_computed_in_float32():
    z = torch.randn(16, 32, generator=generator()).bfloat16()
    task = make(SimCLR, temperature=0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = task.loss(lambda views: z, nn.Identity(), torch.rand(8, 1, 9, 9), generator())
    assert step.loss.dtype == torch.float32
    assert step.loss.item() == pytest.approx(slow_nt_xent(z.float(), 0.07)[0], rel=1e-5)


def test_nt_xent_gradient():
    z = torch.randn(6, 3, dtype=torch.float32, generator=generator()).requires_grad_()
    nt_xent(z, 0.5).backward()
    for i, j in ((0, 0), (4, 2)):
        step = torch.zeros(6, 3, dtype=torch.float64)
        step[i, j] = 1e-5
        up, down = (slow_nt_xent(z.detach().double() + sign * step, 0.5)[0] for sign in (1, -1))
        assert z.grad[i, j].item() == pytest.approx((up - down) / 2e-5, rel=1e-3, abs=1e-5)


def test_a_single_pair_has_no_loss():
    z = torch.randn(2, 4, generator=generator()).requires_grad_()
    loss = nt_xent(z, 0.07)
    loss.backward()
    assert loss == 0
    assert partners_found(z) == 2
    assert torch.equal(z.grad, torch.zeros_like(z))
    assert make(SimCLR).chance(1) == 1


def test_partners_are_views_of_the_same_image():
    task = make(SimCLR, views={"crop_scale_min": 0.9, "jitter": 0, "grey": 0, "blur": 0})
    images = torch.linspace(0.1, 0.9, 6).view(6, 1, 1, 1).expand(6, 1, 24, 24)

    def angle(views):  # the tint as a direction
        tint = views.mean((1, 2, 3)) * math.pi
        return torch.stack([tint.cos(), tint.sin()], 1)

    step = task.loss(angle, nn.Identity(), images, generator())
    assert step.correct == step.questions == 12
