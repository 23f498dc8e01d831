"""Rules for methods: edge cases, learning and cost."""

from __future__ import annotations

import numpy as np
import torch

from medbench.check.contract import Violation, rule_of
from medbench.check.epoch_cost import EpochCost, MemoryMeter, measure
from medbench.check.plugin import PluginUnderTest
from medbench.check.real_data import real_task
from medbench.check.reference import ReferenceMethod, tiny_backbone
from medbench.check.rules.method_training import check_losses, check_probabilities, train
from medbench.check.tasks import BATCH, EPOCHS, MethodRun, synthetic_data
from medbench.engine.training import TrainingStage
from medbench.interfaces.method import LNLMethod
from medbench.metrics import evaluate

rule = rule_of("method")

#: Images through networks for each training image and epoch, at most.
MOST_PASSES = 60

#: Balanced accuracy above chance that counts as having learned, as a share of what is possible.
LEARNED = 0.25


@rule(
    expects="it works with two classes",
    why="Half of the medical datasets have two classes.",
    fix="look for `num_classes - 1` or `- 2` in a denominator, and for a top-k with k > 2",
)
def two_classes(plugin: PluginUnderTest) -> None:
    """Train with two classes."""
    train(plugin, num_classes=2)


@rule(
    expects="it works if a class has no training sample",
    why="A subset of a long-tailed dataset may have no sample of the rarest class.",
    fix="guard means over a class's samples; take the number of classes from task.num_classes",
)
def missing_class(plugin: PluginUnderTest) -> None:
    """Train where class 2 of four is absent, and the last one too."""
    train(plugin, num_classes=4, classes=(0, 1))


@rule(
    expects="it works if all training labels are the same",
    why="It happens at a high noise rate or in a small subset.",
    fix="guard variances and ranges that are 0",
)
def one_label(plugin: PluginUnderTest) -> None:
    """Train where everything is called class 1."""
    train(plugin, classes=(1,), rate=0.0)


@rule(
    expects="it works if all images, and so all losses, are equal",
    why="A split into clean and noisy samples may then leave a part with one sample or none.",
    fix="treat a part of fewer than two samples as empty (batch normalisation needs two); guard (x"
    " - min) / (max - min)",
)
def all_alike(plugin: PluginUnderTest) -> None:
    """Train on black images."""
    train(plugin, black=True)


@rule(
    expects="it works with two training samples, and with one more than full mini-batches hold",
    why="A last mini-batch of one sample is an error in batch normalisation.",
    fix="use task.train.batches, which joins a last mini-batch of one sample to the one before; "
    "check sizes before you split them further",
)
def few_samples(plugin: PluginUnderTest) -> None:
    """Train with 2 and with 33 samples, in mini-batches of 16."""
    for samples in (2, 2 * BATCH + 1):
        train(plugin, samples=samples, num_classes=2)


@rule(
    expects="predict works for a single image",
    why="The last batch of a split may hold one image.",
    fix="no squeeze() without a dimension; networks in eval mode",
)
def one_image(plugin: PluginUnderTest) -> None:
    """Predict one image."""
    run = MethodRun(plugin.make(), synthetic_data())
    run.train_epochs(0, 1)
    check_probabilities(run.predict(run.images.take(slice(0, 1))), 1, 3)


@rule(
    expects="it works with a budget of one epoch",
    why="Smoke tests train for one epoch; a schedule must not divide by epochs - 1.",
    fix="limit warm-up and ramps to task.epochs",
)
def short_budget(plugin: PluginUnderTest) -> None:
    """Train one epoch of one."""
    train(plugin, epochs=1)


@rule(
    expects="it works with grey images (C = 1) and with colour (C = 3)",
    why="X-rays are grey, histology is not.",
    fix="take the number of channels from the images",
)
def grey_and_colour(plugin: PluginUnderTest) -> None:
    """Train on images of one and of three channels."""
    for channels in (1, 3):
        train(plugin, channels=channels)


@rule(
    expects="it works with images of an odd height and width",
    why="Image sizes need not be even; a crop or fold by 2 fails on odd ones.",
    fix="compute sizes with // and pad or crop to what you need",
)
def odd_size(plugin: PluginUnderTest) -> None:
    """Train on images of 13 px."""
    train(plugin, size=13)


@rule(
    expects="it works with forward passes in bfloat16, and still predicts float32",
    why="A protocol may ask for it; losses and means in 8 bits of precision are inaccurate.",
    fix="use task.autocast() only around forward passes, and call .float() on the output",
)
def low_precision(plugin: PluginUnderTest) -> None:
    """Train with forward passes in bfloat16."""
    run = MethodRun(plugin.make(), synthetic_data(), precision="bfloat16")
    check_losses(run)
    with torch.autocast("cpu", torch.bfloat16):  # as the harness predicts
        given = run.predict(run.images.take(slice(0, 5)))
    check_probabilities(given, 5, 3)


@rule(
    expects="on real images with few wrong labels it is well above chance after a few epochs",
    why="A method that learns nothing here has a bug.",
    fix="check the sign of the loss, network.train(), optimiser.start_epoch(epoch), and that "
    "labels and images are of the same samples",
)
def learns(plugin: PluginUnderTest) -> str:
    """Train through the harness on a small part of a dataset that ships."""
    task = real_task()
    stage = TrainingStage(task.given, tiny_backbone(), plugin.make(), task.oracle, "cpu")
    results = list(stage.epochs())
    # of the better half of the epochs: some methods spend the others on warming up
    scores = sorted(
        evaluate(task.test_labels, result.test)["balanced_accuracy"] for result in results
    )
    score = float(np.mean(scores[len(scores) // 2 :]))
    chance = 1 / task.given.num_classes
    found = f"balanced accuracy {score:.3f} on {task.name} after {len(results)} epochs, chance "
    found += f"{chance:.3f}"
    if score < chance + LEARNED * (1 - chance):
        raise Violation(found)
    return found


@rule(
    expects=f"an epoch shows no image to networks more than {MOST_PASSES} times on average",
    why="Seconds and memory are reported relative to plain cross-entropy; a method far beyond that"
    " cannot be run in a grid.",
    fix="evaluate the training set once an epoch, not once a mini-batch; reuse what was computed",
)
def cost(plugin: PluginUnderTest) -> str:
    """Compare the cost of epochs with plain cross-entropy."""
    theirs = _cost(plugin.make())
    plain = _cost(ReferenceMethod("plain", ReferenceMethod.Settings()))
    if theirs.passes > MOST_PASSES:
        raise Violation(
            f"{theirs.passes:.0f} passes an image and epoch; cross-entropy needs {plain.passes:.0f}"
        )
    return (
        f"{theirs.passes:.1f} passes an image and epoch (cross-entropy {plain.passes:.1f}); "
        f"{theirs.seconds / max(plain.seconds, 1e-9):.1f} times its seconds, "
        f"{theirs.peak_bytes / max(plain.peak_bytes, 1):.1f} times its peak memory"
    )


def _cost(method: LNLMethod) -> EpochCost:
    return measure(MethodRun(method, synthetic_data(96, size=16)), EPOCHS)


@rule(
    expects="the memory it holds does not grow from epoch to epoch",
    why="What is kept of each mini-batch adds up: a run of 300 epochs runs out of memory.",
    fix="keep numbers, loss.item(), not tensors; of histories only the last few epochs",
)
def steady_memory(plugin: PluginUnderTest) -> None:
    """Compare tensors alive after epochs 4, 6 and 8."""
    run = MethodRun(plugin.make(), synthetic_data(), epochs=8)
    held = []
    with MemoryMeter() as memory:
        for epoch in range(8):
            run.train_epochs(epoch, epoch + 1, predict=False)
            held.append(memory.live)
    if held[3] < held[5] < held[7] and held[7] - held[3] > 4 * len(run.images):
        raise Violation(
            f"tensors made in training held {held[3]:,} bytes after epoch 3, {held[5]:,} after "
            f"epoch 5, {held[7]:,} after epoch 7"
        )
