"""Training of a method: what comes out of an epoch, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import Tensor, nn

from medbench.engine.oracle import CountedOracle
from medbench.engine.training import TrainingInput, TrainingStage, noisy_loss
from medbench.errors import MedbenchError
from medbench.interfaces import Backbone, EpochReport, ImageSpace, LearningTask, LNLMethod
from medbench.interfaces.method import MethodSettings
from medbench.interfaces.options import ComputeOptions, TrainingOptions
from medbench.interfaces.settings import Settings

K = 3


class Flat(Backbone):
    def build(self, space: ImageSpace) -> tuple[nn.Module, int]:
        return nn.Flatten(), space.channels * space.size**2


class Constant(LNLMethod):
    """Predicts the same row for every image."""

    row: tuple[float, ...] = (0.2, 0.5, 0.3)

    def start(self, task: LearningTask) -> None:
        self.task = task

    def train_epoch(self, epoch: int) -> EpochReport:
        return EpochReport(loss=float(epoch))

    def predict(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return torch.tensor([self.row]).expand(len(images), -1)


def stage(row: tuple[float, ...], epochs: int = 2) -> TrainingStage:
    rng = np.random.default_rng(0)

    def images(count: int) -> np.ndarray:
        return rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)

    given = TrainingInput(
        train_images=images(7),
        train_labels=rng.integers(0, K, 7),
        validation_images=images(5),
        validation_labels=rng.integers(0, K, 5),
        test_images=images(4),
        num_classes=K,
        normalise="dataset",
        training=TrainingOptions(epochs=epochs, batch_size=4),
        compute=ComputeOptions(),
        evaluation_batch=3,
        network_seed=1,
        training_seed=2,
    )
    method = Constant("constant", MethodSettings())
    method.row = row
    oracle = CountedOracle(0.5, None, np.zeros(7, np.int64))
    return TrainingStage(given, Flat("flat", Settings()), method, oracle, "cpu")


def test_an_epoch_leaves_a_report_and_predictions_of_all_three_splits() -> None:
    results = list(stage((0.2, 0.5, 0.3)).epochs())
    assert [result.report.loss for result in results] == [0.0, 1.0]
    for result in results:
        np.testing.assert_array_equal(result.predicted, np.ones(7))
        np.testing.assert_allclose(result.validation, np.tile([0.2, 0.5, 0.3], (5, 1)), rtol=1e-6)
        assert result.test.shape == (4, K)


class Brightness(Constant):
    """Predicts from the brightness of each image."""

    def predict(self, images: Tensor) -> Tensor:
        bright = images.mean((1, 2, 3))
        return torch.stack([bright, 1 - bright, 0 * bright], dim=1)


def test_upstream_fault_the_last_batch_of_the_test_set_dropped() -> None:
    """Four test images in batches of three: all are predicted, in order."""
    under_test = stage((0.2, 0.5, 0.3), epochs=1)
    under_test.method = Brightness("brightness", MethodSettings())
    (result,) = under_test.epochs()
    for split, predicted in (("test", result.test), ("validation", result.validation)):
        images = getattr(under_test.given, f"{split}_images")
        expected = images.reshape(len(images), -1).mean(axis=1) / 255
        np.testing.assert_allclose(predicted[:, 0], expected, rtol=1e-5)
    assert len(result.test) == 4 and len(result.predicted) == 7


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((math.nan, 0.5, 0.5), "not finite"),
        ((math.inf, 0.0, 0.0), "not finite"),
        ((0.9, 0.9, 0.9), "must sum to 1"),
        ((-0.5, 1.0, 0.5), "no probabilities"),
        ((0.5, 0.5), "shape"),
    ],
)
def test_what_is_no_probability_fails_instead_of_being_scored(
    row: tuple[float, ...], reason: str
) -> None:
    with pytest.raises(MedbenchError, match=f"method constant predicted.*{reason}"):
        list(stage(row).epochs())


class Arrays(Constant):
    """Predicts with numpy."""

    def predict(self, images: Tensor) -> Any:
        return np.full((len(images), K), 1 / K)


class Torn(Constant):
    """Reports soft labels as corrected ones."""

    def train_epoch(self, epoch: int) -> EpochReport:
        return EpochReport(0.0, corrected=np.full((7, K), 0.5))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "reason"),
    [(Arrays, "predicted a ndarray, no torch.Tensor"), (Torn, "corrected is float64 (7, 3), not")],
)
def test_what_a_method_returns_is_checked(method: type[Constant], reason: str) -> None:
    under_test = stage((0.2, 0.5, 0.3))
    under_test.method = method("odd", MethodSettings())
    with pytest.raises(MedbenchError, match=r"^method odd:? ") as caught:
        list(under_test.epochs())
    assert reason in str(caught.value)


def test_the_loss_of_samples_is_the_cross_entropy_with_their_labels() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 20).astype(np.float32)
    labels = np.arange(20) % 3
    loss = noisy_loss(probabilities, labels)
    assert loss.mean() == pytest.approx(log_loss(labels, probabilities), rel=1e-5)
    assert loss.dtype == np.float32
    assert np.isfinite(noisy_loss(np.array([[0.0, 1.0]], np.float32), np.array([0]))).all()
