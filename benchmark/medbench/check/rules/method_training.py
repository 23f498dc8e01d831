"""Rules for methods: what they give, what they draw from, what they keep."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medbench.check.compare import difference
from medbench.check.contract import NotApplicable, Violation, rule
from medbench.check.elsewhere import Misplaced, elsewhere
from medbench.check.rules.globals import watched_globals
from medbench.check.subject import Subject
from medbench.check.tasks import Trial, Watched, draw
from medbench.errors import MedbenchError
from medbench.interfaces.method import EpochReport, OptimiserSettings
from medbench.store.arrays import dumps, loads

#: Epochs of most checks: methods with a warm-up get past it.
EPOCHS = 4


def check_probabilities(given: Any, rows: int, num_classes: int) -> None:
    """Refuse what are no probabilities of ``rows`` images."""
    if not isinstance(given, Tensor):
        raise Violation(f"predict returned {type(given).__name__}, not a tensor")
    if tuple(given.shape) != (rows, num_classes):
        raise Violation(
            f"predict returned shape {tuple(given.shape)} for {rows} images and {num_classes} "
            f"classes, not {(rows, num_classes)}"
        )
    if given.dtype != torch.float32:
        raise Violation(f"predict returned {given.dtype}, not torch.float32")
    if not bool(torch.isfinite(given).all()):
        raise Violation("predict returned values that are not finite")
    if float(given.min()) < 0 or float((given.sum(1) - 1).abs().max()) > 1e-3:
        row = given[int((given.sum(1) - 1).abs().argmax())]
        raise Violation(
            f"a row of predict is {[round(v, 4) for v in row.tolist()]}: it sums to "
            f"{float(row.sum()):.4f}"
        )


def check_sane(trial: Trial, epochs: int) -> None:
    """Train and refuse a loss that is not finite and predictions that are no probabilities."""
    for epoch, report in enumerate(trial.train_epochs(0, epochs)):
        if not math.isfinite(report.loss):
            raise Violation(f"the loss of epoch {epoch} is {report.loss}")
    given = trial.predict()
    check_probabilities(given.float(), len(trial.images), trial.data.num_classes)


@rule(
    "method",
    "prediction",
    expects="predict gives a float32 tensor (B, K) of probabilities: rows that sum to 1",
    why="All metrics are computed from them; the harness fails a run whose rows are no "
    "probabilities.",
    fix="return logits.float().softmax(dim=1)",
)
def prediction(subject: Subject) -> None:
    """Look at predictions of seven images of four classes."""
    trial = Trial(subject.make(), draw(52, 4))
    trial.train_epochs(0, 1)
    check_probabilities(trial.predict(trial.images.take(slice(0, 7))), 7, 4)


@rule(
    "method",
    "report",
    expects="train_epoch gives an EpochReport: a finite loss as a float; selected bool (M, N), "
    "clean_probability float32 (N,) in [0, 1], corrected int64 (N,) from 0 to K-1, where given",
    why="Label quality is read from them against the clean labels; a wrong shape or order would be "
    "read as a bad method.",
    fix="index by batch.indices, not by the order of the batches; .astype() what has another "
    "type; leave out what the method does not know",
)
def report(subject: Subject) -> None:
    """Look at the reports of some epochs with 53 samples and four classes."""
    trial = Trial(subject.make(), draw(53, 4), epochs=EPOCHS)
    for given in trial.train_epochs(0, EPOCHS):
        _check_report(given, 53, 4)


def _check_report(given: Any, samples: int, num_classes: int) -> None:
    if not isinstance(given, EpochReport):
        raise Violation(f"train_epoch returned {type(given).__name__}")
    if not isinstance(given.loss, float) or not math.isfinite(given.loss):
        raise Violation(f"loss is {given.loss!r:.60}, a {type(given.loss).__name__}")
    wanted = {
        "selected": ("bool", (-1, samples), 0, 1),
        "clean_probability": ("float32", (samples,), 0, 1),
        "corrected": ("int64", (samples,), 0, num_classes - 1),
    }
    for name, (dtype, shape, low, high) in wanted.items():
        array = getattr(given, name)
        if array is None:
            continue
        if not isinstance(array, np.ndarray):
            raise Violation(f"{name} is a {type(array).__name__}, not a numpy array")
        same_shape = len(array.shape) == len(shape) and array.shape[-1] == samples
        if array.dtype != dtype or not same_shape:
            raise Violation(
                f"{name} is {array.dtype} {array.shape}, not {dtype} "
                f"{str(shape).replace('-1', 'M')}"
            )
        if array.size and not (low <= array.min() and array.max() <= high):
            raise Violation(f"{name} goes from {array.min()} to {array.max()}, not {low} to {high}")


@rule(
    "method",
    "repeats",
    expects="two trainings on the same task give the same reports, predictions and state, bit for "
    "bit",
    why="Same run key, same outcome: otherwise nobody can check a result, and a ranking may be "
    "chance.",
    fix="draw from task.rng(purpose, epoch) and task.numpy_rng alone; iterate over no set; keep "
    "nothing in class attributes or module variables that a second run finds changed",
)
def repeats(subject: Subject) -> None:
    """Train twice."""
    first = Trial(subject.make(), draw(), epochs=EPOCHS).trace(EPOCHS)
    second = Trial(subject.make(), draw(), epochs=EPOCHS).trace(EPOCHS)
    if found := difference(first, second):
        raise Violation(f"the second training differs: {found}")


@rule(
    "method",
    "seed-matters",
    expects="trainings with other seeds differ, if the method draws mini-batches",
    why="Seeds are there to show how much is chance; a method that hides its own seed looks surer "
    "than it is.",
    fix="make no generator of your own (torch.Generator().manual_seed(0)): take task.rng(purpose, "
    "epoch)",
)
def seed_matters(subject: Subject) -> None:
    """Train with two seeds."""
    one, two = (Trial(subject.make(), draw(), seed=seed) for seed in (0, 1))
    first, second = one.trace(2), two.trace(2)
    if not one.watched.drawn_from:
        raise NotApplicable("it draws no mini-batches")
    if not difference(first, second):
        raise Violation("seeds 0 and 1 gave the same reports, predictions and state, bit for bit")


@rule(
    "method",
    "named-streams",
    expects="each mini-batch is drawn with a generator that task.rng gave in the same epoch, for a "
    "purpose asked for once an epoch",
    why="A stream depends on run, purpose and epoch alone: so a run that continues draws what it "
    "would have drawn, and no two draws are the same by mistake.",
    fix='ask for task.rng("a word for this draw", epoch) inside train_epoch, with the epoch at '
    "hand, once for each purpose",
)
def named_streams(subject: Subject) -> None:
    """Look at what generators were asked for and used."""
    trial = Trial(subject.make(), draw(), epochs=EPOCHS)
    for epoch in range(EPOCHS):
        asked, handed = len(trial.watched.asked), len(trial.watched.handed)
        used = len(trial.watched.drawn_from)
        trial.train_epochs(epoch, epoch + 1)
        of_epoch = trial.watched.asked[asked:]
        for which, purpose, when in of_epoch:
            if when != epoch:
                raise Violation(f"in epoch {epoch} it asked for task.{which}({purpose!r}, {when})")
        ours = {id(generator) for generator in trial.watched.handed[handed:]}
        if any(id(generator) not in ours for generator in trial.watched.drawn_from[used:]):
            raise Violation(
                f"in epoch {epoch} it drew mini-batches with a generator that task.rng "
                "did not give in that epoch"
            )
        twice = [words for words in set(of_epoch) if of_epoch.count(words) > 1]
        if twice:
            which, purpose, _ = sorted(twice)[0]
            raise Violation(
                f"in epoch {epoch} it asked for task.{which}({purpose!r}, {epoch}) twice"
            )


@rule(
    "method",
    "global-generators",
    expects="the global generators of Python, numpy and torch are neither used nor seeded",
    why="They are shared by everything in the process: what one draws moves what another gets.",
    fix="give torch.rand, randperm and the like generator=task.rng(...); use task.numpy_rng for "
    "numpy; never call torch.manual_seed or np.random.seed",
)
def global_generators(subject: Subject) -> None:
    """Watch the global generators over a training."""
    with watched_globals():
        Trial(subject.make(), draw(), epochs=EPOCHS).train_epochs(0, EPOCHS)


@rule(
    "method",
    "device",
    expects="tensors are made where the task's are: on task.device",
    why="What works by luck on a CPU fails on the first GPU, or drags every batch across the bus.",
    fix="torch.zeros(n, device=task.device), torch.from_numpy(a).to(task.device), .cpu() before "
    ".numpy(); never .cuda(), never a device by name",
)
def device(subject: Subject) -> None:
    """Train where the task's device is told apart from the default one."""
    method = subject.make()
    data, watched = draw(), Watched()
    with elsewhere(watched.handed) as place:
        try:
            trial = Trial(method, data, epochs=EPOCHS, device=place, watched=watched)
            trial.train_epochs(0, EPOCHS)
        except Misplaced as fault:
            raise Violation(str(fault)) from fault
    if torch.cuda.is_available():
        Trial(subject.make(), data, epochs=EPOCHS, device="cuda").train_epochs(0, EPOCHS)


@rule(
    "method",
    "resume",
    expects="a training that continues from a checkpoint, after any epoch, gives the same bits as "
    "one that was never interrupted",
    why="Long runs are interrupted; if resuming changed the outcome, the record would depend on "
    "when the machine was switched off.",
    fix="keep everything that train_epoch changes in attributes of the method, nothing in "
    "closures, module variables or class attributes, and no view of a tensor next to the tensor",
)
def resume(subject: Subject) -> None:
    """Interrupt after 0, 1, 2 and 3 of four epochs; save the state as a checkpoint does."""
    whole = Trial(subject.make(), draw(), epochs=EPOCHS)
    states, reports = [dumps(whole.state.save())], []
    for epoch in range(EPOCHS):
        reports += whole.train_epochs(epoch, epoch + 1)
        states.append(dumps(whole.state.save()))
    for done in range(EPOCHS):
        rest = Trial(subject.make(), draw(), epochs=EPOCHS)
        rest.state.load(loads(states[done]))
        again = rest.train_epochs(done, EPOCHS)
        found = difference(
            {"report": reports[done:], "state": loads(states[-1])},
            {"report": again, "state": loads(dumps(rest.state.save()))},
        )
        if found:
            raise Violation(
                f"continued after {done} of {EPOCHS} epochs it ended differently: {found}"
            )


@rule(
    "method",
    "plain-state",
    expects="every attribute can be saved: numbers, strings, tensors, arrays, containers of "
    "them, and objects made in start() that have a state_dict or ordinary attributes",
    why="Nothing is unpickled from a checkpoint: to read results must not run code.",
    fix="make networks, optimisers and helper objects in start(); hold no files, locks, lambdas or "
    "iterators; give other classes state_dict() and load_state_dict()",
)
def plain_state(subject: Subject) -> None:
    """Pack the state as a checkpoint does."""
    trial = Trial(subject.make(), draw(), epochs=EPOCHS)
    try:
        state = trial.state
        trial.train_epochs(0, EPOCHS)
        dumps(state.save())
    except MedbenchError as error:
        raise Violation(str(error)) from error


@rule(
    "method",
    "prediction-leaves-no-trace",
    expects="calling predict between epochs changes nothing of the training",
    why="The harness predicts three splits after each epoch; their number and order must not be "
    "part of the outcome, least of all the test images.",
    fix="network.eval() in predict and network.train() in train_epoch; change no attribute in "
    "predict",
)
def prediction_leaves_no_trace(subject: Subject) -> None:
    """Train with and without looking."""
    trials = [Trial(subject.make(), draw(), epochs=EPOCHS) for _ in range(2)]
    reports = [
        trial.train_epochs(0, EPOCHS, look=look)
        for trial, look in zip(trials, (True, False), strict=True)
    ]
    for trial in trials:
        trial.predict()  # leaves the networks of both in eval mode
    one, two = (
        {"report": r, "state": t.state.save()} for r, t in zip(reports, trials, strict=True)
    )
    if found := difference(one, two):
        raise Violation(f"with predictions after each epoch and without: {found}")


@rule(
    "method",
    "prediction-by-image",
    expects="what is predicted for an image does not depend on the images beside it",
    why="Batch statistics of test images are knowledge of the test set, and the score would depend "
    "on evaluation.batch_size.",
    fix="put every network into eval mode in predict",
)
def prediction_by_image(subject: Subject) -> None:
    """Predict all at once, and one at a time."""
    trial = Trial(subject.make(), draw())
    trial.train_epochs(0, 2)
    images = trial.images.take(slice(0, 6))
    together = trial.predict(images)
    alone = torch.cat([trial.predict(images[i : i + 1]) for i in range(6)])
    off = float((together - alone).abs().max())
    if off > 1e-4:
        raise Violation(f"a probability differs by {off:.3g} when the image is alone in its batch")


@rule(
    "method",
    "oracle-declared",
    expects="what it asks of the oracle stands in its class variable `asks`",
    why="A method that is told the noise rate, or true labels, is not comparable with one that is "
    "not. The board marks what was asked; who reads the code must be able to know it before.",
    fix='say it: asks = ("noise_rate",). Or do without: estimate it, or take it as a setting',
)
def oracle_declared(subject: Subject) -> str:
    """Count the oracle's answers over a training."""
    method = subject.make()
    trial = Trial(method, draw(), epochs=EPOCHS)
    trial.train_epochs(0, EPOCHS)
    undeclared = sorted(set(trial.oracle.answers) - set(method.asks))
    if undeclared:
        question = undeclared[0]
        raise Violation(
            f"{question} was asked, and {trial.oracle.answers[question]} answers given; `asks` is "
            f"{tuple(method.asks)}"
        )
    asked = ", ".join(f"{n} x {question}" for question, n in sorted(trial.oracle.answers.items()))
    return f"asked of the oracle: {asked}" if asked else "asks the oracle nothing"


@rule(
    "method",
    "data-untouched",
    expects="the images and labels that the method is given are as before when it is done",
    why="They are shared by training, evaluation and the method's next epoch: a label changed in "
    "place is a correction that nobody can tell from the data.",
    fix="labels = batch.labels.clone() before changing them; no operation that ends in _ on what "
    "the task gives",
)
def data_untouched(subject: Subject) -> None:
    """Compare images and labels before and after."""
    trial = Trial(subject.make(), draw(), epochs=EPOCHS)
    images = trial.images.take(slice(0, 8))
    kept = images.clone()
    trial.train_epochs(0, EPOCHS)
    trial.predict(images)
    if found := difference(kept, images, "a batch given to predict"):
        raise Violation(found)
    if found := difference(trial.train.labels, torch.from_numpy(trial.data.noisy), "train.labels"):
        raise Violation(found)
    pixels = torch.from_numpy(trial.data.images).permute(0, 3, 1, 2)
    if found := difference(trial.images.pixels, pixels, "the training images"):
        raise Violation(found)


@rule(
    "method",
    "own-optimiser",
    expects="settings.optimiser, where given, is the optimiser of every network",
    why="It is a setting of every method and stands in the run key; a run with another optimiser "
    "would be a false record.",
    fix="task.make_optimiser(network, self.settings.optimiser)",
)
def own_optimiser(subject: Subject) -> None:
    """Give it an optimiser of its own."""
    own = {"name": "adam", "lr": 0.123}
    trial = Trial(subject.make(optimiser=own), draw())
    trial.train_epochs(0, 1)
    if not trial.watched.optimisers:
        raise NotApplicable("it makes no optimiser through the task")
    wanted = OptimiserSettings.model_validate(own)
    if any(given != wanted for given in trial.watched.optimisers):
        raise Violation("make_optimiser was called without settings.optimiser")
