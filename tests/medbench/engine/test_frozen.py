"""Training of the head alone: a linear probe, whose features are computed once where they can."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medbench.engine.networks import FrozenBackbone, NormalisedBackbone
from medbench.engine.oracle import CountedOracle
from medbench.engine.training import TrainingInput, TrainingStage
from medbench.engine.views import DeviceImages
from medbench.interfaces import Backbone, ImageSpace
from medbench.interfaces.augmentation import AugmentationSettings
from medbench.interfaces.options import ComputeOptions, TrainingOptions
from medbench.interfaces.settings import Settings
from medbench_plugins.methods.co_teaching import CoTeaching
from medbench_plugins.methods.cross_entropy import CrossEntropy

PLAIN = AugmentationSettings(
    horizontal_flip=False, rotation_degrees=0, sharpness=0, autocontrast=0, equalise=0
)


class Counting(Backbone):
    """A convolution with batch normalisation that counts the images it has seen."""

    seen = 0

    def build(self, space: ImageSpace) -> tuple[nn.Module, int]:
        layers = nn.Sequential(
            nn.Conv2d(space.channels, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
        )
        layers.register_forward_pre_hook(self._count)
        return layers, 36

    def _count(self, module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        Counting.seen += len(given[0])


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    Counting.seen = 0


def stage(method=CrossEntropy, augmentation=PLAIN, epochs=3, **settings) -> TrainingStage:
    rng = np.random.default_rng(0)
    images = {
        f"{split}_images": rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
        for split, count in (("train", 20), ("validation", 6), ("test", 5))
    }
    given = TrainingInput(
        **images,
        train_labels=rng.integers(0, 3, 20),
        validation_labels=rng.integers(0, 3, 6),
        num_classes=3,
        normalise="half",
        training=TrainingOptions(
            epochs=epochs, batch_size=8, augmentation=augmentation, backbone="frozen"
        ),
        compute=ComputeOptions(),
        evaluation_batch=7,
        network_seed=1,
        training_seed=2,
    )
    oracle = CountedOracle(0.3, None, np.zeros(20, np.int64))
    made = method("it", method.Settings(**settings))
    return TrainingStage(given, Counting("counting", Settings()), made, oracle, "cpu")


def test_it_is_logistic_regression_on_fixed_features() -> None:
    trained = stage()
    network = trained.method.network
    before = {name: tensor.clone() for name, tensor in network.backbone.state_dict().items()}
    backbone = network.backbone.backbone.eval()
    head = nn.Linear(36, 3)
    head.load_state_dict(network.head.state_dict())
    images = torch.from_numpy(trained.given.train_images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        features = backbone(images)
    labels = torch.from_numpy(trained.given.train_labels)
    optimiser = torch.optim.SGD(head.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    for epoch in range(3):
        optimiser.param_groups[0]["lr"] = 0.01 * (1 + np.cos(np.pi * epoch / 3)) / 2
        order = torch.randperm(20, generator=trained.harness.rng("train", epoch))
        for batch in order.split(8):
            optimiser.zero_grad()
            F.cross_entropy(head(features[batch]), labels[batch]).backward()
            optimiser.step()
    last = list(trained.epochs())[-1]
    torch.testing.assert_close(network.head.weight, head.weight, rtol=1e-4, atol=1e-6)
    expected = head(features).argmax(1).numpy()
    np.testing.assert_array_equal(last.predicted, expected)
    for name, tensor in network.backbone.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert trained.harness.parameters == 36 * 3 + 3


def test_without_augmentation_each_image_is_seen_once() -> None:
    trained = stage()
    assert Counting.seen == 20 + 6 + 5
    list(trained.epochs())
    assert Counting.seen == 20 + 6 + 5


def test_augmented_images_are_seen_in_each_epoch_and_others_once() -> None:
    list(stage(augmentation=AugmentationSettings(), epochs=2).epochs())
    assert Counting.seen == 20 + 6 + 5 + 2 * 20


def test_two_networks_are_frozen_too() -> None:
    trained = stage(method=CoTeaching, forget_rate=0.3)
    first, second = trained.method.network_1.backbone, trained.method.network_2.backbone
    list(trained.epochs())
    assert not torch.equal(first.backbone.backbone[0].weight, second.backbone.backbone[0].weight)
    assert Counting.seen == 2 * (20 + 6 + 5)


def frozen() -> tuple[FrozenBackbone, DeviceImages]:
    torch.manual_seed(0)
    module, _ = Counting("counting", Settings()).build(ImageSpace(1, 8))
    pixels = torch.randint(0, 256, (9, 8, 8, 1), dtype=torch.uint8)
    images = DeviceImages(pixels, torch.device("cpu"), torch.contiguous_format)
    return FrozenBackbone(NormalisedBackbone(module, (0.5,), (0.5,)), [images], 4), images


def test_what_is_made_of_images_is_computed_again() -> None:
    network, images = frozen()
    first, second = images.take(torch.arange(4)), images.take(torch.arange(4, 8))
    for changed in (first.flip(3), (first + second) / 2, torch.cat([first, second])):
        torch.testing.assert_close(network(changed), network.backbone(changed))
    kept, computed = network(first), network.backbone(first.clone())
    torch.testing.assert_close(kept, computed)
    assert not network(first).requires_grad


def test_other_weights_have_other_features() -> None:
    network, images = frozen()
    taken = images.take(slice(0, 5))
    before = network(taken)
    network.load_state_dict({n: t * 2 for n, t in network.state_dict().items()})
    assert not torch.allclose(network(taken), before)
    torch.testing.assert_close(network(taken), network.backbone(taken.clone()))


def test_it_stays_in_eval_mode_and_resumes_bit_for_bit() -> None:
    whole = stage()
    results = list(whole.epochs())
    network = whole.method.network.train()
    assert not any(module.training for module in network.backbone.modules())
    begun, resumed = stage(), stage()
    next(begun.epochs())
    resumed.state.load(begun.state.save())
    for result, expected in zip(resumed.epochs(1), results[1:], strict=True):
        np.testing.assert_array_equal(result.test, expected.test)


def test_run_keys_hold_it_only_where_it_is_asked_for() -> None:
    default = json.loads(TrainingOptions().canonical)
    assert not {"backbone", "layer_decay"} & set(default)
    assert json.loads(TrainingOptions(backbone="frozen").canonical) == {
        **default, "backbone": "frozen"
    }  # fmt: skip
    assert json.loads(TrainingOptions(layer_decay=0.7).canonical)["layer_decay"] == 0.7
