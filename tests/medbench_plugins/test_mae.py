"""The small vision transformer, and masked autoencoding with it."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from medbench.engine.pretraining import PretrainingInput, PretrainingStage
from medbench.errors import MedbenchError
from medbench.interfaces import ImageSpace, PatchNetwork
from medbench.interfaces.options import ComputeOptions, PretrainingOptions
from medbench_plugins.backbones.narrow import Narrow
from medbench_plugins.backbones.tiny_vit import Block, TinyViT, positions
from medbench_plugins.pretexts.jigsaw import Jigsaw
from medbench_plugins.pretexts.mae import MAE, patches, pick


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def vit(size=16, channels=1, **settings):
    torch.manual_seed(0)
    return TinyViT("vit", TinyViT.Settings(**{"width": 16, "depth": 2, **settings})).build(
        ImageSpace(channels, size)
    )


def stage(pretext, backbone, size=16, channels=1, epochs=1):
    rng = np.random.default_rng(0)
    given = PretrainingInput(
        images=rng.integers(0, 255, (9, size, size, channels), np.uint8),
        normalise="half",
        stage=PretrainingOptions(epochs=epochs, batch_size=8),
        compute=ComputeOptions(),
        network_seed=1,
        training_seed=2,
    )
    return PretrainingStage(given, backbone, pretext, "cpu")


# -- the transformer -------------------------------------------------------


def test_attention_is_torchs():
    torch.manual_seed(0)
    block, theirs = Block(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(block.inputs.weight)
        theirs.in_proj_bias.copy_(block.inputs.bias)
        theirs.out_proj.load_state_dict(block.outputs.state_dict())
    tokens = torch.randn(3, 5, 8)
    torch.testing.assert_close(block.attend(tokens), theirs(tokens, tokens, tokens)[0])


def test_positions_are_sines_and_cosines_of_row_and_column():
    found = positions(3, 5, 12)
    for row in range(3):
        for column in range(5):
            expected = []
            for place in (row, column):
                angles = [place / 10_000 ** (k / 3) for k in range(3)]
                expected += [*map(math.sin, angles), *map(math.cos, angles)]
            np.testing.assert_allclose(found[5 * row + column], expected, atol=1e-6)
    assert len(found.unique(dim=0)) == 15


@pytest.mark.parametrize(("size", "patch"), [(16, 2), (24, 3), (37, 4), (224, 28), (8, 1)])
def test_a_patch_is_an_eighth_of_the_side(size, patch):
    network, dim = vit(size)
    assert isinstance(network, PatchNetwork)
    assert network.patch == patch
    with torch.no_grad():
        assert network(torch.rand(2, 1, size, size)).shape == (2, dim) == (2, 16)
        assert network(torch.rand(2, 1, size // 3 + patch, size // 3 + patch)).shape == (2, 16)


def test_features_depend_on_places():
    network, _ = vit()
    images = torch.rand(1, 1, 16, 16, generator=generator())
    with torch.no_grad():
        assert not torch.allclose(network(images), network(images.flip(3)), atol=1e-4)


def test_tiles_below_a_patch_are_refused_in_one_line():
    jigsaw = Jigsaw("jigsaw", Jigsaw.Settings(permutations=10))
    backbone = TinyViT("tiny-vit", TinyViT.Settings(patch=16))
    with pytest.raises(MedbenchError, match=r"of 13 px are smaller than a patch of 16 px") as told:
        next(stage(jigsaw, backbone, size=48).epochs())
    assert "\n" not in str(told.value)


def test_heads_divide_the_width():
    for settings in ({"width": 18, "heads": 3}, {"width": 20, "heads": 3}):
        with pytest.raises(ValidationError, match="multiple"):
            TinyViT.Settings(**settings)


# -- masking ---------------------------------------------------------------


@pytest.mark.parametrize(("size", "side", "channels"), [(6, 2, 3), (9, 3, 1)])
def test_patches_are_cut_row_by_row_and_brought_to_mean_0_and_variance_1(size, side, channels):
    images = torch.rand(2, channels, size, size, generator=generator())
    across = size // side
    found = patches(images, across, side).numpy()
    assert found.shape == (2, across**2, channels * side**2)
    for row in range(across):
        for column in range(across):
            rows, columns = (slice(n * side, (n + 1) * side) for n in (row, column))
            own = images[1, :, rows, columns].double().numpy().ravel()
            own = (own - own.mean()) / np.sqrt(own.var(ddof=1) + 1e-6)
            np.testing.assert_allclose(found[1, across * row + column], own, atol=1e-4)


def test_the_loss_is_the_mean_over_hidden_patches_by_hand():
    mae = MAE("mae", MAE.Settings(width=8, heads=2))
    trained = stage(mae, TinyViT("vit", TinyViT.Settings(width=16, depth=1)))
    network, head = trained.backbone.backbone, trained.head
    images = torch.rand(3, 1, 16, 16, generator=generator(1))
    step = mae.loss(trained.backbone, head, images, generator(5))
    order = torch.rand((3, 64), generator=generator(5)).argsort(1)
    targets, total = patches(images, 8, 2), 0.0
    with torch.no_grad():
        tokens = network.embed((images - 0.5) / 0.5)
        for image in range(3):
            visible, hidden = order[image, :16], order[image, 16:]
            encoded = head.narrow(network.encode(tokens[image : image + 1, visible]))
            full = head.mask.expand(1, 64, -1).clone()
            full[0, visible] = encoded[0]
            drawn = head.draw(head.blocks(full + positions(8, 8, 8)))
            total += F.mse_loss(drawn[0, hidden], targets[image, hidden]).item() / 3
    assert step.loss.item() == pytest.approx(total, rel=1e-5)
    assert step.questions == 0


def test_hidden_patches_do_not_reach_the_network():
    mae = MAE("mae", MAE.Settings(width=8, heads=2))
    trained = stage(mae, TinyViT("vit", TinyViT.Settings(width=16, depth=1)))
    hidden = torch.rand((1, 64), generator=generator(5)).argsort(1)[0, 16:]
    images = torch.rand(1, 1, 16, 16, generator=generator(1)).requires_grad_()
    encoded = []
    network = trained.backbone.backbone
    network.norm.register_forward_hook(lambda *given: encoded.append(given[2]))
    mae.loss(trained.backbone, trained.head, images, generator(5))
    (gradient,) = torch.autograd.grad(encoded[0].square().sum(), images)
    touched = F.unfold(gradient, 2, stride=2)[0].abs().sum(0) > 0
    assert not touched[hidden].any()
    assert touched.sum() == 16


def test_images_that_are_no_whole_patches_are_resized_for_both():
    """Of an image that varies slowly, as many patches are drawn as there are tokens."""
    mae = MAE("mae", MAE.Settings(width=8, heads=2))
    trained = stage(mae, TinyViT("vit", TinyViT.Settings(width=16, depth=1, patch=4)), size=18)
    images = torch.rand(2, 1, 18, 18, generator=generator())
    assert trained.backbone.backbone.embed(images).shape[1] == 25
    assert mae.loss(trained.backbone, trained.head, images, generator()).loss.isfinite()
    assert patches(images, 5, 4).shape == (2, 25, 16)


@pytest.mark.parametrize(("count", "split"), [(64, [16, 48]), (4, [1, 3]), (2, [1, 1])])
def test_at_least_one_patch_is_visible_and_one_hidden(count, split):
    assert MAE("mae", MAE.Settings())._split(count) == split
    assert MAE("mae", MAE.Settings(mask=0.01))._split(2) == [1, 1]


def test_pick():
    tokens = torch.arange(12.0).view(2, 3, 2)
    found = pick(tokens, torch.tensor([[2, 0], [1, 1]]))
    assert found.tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


def test_other_backbones_are_refused_in_one_line():
    with pytest.raises(MedbenchError, match=r"pretext mae works on patches.*not the backbone narr"):
        stage(MAE("mae", MAE.Settings()), Narrow("narrow", Narrow.Settings()))


def test_it_learns_to_draw_what_can_be_guessed():
    """Stripes go on behind the mask."""
    stripes = ((torch.arange(16) + 1) % 4 < 2).float().expand(20, 1, 16, 16).clone()
    stripes[10:] = stripes[10:].transpose(2, 3).clone()
    mae = MAE("mae", MAE.Settings(width=32, heads=2))
    trained = stage(mae, TinyViT("vit", TinyViT.Settings(width=32, depth=1)))
    optimiser = torch.optim.Adam([*trained.backbone.parameters(), *trained.head.parameters()], 3e-3)
    for seed in range(120):
        step = mae.loss(trained.backbone, trained.head, stripes, generator(seed))
        optimiser.zero_grad()
        step.loss.backward()
        optimiser.step()
    # patches of four pixels that are all guessed as their mean have an error of 3/4
    assert step.loss < 0.4
