"""Grad-CAM and occlusion: equal to other computations, and they find what a network learned."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torchcam.methods import GradCAM

from medbench.attention import energy, pointing, rank_correlation, to_cells
from medbench.engine.attention import (
    AttentionInput,
    as_maps,
    attend,
    cam_of,
    check_layer,
    find_layer,
    grad_cam,
    plane,
)
from medbench.engine.masks import read_masks
from medbench.engine.networks import Classifier, NormalisedBackbone
from medbench.engine.oracle import CountedOracle
from medbench.engine.training import TrainingInput, TrainingStage
from medbench.errors import MedbenchError
from medbench.interfaces import ImageSpace
from medbench.interfaces.options import AttentionOptions, ComputeOptions, TrainingOptions
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import discover

SIDE = 32
#: The square that alone tells the classes apart.
ROWS, COLUMNS = slice(0, 16), slice(16, 32)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def plugin(kind: str, name: str, **settings: object) -> object:
    entry = discover().get(kind_named(kind), name)
    return entry.create(name, {**entry.plugin.defaults, **settings})


def network(name: str, channels: int = 1, **settings: object) -> Classifier:
    torch.manual_seed(3)
    body, dim = plugin("backbone", name, **settings).build(ImageSpace(channels, SIDE))
    wrapped = NormalisedBackbone(body, (0.4,) * channels, (0.2,) * channels)
    return Classifier(wrapped, dim, 3).eval()


def batch(channels: int = 1, number: int = 4) -> torch.Tensor:
    return torch.rand(number, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


CLASSES = torch.tensor([0, 1, 2, 1])


def by_torchcam(model: nn.Module, layer: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with GradCAM(model, target_layer=layer) as extractor:
        scores = model(images)
        return extractor(CLASSES.tolist(), scores, normalized=False)[0]


@pytest.mark.parametrize(
    ("name", "settings", "layer"),
    [("narrow", {"width": 8}, "blocks.1"), ("resnet18", {"stem": "small"}, "network.layer3"),
     ("densenet121", {}, "network.features.denseblock2")],
)  # fmt: skip
def test_grad_cam_of_a_convolutional_network_is_that_of_torchcam(
    name: str, settings: dict[str, object], layer: str
) -> None:
    model = network(name, **settings)
    chosen = find_layer(model, batch()[:1], layer)
    found = grad_cam(model, chosen, batch(), CLASSES)
    assert found.max() > 0
    torch.testing.assert_close(
        found, by_torchcam(model, chosen, batch()), rtol=1e-5, atol=1e-5 * float(found.max())
    )


class _Through(nn.Module):
    """A block of a transformer whose tokens pass through a layer as maps."""

    def __init__(self, block: nn.Module, side: int) -> None:
        super().__init__()
        self.block, self.side, self.maps = block, side, nn.Identity()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = self.block(tokens)
        first, rest = tokens[:, : -(self.side**2)], tokens[:, -(self.side**2) :]
        maps = rest.transpose(1, 2).unflatten(2, (self.side, self.side))
        rest = self.maps(maps).flatten(2).transpose(1, 2)
        return torch.cat([first, rest], 1)


@pytest.mark.parametrize("name", ["tiny-vit", "timm:vit_tiny_patch16_224"])
def test_grad_cam_of_a_transformer_is_that_of_torchcam(name: str) -> None:
    tiny = name == "tiny-vit"
    backbone, own = ("tiny-vit", {}) if tiny else ("timm", {"architecture": name[5:]})
    model = network(backbone, **own)
    layer = find_layer(model, batch()[:1], None)
    found = grad_cam(model, layer, batch(), CLASSES)
    side = 8 if tiny else 2
    assert found.shape == (4, side, side)
    inner = model.backbone.backbone
    blocks = inner.blocks if tiny else inner.vit.blocks
    assert blocks[-2] is layer
    blocks[-2] = _Through(layer, side)
    expected = by_torchcam(model, blocks[-2].maps, batch())
    assert found.max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(found.max()))


def test_grad_cam_before_a_mean_and_a_linear_head_is_the_class_activation_map() -> None:
    """Zhou et al. 2016: there the gradients are the head's weights."""
    model = network("narrow", width=8)
    layer = model.backbone.backbone.blocks
    kept: list[torch.Tensor] = []
    with torch.no_grad(), layer.register_forward_hook(lambda _m, _i, out: kept.append(out)):
        model(batch())
    maps = kept[0]
    weights = model.head.weight[CLASSES]
    expected = torch.einsum("bd,bdhw->bhw", weights, maps).relu() / maps[0, 0].numel()
    torch.testing.assert_close(grad_cam(model, layer, batch(), CLASSES), expected.detach())


@pytest.mark.parametrize(
    ("name", "settings", "side"),
    [("narrow", {}, 4), ("narrow-dropout", {}, 4), ("tiny-vit", {}, 8), ("vit_b_16", {}, 2),
     ("swin_t", {}, 4), ("mobilenet_v3_small", {}, 4)],
)  # fmt: skip
def test_a_layer_is_found_by_itself(name: str, settings: dict[str, object], side: int) -> None:
    model = network(name, **settings)
    layer = find_layer(model, batch()[:1], None)
    found = grad_cam(model, layer, batch()[:2], CLASSES[:2])
    assert found.shape == (2, side, side)


def test_maps_may_have_their_channels_last_and_tokens_their_class_token_first() -> None:
    maps = torch.rand(2, 5, 3, 3)
    assert torch.equal(as_maps(maps.permute(0, 2, 3, 1)), maps)
    tokens = torch.cat([torch.full((2, 1, 5), 9.0), maps.flatten(2).transpose(1, 2)], 1)
    assert torch.equal(as_maps(tokens), maps)
    for other in (torch.rand(2, 5), torch.rand(2, 5, 1, 1), (maps, maps)):
        assert as_maps(other) is None


# ---------------------------------------------------------------- a known location


def images(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Strong noise, and a square of weak stripes whose direction is the class.

    The noise has more contrast, so that random filters find it rather than the square.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(number) % 2
    pixels = rng.integers(0, 256, (number, SIDE, SIDE, 1))
    stripes = np.indices((SIDE, SIDE)) // 2 % 2 * 80 + 90
    pixels[:, ROWS, COLUMNS, 0] = stripes[labels][:, ROWS, COLUMNS]
    return pixels.astype(np.uint8), labels.astype(np.int64)


def stage(
    epochs: int, method: str = "cross-entropy", trained: str = "whole", run: bool = True
) -> TrainingStage:
    train, labels = images(160, 0)
    test, _ = images(24, 1)
    given = TrainingInput(
        train, labels, test, labels[:24], test, 2, "dataset",
        TrainingOptions(epochs=epochs, batch_size=32, backbone=trained), ComputeOptions(),
        24, 1, 2,
    )  # fmt: skip
    made = plugin("backbone", "narrow", width=8)
    oracle = CountedOracle(0.5, None, labels)
    under_test = TrainingStage(given, made, plugin("method", method), oracle, "cpu")
    for _ in under_test.epochs() if run else ():
        pass
    return under_test


def asked(checked: int = 6, **options: object) -> AttentionInput:
    test, _ = images(24, 1)
    mask = np.zeros((SIDE, SIDE, 1), bool)
    mask[ROWS, COLUMNS] = True
    blanked = np.stack([np.where(mask, test, 130), np.where(mask, 130, test)]).astype(np.uint8)
    return AttentionInput(
        AttentionOptions(**options), np.arange(24), np.arange(checked),
        np.array([130], np.uint8), blanked, np.arange(50),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> SimpleNamespace:
    torch.set_num_threads(1)
    under_test = stage(20)
    return SimpleNamespace(stage=under_test, found=attend(under_test, asked()))


def test_a_known_location_is_found_and_random_weights_lose_it(trained: SimpleNamespace) -> None:
    _, labels = images(24, 1)
    predicted = trained.stage.predict(trained.stage.test).argmax(axis=1)
    assert (predicted == labels).all()
    mask = np.zeros((1, SIDE, SIDE), np.uint8)
    mask[:, ROWS, COLUMNS] = 1
    shares = to_cells(mask, 4, 4)
    area = shares.mean()
    found = trained.found

    def read(maps: np.ndarray) -> list[float]:
        return [float(np.nanmean(of(maps, shares))) for of in (energy, pointing)]

    inside = read(found["attention/maps"])
    assert inside[0] > 2 * area
    assert inside[1] > 0.9
    assert read(found["attention/occlusion"])[1] > 0.9
    agreement = rank_correlation(found["attention/maps"][:6], found["attention/occlusion"])
    assert np.nanmean(agreement) > 0.3
    # one random network may look there by chance; ten together do not, nor agree (Adebayo 2018)
    drawn = []
    for seed in range(10):
        harness = copy(trained.stage.harness)
        harness._given = replace(trained.stage.given, network_seed=seed)
        initial = harness.initial_network()
        drawn.append(cam_of(trained.stage, initial, asked(), trained.stage.test, predicted))
    scores = np.mean([read(maps) for maps in drawn], axis=0)
    np.testing.assert_allclose(scores, area, atol=0.1)
    similar = [np.nanmean(rank_correlation(found["attention/maps"], maps)) for maps in drawn]
    assert abs(np.mean(similar)) < 0.2


def test_only_the_inside_of_the_mask_tells_the_classes_apart(trained: SimpleNamespace) -> None:
    _, labels = images(24, 1)
    inside, outside = trained.found["attention/blanked"].argmax(axis=2) == labels
    assert inside.mean() > 0.9
    assert outside.mean() < 0.8


def test_what_is_returned(trained: SimpleNamespace) -> None:
    found = trained.found
    assert {n: (a.dtype.str, a.shape) for n, a in found.items()} == {
        "attention/maps": ("|u1", (24, 4, 4)),
        "attention/random": ("|u1", (24, 4, 4)),
        "attention/occlusion": ("|u1", (6, 4, 4)),
        "attention/blanked": ("<f2", (2, 24, 2)),
        "attention/features": ("|u1", (50, 2)),
    }
    assert set(found["attention/maps"].max(axis=(1, 2))) <= {0, 255}
    again = attend(trained.stage, asked())
    assert all((again[name] == array).all() for name, array in found.items())


def test_a_run_that_is_resumed_after_its_last_epoch_looks_the_same(
    trained: SimpleNamespace,
) -> None:
    resumed = stage(20, run=False)
    resumed.state.load(trained.stage.state.save())
    again = attend(resumed, asked())
    assert all((again[name] == array).all() for name, array in trained.found.items())


def test_attention_leaves_the_networks_as_they_are(trained: SimpleNamespace) -> None:
    before = trained.stage.predict(trained.stage.test)
    attend(trained.stage, asked())
    np.testing.assert_array_equal(before, trained.stage.predict(trained.stage.test))


def test_a_frozen_backbone_and_two_networks_are_shown_too() -> None:
    """Of a frozen backbone the features of stored images are kept: Grad-CAM must not use them."""
    frozen = stage(1, trained="frozen")
    assert attend(frozen, asked(2))["attention/maps"].any()
    both = stage(1, "dividemix")
    assert len(both.predicting_networks()) == 2
    assert attend(both, asked(2))["attention/maps"].any()


def test_features_are_projected_on_principal_components() -> None:
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 6)) * [5, 3, 1, 1, 1, 1]
    expected = PCA(2).fit_transform(features)
    found = plane(features).astype(float)
    assert found.max() == 255
    for axis in range(2):
        assert abs(np.corrcoef(found[:, axis], expected[:, axis])[0, 1]) > 0.999
    assert (plane(np.ones((5, 1))) == 0).all()


# ---------------------------------------------------------------- bad input


def test_a_layer_that_is_not_there_or_gives_no_maps_is_refused() -> None:
    under_test = stage(1)
    with pytest.raises(MedbenchError, match=r"has no layer 'block'; its last ones are .*blocks\.2"):
        check_layer(under_test, AttentionOptions(layer="block"))
    pooled = network("resnet18")
    with pytest.raises(MedbenchError, match=r"'network\.avgpool' gives no maps of more than one"):
        find_layer(pooled, batch()[:1], "network.avgpool")


def test_images_that_leave_no_maps_are_refused() -> None:
    flat = Classifier(NormalisedBackbone(nn.Flatten(), (0.5,), (0.5,)), SIDE**2, 2)
    with pytest.raises(MedbenchError, match="no layer of the backbone gives maps"):
        find_layer(flat, batch()[:1], None)


def data(masks: np.ndarray | None, count: int = 3) -> SimpleNamespace:
    pixels = np.zeros((count, 8, 8, 1), np.uint8)
    return SimpleNamespace(images=pixels, masks=masks, ids=np.array(["a", "b", "c"]))


def test_masks_are_scaled_and_a_pixel_counts_from_one_half_on() -> None:
    masks = np.zeros((3, 8, 8), np.uint8)
    masks[1, :4] = 1
    found = read_masks(data(masks), "x", np.array(["b", "c"]), 4)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[:, :, 0], [[1, 1, 0, 0], [0, 0, 0, 0]])
    assert read_masks(data(None), "x", np.array(["a"]), 4) is None


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        (np.ones((3, 4, 4), np.uint8), "dataset x: its masks are 4 x 4 px, its images 8 x 8 px"),
        (np.ones((2, 8, 8), np.uint8), "dataset x: 2 of its 3 images have a mask"),
        (np.zeros((3, 8, 8), np.uint8), "dataset x: the masks of all 3 images .* are empty"),
        (np.full((3, 8, 8), 255, np.uint8), "dataset x: its masks are uint8 up to 255"),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_one_line(masks: np.ndarray, words: str) -> None:
    with pytest.raises(MedbenchError, match=words) as error:
        read_masks(data(masks), "x", np.array(["a", "b", "c"]), 8)
    assert "\n" not in str(error.value)


def test_a_method_that_predicts_with_no_network_is_refused() -> None:
    under_test = stage(1)
    under_test.method.predict = lambda given: torch.full((len(given), 2), 0.5)
    with pytest.raises(MedbenchError, match=r"predicts with no network of task\.make_network"):
        attend(under_test, asked())
