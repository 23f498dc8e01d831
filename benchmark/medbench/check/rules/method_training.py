"""Rules for methods: return values, random streams, state."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from medbench.check.compare import difference, require_equal
from medbench.check.contract import NotApplicable, Violation, require, rule_of
from medbench.check.global_rngs import WHY, unchanged_global_rngs
from medbench.check.plugin import PluginUnderTest
from medbench.check.simulated_device import simulated_device
from medbench.check.tasks import EPOCHS, MethodRun, TaskCalls, synthetic_data
from medbench.engine.reports import check_report
from medbench.errors import MedbenchError
from medbench.interfaces.method import OptimiserSettings
from medbench.store.arrays import dumps, loads

rule = rule_of("method")


def check_probabilities(given: Any, rows: int, num_classes: int) -> None:
    """Check that a value is the probabilities of ``rows`` images."""
    require(isinstance(given, Tensor), f"predict returned {type(given).__name__}, not a tensor")
    require(
        tuple(given.shape) == (rows, num_classes),
        f"predict returned shape {tuple(given.shape)} for {rows} images and {num_classes} "
        f"classes, not {(rows, num_classes)}",
    )
    require(given.dtype == torch.float32, f"predict returned {given.dtype}, not torch.float32")
    require(bool(torch.isfinite(given).all()), "predict returned values that are not finite")
    if float(given.min()) < 0 or float((given.sum(1) - 1).abs().max()) > 1e-3:
        row = given[int((given.sum(1) - 1).abs().argmax())]
        raise Violation(
            f"a row of predict is {[round(v, 4) for v in row.tolist()]}: it sums to "
            f"{float(row.sum()):.4f}"
        )


def train(plugin: PluginUnderTest, *, epochs: int = EPOCHS, **data: Any) -> None:
    """Train on synthetic data; check that losses are finite and predictions are probabilities."""
    run = MethodRun(plugin.make(), synthetic_data(**data), epochs=epochs)
    check_losses(run)
    given = run.predict()
    check_probabilities(given.float(), len(run.images), run.data.num_classes)


def check_losses(run: MethodRun) -> None:
    """Train all epochs; check that losses are finite."""
    for epoch, report in enumerate(run.train_epochs(0, run.task.epochs)):
        require(math.isfinite(report.loss), f"the loss of epoch {epoch} is {report.loss}")


@rule(
    expects="predict returns a float32 tensor (B, K) of probabilities: rows that sum to 1",
    why="All metrics are computed from them; the harness fails a run with other values.",
    fix="return logits.float().softmax(dim=1)",
)
def prediction(plugin: PluginUnderTest) -> None:
    """Look at predictions of seven images of four classes."""
    run = MethodRun(plugin.make(), synthetic_data(52, 4))
    run.train_epochs(0, 1)
    check_probabilities(run.predict(run.images.take(slice(0, 7))), 7, 4)


@rule(
    expects="train_epoch returns an EpochReport: loss a finite float; if given, selected bool (M, "
    "N), clean_probability float32 (N,) in [0, 1], corrected int64 (N,) in [0, K-1]",
    why="Label quality is computed from them; a wrong shape or order looks like a bad method.",
    fix="index by batch.indices, not batch order; use .astype(); omit what a method does not know",
)
def report(plugin: PluginUnderTest) -> None:
    """Look at the reports of some epochs with 53 samples and four classes."""
    run = MethodRun(plugin.make(), synthetic_data(53, 4))
    for given in run.train_epochs(0, EPOCHS):
        _check_report(given, 53, 4)


def _check_report(given: Any, samples: int, num_classes: int) -> None:
    try:
        check_report(given, samples, num_classes, "method")
    except MedbenchError as error:
        raise Violation(str(error)) from error
    if not isinstance(given.loss, float) or not math.isfinite(given.loss):
        raise Violation(f"loss is {given.loss!r:.60}, a {type(given.loss).__name__}")
    for name, dtype in (("clean_probability", "float32"), ("corrected", "int64")):
        array = getattr(given, name)
        if array is not None:
            require(array.dtype == dtype, f"{name} is {array.dtype}, not {dtype}")


@rule(
    expects="two trainings on one task give the same reports, predictions and state, bit for bit",
    why="Same run key, same result: otherwise no result can be checked.",
    fix="draw only from task.rng and task.numpy_rng; iterate over no set; keep nothing in class "
    "attributes or module variables",
)
def repeats(plugin: PluginUnderTest) -> None:
    """Train twice."""
    one, two = (MethodRun(plugin.make(), synthetic_data()).trace(EPOCHS) for _ in range(2))
    require_equal(one, two, "the second training differs")


@rule(
    expects="trainings with different seeds differ, if the method draws mini-batches",
    why="Seeds show how much of a result is chance; a fixed seed hides it.",
    fix="use task.rng(purpose, epoch); create no generator of your own",
)
def seed_matters(plugin: PluginUnderTest) -> None:
    """Train with two seeds."""
    one, two = (MethodRun(plugin.make(), synthetic_data(), seed=seed) for seed in (0, 1))
    first, second = one.trace(2), two.trace(2)
    if not one.calls.batch_generators:
        raise NotApplicable("it draws no mini-batches")
    if not difference(first, second):
        raise Violation("seeds 0 and 1 gave the same reports, predictions and state, bit for bit")


@rule(
    expects="mini-batches are drawn by task.rng of the same epoch, asked for once per purpose",
    why="A stream depends only on run, purpose and epoch, so a resumed run draws the same, and no "
    "two draws are equal by mistake.",
    fix='call task.rng("purpose", epoch) in train_epoch, once for each purpose',
)
def named_streams(plugin: PluginUnderTest) -> None:
    """Look at what generators were asked for and used."""
    run = MethodRun(plugin.make(), synthetic_data())
    for epoch in range(EPOCHS):
        asked, handed = len(run.calls.streams), len(run.calls.generators)
        used = len(run.calls.batch_generators)
        run.train_epochs(epoch, epoch + 1)
        of_epoch = run.calls.streams[asked:]
        for which, purpose, when in of_epoch:
            if when != epoch:
                raise Violation(f"in epoch {epoch} it asked for task.{which}({purpose!r}, {when})")
        ours = {id(generator) for generator in run.calls.generators[handed:]}
        require(
            all(id(generator) in ours for generator in run.calls.batch_generators[used:]),
            f"in epoch {epoch} it drew mini-batches with a generator that task.rng "
            "did not give in that epoch",
        )
        for which, purpose, _ in of_epoch:
            twice = of_epoch.count((which, purpose, epoch)) > 1
            require(not twice, f"in epoch {epoch} it asked for task.{which}({purpose!r}) twice")


@rule(
    expects="the global generators of Python, numpy and torch are neither used nor seeded",
    why=WHY,
    fix="pass generator=task.rng(...) to torch.rand, randperm and the like; use task.numpy_rng for"
    " numpy; never call torch.manual_seed or np.random.seed",
)
def global_generators(plugin: PluginUnderTest) -> None:
    """Watch the global generators over a training."""
    with unchanged_global_rngs():
        MethodRun(plugin.make(), synthetic_data()).train_epochs(0, EPOCHS)


@rule(
    expects="tensors are created on task.device",
    why="Code that works by chance on a CPU fails on the first GPU, or copies every batch.",
    fix="torch.zeros(n, device=task.device), torch.from_numpy(a).to(task.device), .cpu() before "
    ".numpy(); never .cuda() or a device by name",
)
def device(plugin: PluginUnderTest) -> None:
    """Train on a simulated device."""
    data, calls = synthetic_data(), TaskCalls()
    with simulated_device(calls.generators) as place:
        MethodRun(plugin.make(), data, device=place, calls=calls).train_epochs(0, EPOCHS)
    if torch.cuda.is_available():
        MethodRun(plugin.make(), data, device="cuda").train_epochs(0, EPOCHS)


@rule(
    expects="resumed from a checkpoint after any epoch, a training ends with the same bits",
    why="Otherwise a result would depend on when the run was interrupted.",
    fix="keep all that train_epoch changes in attributes of the method, not in closures, module "
    "variables or class attributes; keep no view of a tensor next to the tensor",
)
def resume(plugin: PluginUnderTest) -> None:
    """Interrupt after 0, 1, 2 and 3 of four epochs; save the state as a checkpoint does."""
    whole = MethodRun(plugin.make(), synthetic_data())
    states, reports = [dumps(whole.state.save())], []
    for epoch in range(EPOCHS):
        reports += whole.train_epochs(epoch, epoch + 1)
        states.append(dumps(whole.state.save()))
    for done in range(EPOCHS):
        rest = MethodRun(plugin.make(), synthetic_data())
        rest.state.load(loads(states[done]))
        again = rest.train_epochs(done, EPOCHS)
        require_equal(
            {"report": reports[done:], "state": loads(states[-1])},
            {"report": again, "state": loads(dumps(rest.state.save()))},
            f"resumed after {done} of {EPOCHS} epochs, it ends differently",
        )


@rule(
    expects="every attribute can be saved: numbers, strings, tensors, arrays, containers of them, "
    "and objects made in start() that have a state_dict or ordinary attributes",
    why="Checkpoints are not pickled: reading results must not run code.",
    fix="make networks, optimisers and helpers in start(); hold no files, locks, lambdas or "
    "iterators; give other classes state_dict() and load_state_dict()",
)
def plain_state(plugin: PluginUnderTest) -> None:
    """Pack the state as a checkpoint does."""
    run = MethodRun(plugin.make(), synthetic_data())
    try:
        state = run.state
        run.train_epochs(0, EPOCHS)
        dumps(state.save())
    except MedbenchError as error:
        raise Violation(str(error)) from error


@rule(
    expects="calling predict between epochs does not change the training",
    why="The harness predicts three splits after each epoch, which must not affect the result.",
    fix="network.eval() in predict, network.train() in train_epoch; change no attribute in predict",
)
def prediction_leaves_no_trace(plugin: PluginUnderTest) -> None:
    """Train with and without looking."""
    traces = []
    for look in (True, False):
        run = MethodRun(plugin.make(), synthetic_data())
        reports = run.train_epochs(0, EPOCHS, predict=look)
        run.predict()  # leaves the networks of both in eval mode
        traces.append({"report": reports, "state": run.state.save()})
    require_equal(traces[0], traces[1], "with predictions after each epoch and without")


@rule(
    expects="the prediction for an image does not depend on the other images of its batch",
    why="Batch statistics of test images leak the test set; scores would depend on the batch size.",
    fix="put every network into eval mode in predict",
)
def prediction_by_image(plugin: PluginUnderTest) -> None:
    """Predict all at once, and one at a time."""
    run = MethodRun(plugin.make(), synthetic_data())
    run.train_epochs(0, 2)
    images = run.images.take(slice(0, 6))
    together = run.predict(images)
    alone = torch.cat([run.predict(images[i : i + 1]) for i in range(6)])
    off = float((together - alone).abs().max())
    require(off <= 1e-4, f"a probability differs by {off:.3g} when the image is alone in its batch")


@rule(
    expects="the class variable `asks` names every question that it asks the oracle",
    why="A method that knows the noise rate or true labels is not comparable with others; the "
    "board marks it, and readers of the code must see it.",
    fix='declare it: asks = ("noise_rate",); or estimate it, or make it a setting',
)
def oracle_declared(plugin: PluginUnderTest) -> str:
    """Count the oracle's answers over a training."""
    method = plugin.make()
    run = MethodRun(method, synthetic_data())
    run.train_epochs(0, EPOCHS)
    undeclared = sorted(set(run.oracle.answers) - set(method.asks))
    if undeclared:
        question = undeclared[0]
        raise Violation(
            f"{question} was asked, and {run.oracle.answers[question]} answers given; `asks` is "
            f"{tuple(method.asks)}"
        )
    asked = ", ".join(f"{n} x {question}" for question, n in sorted(run.oracle.answers.items()))
    return f"asked of the oracle: {asked}" if asked else "asks the oracle nothing"


@rule(
    expects="the images and labels that the method gets are not changed",
    why="Training, evaluation and later epochs share them.",
    fix="labels = batch.labels.clone() before a change; nothing in place on what the task gives",
)
def data_untouched(plugin: PluginUnderTest) -> None:
    """Compare images and labels before and after."""
    run = MethodRun(plugin.make(), synthetic_data())
    images = run.images.take(slice(0, 8))
    kept = images.clone()
    run.train_epochs(0, EPOCHS)
    run.predict(images)
    require_equal(kept, images, "a batch given to predict")
    require_equal(torch.from_numpy(run.data.noisy), run.train.labels, "train.labels")
    pixels = torch.from_numpy(run.data.images).permute(0, 3, 1, 2)
    require_equal(pixels, run.images.pixels, "the training images")


@rule(
    expects="settings.optimiser, if given, is the optimiser of every network",
    why="It is part of the run key; with another optimiser the record would be wrong.",
    fix="task.make_optimiser(network, self.settings.optimiser)",
)
def own_optimiser(plugin: PluginUnderTest) -> None:
    """Give it an optimiser of its own."""
    own = {"name": "adam", "lr": 0.123}
    run = MethodRun(plugin.make(optimiser=own), synthetic_data())
    run.train_epochs(0, 1)
    if not run.calls.optimisers:
        raise NotApplicable("it makes no optimiser through the task")
    wanted = OptimiserSettings.model_validate(own)
    if any(given != wanted for given in run.calls.optimisers):
        raise Violation("make_optimiser was called without settings.optimiser")
