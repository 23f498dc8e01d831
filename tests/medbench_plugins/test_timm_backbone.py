"""timm's networks as backbones."""

import sys

import pytest
import timm
import torch
from torch import nn

from medbench.engine.networks import seeded_construction
from medbench.engine.optimisation import ScheduledOptimiser
from medbench.errors import MedbenchError
from medbench.interfaces import ImageSpace, OptimiserSettings, PatchNetwork, PretextTask
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import discover
from medbench_plugins.backbones.timm_networks import TimmBackbone
from medbench_plugins.pretexts.checkpoint import resampled
from medbench_plugins.pretexts.mae import MAE


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def build(architecture, size, channels=3):
    backbone = TimmBackbone("it", TimmBackbone.Settings(architecture=architecture))
    with seeded_construction(0, "backbone"):
        return backbone.build(ImageSpace(channels, size))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_efficientnet", "test_convnext"])
def test_images_and_tiles_give_features(name, channels):
    network, dim = build(name, 48, channels)
    network.eval()
    for side in (48, 37, 16):
        with torch.no_grad():
            assert network(torch.rand(2, channels, side, side)).shape == (2, dim)


def test_a_vision_transformer_offers_its_patches():
    network, dim = build("test_vit", 50)
    network.eval()
    assert isinstance(network, PatchNetwork)
    assert network.patch == 16
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        tokens = network.embed(images)
        assert tokens.shape == (2, 16, dim)
        whole = network.network.forward_features(images)[:, 1:]
        torch.testing.assert_close(network.encode(tokens), whole, atol=1e-4, rtol=1e-4)
        assert network.encode(tokens[:, :3]).shape == (2, 3, dim)
    assert not isinstance(build("test_resnet", 48)[0], PatchNetwork)
    optimiser = ScheduledOptimiser((network,), OptimiserSettings(), 1, layer_decay=0.5)
    assert {g["layer_scale"] for g in optimiser.optimiser.param_groups} >= {0.5, 1.0}


def test_patches_can_be_masked():
    class Whole(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.backbone = network

        def normalised(self, images):
            return images

    network, dim = build("test_vit", 50)
    backbone, mae = Whole(network), MAE("mae", MAE.Settings(width=8, heads=2))
    task = PretextTask(backbone, dim, ImageSpace(3, 50), 4, 10, torch.device("cpu"))
    images = torch.rand(4, 3, 50, 50)
    step = mae.loss(backbone, mae.start(task), images, torch.Generator().manual_seed(0))
    step.loss.backward()
    assert network.network.patch_embed.proj.weight.grad.abs().max() > 0


def test_any_name_is_a_member_of_the_family():
    registry, kind = discover(), kind_named("backbone")
    entry = registry.get(kind, "timm:vit_small_patch16_224")
    made = entry.create("timm:vit_small_patch16_224", entry.plugin.defaults)
    assert made.settings.architecture == "vit_small_patch16_224"
    assert registry.find(kind, "narrow:4") is None


def test_what_cannot_be_built_is_refused_in_one_line():
    for name, words in (("no_such_net", "has no network 'no_such_net'"), (None, "timm:NAME")):
        with pytest.raises(MedbenchError, match=words) as caught:
            build(name, 32)
        assert "\n" not in str(caught.value)


def test_without_timm_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MedbenchError, match=r"needs timm; run: .*pip install 'timm>=1\.0\.20'$"):
        build("test_resnet", 32)


def test_learned_positions_are_resampled_as_by_timm():
    positions = torch.randn((1, 17, 6), generator=torch.Generator().manual_seed(0))
    expected = timm.layers.resample_abs_pos_embed(positions, (7, 7), num_prefix_tokens=1)
    torch.testing.assert_close(resampled(positions, 50), expected, atol=1e-5, rtol=1e-5)
    assert resampled(positions, 17).equal(positions)
    assert resampled(positions, 18).equal(positions)  # no square: left to the check of shapes
