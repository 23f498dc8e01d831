"""Backbones: features of the promised shape from images and tiles, trained from scratch."""

import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torchvision import models

from medbench.errors import MedbenchError
from medbench.interfaces import ImageSpace, PatchNetwork
from medbench_plugins.backbones import BACKBONES
from medbench_plugins.backbones.narrow import HalvingConvolution, Narrow
from medbench_plugins.backbones.tiny_vit import TinyViT
from medbench_plugins.backbones.torchvision import TorchvisionBackbone

DIMS = {
    "narrow": 64,
    "tiny-vit": 64,
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "resnet101": 2048,
    "densenet121": 1024,
    "efficientnet_b0": 1280,
    "mobilenet_v3_small": 1024,
    "convnext_tiny": 768,
    "vit_b_16": 768,
    "swin_t": 768,
}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def build(name, channels, size, **settings):
    plugin = next(plugin for plugin in BACKBONES if plugin.name == name)
    kind = {"narrow": Narrow, "tiny-vit": TinyViT}.get(name, TorchvisionBackbone)
    backbone = kind(name, kind.Settings(**plugin.defaults | settings))
    torch.manual_seed(0)
    return backbone.build(ImageSpace(channels, size))


def first_convolution(network):
    return next(module for module in network.modules() if isinstance(module, nn.Conv2d))


def test_all_are_announced_without_torch():
    assert {plugin.name for plugin in BACKBONES} == {
        *DIMS, "timm", "narrow-dropout", "resnet18-dropout",
    }  # fmt: skip
    code = (
        "import sys, medbench_plugins.backbones as p, medbench_plugins.backbones.settings as s;"
        "sys.exit('torch' in sys.modules or any(not hasattr(s, x.settings.split(':')[1])"
        " for x in p.BACKBONES))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "channels"), [(name, 1 + 2 * (i % 2)) for i, name in enumerate(DIMS)]
)
def test_images_and_tiles_give_features(name, channels):
    network, dim = build(name, channels, 32)
    assert dim == DIMS[name]
    for side in (32, 8):
        network.eval()
        with torch.no_grad():
            assert network(torch.rand(1, channels, side, side)).shape == (1, dim)
        network.train()
        # a tile ends as one pixel: normalised over two images alone, a hundred layers overflow
        features = network(torch.rand(8, channels, side, side))
        assert features.shape == (8, dim)
        network.zero_grad()
        (features * torch.randn(8, dim)).sum().backward()
        first = first_convolution(network)
        assert first.in_channels == channels
        assert first.weight.grad.isfinite().all()
        assert first.weight.grad.abs().max() > 0
    used = [p for p in network.parameters() if p.grad is not None]
    assert len(used) == len(list(network.parameters()))  # nothing of the classifier is left


@pytest.mark.parametrize("name", ["narrow", "resnet18"])
def test_same_seed_same_network(name):
    one, other = build(name, 3, 32)[0], build(name, 3, 32)[0]
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_features_are_what_torchvisions_classifier_sees():
    network, _ = build("resnet18", 3, 64)
    torch.manual_seed(0)
    whole = models.resnet18(weights=None)
    images = torch.rand(2, 3, 64, 64)
    network.eval()
    whole.eval()
    with torch.no_grad():
        torch.testing.assert_close(whole.fc(network(images)), whole(images))


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16"])
def test_grey_images_start_as_if_repeated_in_all_channels(name):
    grey, colour = build(name, 1, 32)[0].eval(), build(name, 3, 32)[0].eval()
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            grey(images), colour(images.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-3
        )


def test_small_stem_keeps_the_resolution():
    network, dim = build("resnet18", 1, 32, stem="small")
    first = first_convolution(network)
    assert (first.kernel_size, first.stride, first.in_channels) == ((3, 3), (1, 1), 1)
    assert dim == 512
    seen = []
    network.network.layer4.register_forward_hook(lambda *args: seen.append(args[2].shape))
    network(torch.rand(2, 1, 32, 32))
    assert seen[0][-2:] == (4, 4)


def test_what_cannot_be_is_refused():
    with pytest.raises(MedbenchError, match=r"densenet121 has none"):
        build("densenet121", 3, 32, stem="small")
    unknown = TorchvisionBackbone("it", TorchvisionBackbone.Settings(architecture="resnet19"))
    with pytest.raises(MedbenchError, match="no network 'resnet19'"):
        unknown.build(ImageSpace(3, 32))
    with pytest.raises(ValidationError):
        Narrow.Settings(stem_kernel=4)


def test_vision_transformer_takes_sides_that_are_no_whole_patches():
    network, dim = build("vit_b_16", 3, 40)
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 3, 40, 40)).shape == (1, dim)


def test_vision_transformer_offers_its_patches():
    network, dim = build("vit_b_16", 1, 40)
    network.eval()
    assert isinstance(network, PatchNetwork)
    assert network.patch == 16
    assert len(network.layers) == 13
    seen = []
    network.network.encoder.register_forward_hook(lambda *given: seen.append(given[2]))
    images = torch.rand(1, 1, 40, 40)
    with torch.no_grad():
        network(images)
        tokens = network.embed(images)
        torch.testing.assert_close(network.encode(tokens), seen[0][:, 1:], atol=1e-4, rtol=1e-4)
        assert network.encode(tokens[:, 2:5]).shape == (1, 3, dim)
    assert not isinstance(build("swin_t", 3, 32)[0], PatchNetwork)


@pytest.mark.parametrize("side", [4, 8, 31, 64])
def test_narrow_takes_any_side_and_layout(side):
    network, dim = build("narrow", 3, 32, width=8)
    network.eval()
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        features = network(images)
        assert features.shape == (2, dim) == (2, 32)
        last = network(images.contiguous(memory_format=torch.channels_last))
        assert torch.equal(features, last)
        torch.testing.assert_close(network(images.flip(0)), features.flip(0))


def test_narrow_learns():
    """Stripes along against stripes across, in noise."""
    rng = torch.Generator().manual_seed(1)
    stripes = (torch.arange(16) % 4 < 2).float()
    images = 0.5 * torch.rand(64, 1, 16, 16, generator=rng)
    images[:32] += 0.3 * stripes
    images[32:] += 0.3 * stripes[:, None]
    labels = torch.arange(64) // 32
    network, dim = build("narrow", 1, 16, width=8)
    classifier = nn.Sequential(network, nn.Linear(dim, 2))
    optimiser = torch.optim.SGD(classifier.parameters(), 0.05, momentum=0.9)
    for _ in range(15):
        loss = nn.functional.cross_entropy(classifier(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1
    assert (classifier.eval()(images).argmax(1) == labels).float().mean() > 0.95


@pytest.mark.parametrize("side", [2, 4, 7, 14, 16])
@pytest.mark.parametrize("channels", [8, 12, 16])
def test_halving_is_a_convolution_of_stride_two_bit_for_bit(channels, side) -> None:
    torch.manual_seed(0)
    ours = HalvingConvolution(channels, 2 * channels, 1, 2, bias=False)
    plain = nn.Conv2d(channels, 2 * channels, 1, 2, bias=False)
    plain.load_state_dict(ours.state_dict())
    maps = torch.randn(6, channels, side, side).contiguous(memory_format=torch.channels_last)
    slopes = torch.randn(6, 2 * channels, (side + 1) // 2, (side + 1) // 2)
    found = []
    for layer in (ours, plain):
        layer.to(memory_format=torch.channels_last)
        given = maps.clone().requires_grad_()
        layer(given).backward(slopes)
        found.append((layer(maps), given.grad, layer.weight.grad))
    assert all(map(torch.equal, *found))


def test_few_channels_at_a_large_size_end_no_process() -> None:
    code = """
import torch
from medbench.interfaces import ImageSpace
from medbench_plugins.backbones.narrow import Narrow
torch.set_num_threads(1)
network, _ = Narrow("narrow", Narrow.Settings(width=8)).build(ImageSpace(3, 224))
for _ in range(3):
    network(torch.rand(16, 3, 224, 224)).sum().backward()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
