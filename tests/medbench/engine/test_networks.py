"""Networks: initial weights from named streams, normalisation, weights there and back."""

import numpy as np
import pytest
import torch
from torch import nn

from medbench.engine.networks import (
    Classifier,
    NormalisedBackbone,
    build_backbone,
    first_layer,
    load_weights,
    normalisation,
    seeded_construction,
    weights_of,
)
from medbench.engine.streams import derive_seed
from medbench.engine.training import TrainingHarness, TrainingInput
from medbench.interfaces import Backbone, ImageSpace
from medbench.interfaces.options import ComputeOptions, TrainingOptions
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import discover

SPACE = ImageSpace(channels=3, size=32)
HALF = ((0.5,) * 3, (0.5,) * 3)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def backbone(name="narrow", **settings):
    settings = settings or ({"width": 8} if name == "narrow" else {})
    return discover().get(kind_named("backbone"), name).create(name, settings)


def built(root, *axes, plugin=None):
    return build_backbone(plugin or backbone(), SPACE, *HALF, root, *axes)[0]


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    assert list(first) == list(second)
    return all(torch.equal(first[name], second[name]) for name in first)


def harness(weights=None, network_seed=5, training_seed=0, compute=None):
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    labels = np.zeros(6, np.int64)
    given = TrainingInput(
        images, labels, images, labels, images, 4, "dataset", TrainingOptions(),
        compute or ComputeOptions(), 8, network_seed, training_seed, weights,
    )  # fmt: skip
    return TrainingHarness(given, backbone(), None, torch.device("cpu"))


# ---------------------------------------------------------------- initial weights


def test_equal_seeds_give_equal_weights_and_others_differ() -> None:
    assert same(built(1, 0), built(1, 0))
    assert not same(built(1, 0), built(2, 0))
    assert not same(built(1, 0), built(1, 1))


def test_initial_weights_do_not_depend_on_what_was_drawn_before() -> None:
    first = built(1, 0)
    torch.rand(17)
    built(9)
    assert same(first, built(1, 0))


@pytest.mark.parametrize("name", ["narrow", "resnet18"])
def test_building_leaves_the_global_generator_alone(name) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    built(1, plugin=backbone(name))
    assert torch.equal(torch.get_rng_state(), before)
    harness().make_network(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_failing_constructor_leaves_the_global_generator_alone() -> None:
    class Torn(Backbone):
        def build(self, space):
            torch.rand(100)
            raise RuntimeError("torn")

    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="torn"):
        built(1, plugin=Torn("torn", None))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seeded_construction_is_that_of_torch_at_the_streams_seed() -> None:
    with seeded_construction(4, "head", 1):
        found = nn.Linear(3, 2)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(4, "head", 1))
        expected = nn.Linear(3, 2)
    assert same(found, expected)


def test_networks_of_one_index_are_equal_for_all_methods() -> None:
    # methods have training seeds of their own; the network seed is the block's
    first = harness(training_seed=1).make_network(0)
    assert same(first, harness(training_seed=2).make_network(0))
    assert not same(first, harness(network_seed=6).make_network(0))


def test_networks_of_two_indices_differ_in_backbone_and_head() -> None:
    factory = harness()
    second, first = factory.make_network(1), factory.make_network(0)  # in either order
    assert same(first, harness().make_network(0))
    assert not same(first.backbone, second.backbone)
    assert not torch.equal(first.head.weight, second.head.weight)


def test_pretrained_networks_share_weights_and_differ_in_their_heads() -> None:
    pretrained = weights_of(built(77))
    first, second = (harness(weights=pretrained).make_network(index) for index in (0, 1))
    for network in (first, second):
        found = weights_of(network.backbone)
        assert all(np.array_equal(found[name], pretrained[name]) for name in pretrained)
    assert not torch.equal(first.head.weight, second.head.weight)
    fresh = harness().make_network(0)
    assert torch.equal(first.head.weight, fresh.head.weight)
    assert not same(first.backbone, fresh.backbone)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_network_maps_images_to_logits(channels_last) -> None:
    network = harness(compute=ComputeOptions(channels_last=channels_last)).make_network(0)
    assert network(torch.rand(5, 3, 32, 32)).shape == (5, 4)
    wide = next(p for p in network.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1)
    assert wide.is_contiguous(memory_format=torch.channels_last) is channels_last


def test_the_layout_does_not_change_the_weights() -> None:
    plain = harness().make_network(0)
    assert same(plain, harness(compute=ComputeOptions(channels_last=True)).make_network(0))


# ---------------------------------------------------------------- normalisation


def test_the_datasets_mean_and_deviation_are_numpys() -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 7, 5, 3), np.uint8)
    images[..., 1] //= 3
    mean, deviation = normalisation("dataset", images)
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(deviation, scaled.std(axis=(0, 1, 2)), rtol=1e-12)
    assert normalisation("dataset", images[::-1, ::-1]) == (mean, deviation)  # bit for bit


@pytest.mark.parametrize("channels", [1, 3])
def test_sums_of_many_bright_pixels_are_exact(channels: int) -> None:
    # squares close to what float32 holds exactly, over several chunks, the last of them short
    images = np.random.default_rng(1).integers(250, 256, (999, 33, 31, channels), np.uint8)
    mean, _ = normalisation("dataset", images)
    assert mean == tuple(images.sum(axis=(0, 1, 2), dtype=np.int64) / (255 * 999 * 33 * 31))
    whole = np.full((300, 64, 64, channels), 255, np.uint8)
    assert normalisation("dataset", whole) == ((1.0,) * channels, (1e-3,) * channels)


def test_flat_images_do_not_divide_by_nothing() -> None:
    mean, deviation = normalisation("dataset", np.full((2, 4, 4, 1), 51, np.uint8))
    assert mean == pytest.approx((0.2,))
    assert deviation == pytest.approx((1e-3,))


def test_fixed_normalisations() -> None:
    colour, grey = np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 4, 4, 1), np.uint8)
    assert normalisation("half", grey) == ((0.5,), (0.5,))
    assert normalisation("half", colour) == HALF
    mean, deviation = normalisation("imagenet", colour)
    assert mean == (0.485, 0.456, 0.406) and deviation == (0.229, 0.224, 0.225)
    mean, deviation = normalisation("imagenet", grey)
    assert mean == pytest.approx((np.mean([0.485, 0.456, 0.406]),))
    assert deviation == pytest.approx((np.mean([0.229, 0.224, 0.225]),))


def test_the_backbone_normalises_by_channel() -> None:
    normal = NormalisedBackbone(nn.Identity(), (0.1, 0.2, 0.3), (0.5, 0.25, 2.0))
    x = torch.rand(2, 3, 4, 4)
    for channel, (mean, deviation) in enumerate(((0.1, 0.5), (0.2, 0.25), (0.3, 2.0))):
        torch.testing.assert_close(normal(x)[:, channel], (x[:, channel] - mean) / deviation)


# ---------------------------------------------------------------- weights there and back


@pytest.mark.parametrize("name", ["narrow", "resnet18"])
def test_weights_come_back_exactly(name) -> None:
    plugin = backbone(name)
    source, target = built(1, plugin=plugin), built(2, plugin=plugin)
    source(torch.rand(4, 3, 32, 32))  # moves the buffers of batch normalisation
    weights = weights_of(source)
    load_weights(target, weights)
    assert same(source, target)
    source.eval(), target.eval()
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(source(x), target(x))
    # normalisation is the dataset's, not the weights'
    assert not any(key == "mean" or key == "deviation" for key in weights)


@pytest.mark.parametrize("name", ["narrow", "swin_t"])
def test_the_first_layer_is_the_one_that_meets_the_image(name) -> None:
    network = built(1, plugin=backbone(name))
    (weight,) = first_layer(network).values()
    met = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    np.testing.assert_array_equal(weight, met.weight.detach().numpy())
    assert weight.shape[1] == SPACE.channels


def test_weights_are_a_copy_in_both_directions() -> None:
    source, target = built(1), built(2)
    weights = weights_of(source)
    kept = {name: array.copy() for name, array in weights.items()}
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(1)
    assert all(np.array_equal(weights[name], kept[name]) for name in kept)
    load_weights(target, weights)
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.add_(1)
    assert all(np.array_equal(weights[name], kept[name]) for name in kept)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"size mismatch|Missing key"):
        load_weights(built(1), weights_of(built(1, plugin=backbone(width=16))))


def test_a_classifier_is_its_head_on_its_backbone() -> None:
    body = NormalisedBackbone(nn.Sequential(nn.Flatten()), (0.0,), (1.0,))
    network = Classifier(body, 16, 3)
    x = torch.rand(2, 1, 4, 4)
    expected = x.reshape(2, 16) @ network.head.weight.T + network.head.bias
    torch.testing.assert_close(network(x), expected)
