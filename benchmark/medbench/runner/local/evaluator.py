"""The evaluator: the process that holds the clean labels, the oracle and the record.

A job is a pair of processes. The evaluator draws images and noise, hands the
training process what a method may see, answers and counts its questions, evaluates what
it predicts and writes the record. The training process is forked before the evaluator knows
the job, so nothing of it can be found in the training process's memory.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.engine.draw import DrawnImages, DrawnNoise, draw_images, draw_noise, network_seed
from medbench.engine.oracle import CountedOracle
from medbench.engine.readings import read_run
from medbench.engine.streams import derive_seed
from medbench.interfaces.dataset import DataContext
from medbench.interfaces.executor import Job
from medbench.plugins.registry import Registry
from medbench.protocol.runs import AXES, axes_of
from medbench.runner.local.channel import Message
from medbench.runner.local.checkpointer import Checkpointer
from medbench.runner.local.training import INITIAL, WEIGHTS
from medbench.runner.local.training_process import TrainingFailedError, TrainingProcess
from medbench.runner.local.usage import Meter
from medbench.runner.provenance import made_by, provenance
from medbench.store.records import make_record, write_record
from medbench.store.results import Results
from medbench.store.weights import PretrainedWeights, read_weights, write_weights

Progress = Callable[[int, int], None]


def evaluate_run(
    job: Job, results: Results, registry: Registry, training: TrainingProcess, progress: Progress
) -> None:
    """Carry a run out and write its record."""
    clock, meter = Clock(), Meter()
    spec = job.spec
    context = DataContext(job.cache)
    images = draw_images(spec, registry, context, keep=results.pixels.get)
    noise = draw_noise(spec, registry, images)
    oracle = CountedOracle(spec["rate"], noise.matrix, images.train.labels)
    start = spec["pretraining"]
    pretrained = read_weights(results.pretraining_path(spec["pretraining_key"])) if start else None
    clock.lap("data")
    checkpointer = _checkpointer(job, results, registry, training)
    training.send(checkpointer.with_state(_training_message(job, images, noise, pretrained)))
    with _restarted_after_fix(checkpointer):
        epochs, usage = _follow_training(job, training, oracle, checkpointer, progress)
    clock.lap("training", before=checkpointer.seconds_before)

    arrays = _run_arrays(images, noise, epochs)
    evaluation = spec["evaluation"]
    readings, curves = read_run(arrays, evaluation["primary"], evaluation["last_epochs"])
    summary = {
        "card": images.card.to_json(),
        "classes": list(images.card.class_names),
        "epochs": len(epochs),
        "noise": {
            "nominal_rate": spec["rate"],
            "realised_rate": float(np.mean(noise.train != images.train.labels)),
            "labels_hash": noise.labels_hash(),
            "learnable": noise.learnable,
        },
        "oracle": dict(sorted(oracle.answers.items())),
        "pretraining": _pretraining_summary(pretrained),
        "readings": readings,
    }
    clock.lap("evaluation")
    axes = axes_of(spec)
    metadata = {
        "provenance": provenance(registry, job),
        "times": clock.times,
        "resumed": checkpointer.resumed,
        "resources": meter.read(usage),
    }
    record = make_record(job.key, axes, _public_spec(spec), summary, {**arrays, **curves}, metadata)
    write_record(results.record_path(job.key), record)
    checkpointer.remove()


def evaluate_pretraining(
    job: Job, results: Results, registry: Registry, training: TrainingProcess, progress: Progress
) -> None:
    """Carry a pretraining out and write its weights."""
    clock, meter = Clock(), Meter()
    spec = job.spec
    context = DataContext(job.cache)
    images = draw_images(spec, registry, context, train_only=True, keep=results.pixels.get)
    parent = spec["parent_key"]
    before = read_weights(results.pretraining_path(parent)) if parent else None
    axes = (spec["dataset"]["name"], spec["pretext"]["name"], spec["seed"], spec["step"])
    values = {
        "normalise": spec["images"]["normalise"],
        "stage": spec["stage"],
        "compute": spec["compute"],
        "backbone": spec["backbone"],
        "pretext": spec["pretext"],
        "network_seed": network_seed(spec),
        "training_seed": derive_seed(spec["root_seed"], "pretraining", *axes),
        "device": job.device,
        "memory": job.memory,
    }
    clock.lap("data")
    arrays = {"images": images.train.images, **_weight_arrays(before)}
    checkpointer = _checkpointer(job, results, registry, training)
    training.send(checkpointer.with_state(Message("pretraining", values, arrays)))
    with _restarted_after_fix(checkpointer):
        curve, message = _follow_pretraining(job, training, checkpointer, progress)
    clock.lap("training", before=checkpointer.seconds_before)
    write_weights(
        results.pretraining_path(job.key),
        PretrainedWeights(
            key=job.key,
            spec=_public_spec(spec),
            weights=_prefixed(message.arrays, WEIGHTS),
            initial=_prefixed(message.arrays, INITIAL),
            loss=np.array([loss for loss, _ in curve]),
            accuracy=np.array([accuracy for _, accuracy in curve]),
            chance=message.values["chance"],
            metadata={
                "provenance": provenance(registry, job),
                "times": clock.times,
                "resumed": checkpointer.resumed,
                "resources": meter.read(message.values["usage"]),
            },
        ),
    )
    checkpointer.remove()


class Clock:
    """Wall seconds by stage: true, but no part of the science."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, stage: str, before: float = 0.0) -> None:
        """Count the time since the last lap as ``stage``, and what it took ``before``."""
        now = time.monotonic()
        self.times[stage] = round(before + now - self._since, 4)
        self._since = now


def _training_message(
    job: Job, images: DrawnImages, noise: DrawnNoise, pretrained: PretrainedWeights | None
) -> Message:
    """Put together what a method may see, and no more."""
    spec = job.spec
    axes = axes_of(spec)
    values = {
        "num_classes": images.card.num_classes,
        "normalise": spec["images"]["normalise"],
        "training": spec["training"],
        "compute": spec["compute"],
        "evaluation_batch": spec["evaluation"]["batch_size"],
        "backbone": spec["backbone"],
        "method": spec["method"],
        "network_seed": network_seed(spec),
        "training_seed": derive_seed(spec["root_seed"], "training", *(axes[axis] for axis in AXES)),
        "device": job.device,
        "memory": job.memory,
    }
    arrays: dict[str, NDArray[Any]] = {
        "train_images": images.train.images,
        "train_labels": noise.train,
        "validation_images": images.validation.images,
        "validation_labels": noise.validation,
        "test_images": images.test.images,
        **_weight_arrays(pretrained),
    }
    return Message("training", values, arrays)


def _checkpointer(
    job: Job, results: Results, registry: Registry, training: TrainingProcess
) -> Checkpointer:
    checkpoints = results.checkpoints(job.key)
    return Checkpointer(job, checkpoints, made_by(registry, job), training.stop)


@contextmanager
def _restarted_after_fix(checkpointer: Checkpointer) -> Iterator[None]:
    """Drop the checkpoints of a job whose plugin raised.

    It is repeated once the cause is fixed, and what an unfixed plugin did in the epochs
    before must not enter. A job that died or was stopped goes on from where it was.
    """
    try:
        yield
    except TrainingFailedError as error:
        if error.traceback and error.state == "failed":
            checkpointer.remove()
        raise


def _follow_pretraining(
    job: Job, training: TrainingProcess, checkpointer: Checkpointer, progress: Progress
) -> tuple[list[tuple[float, float]], Message]:
    """Collect epochs until training is done; return their curve and the last message."""
    curve: list[tuple[float, float]] = []

    def own() -> dict[str, Any]:
        return {"curve": curve}

    while True:
        message = training.receive()
        match message.kind:
            case "resumed":
                curve = checkpointer.resume()["curve"]
            case "anew":
                checkpointer.restart(message.values["reason"])
            case "epoch":
                curve.append((message.values["loss"], message.values["accuracy"]))
                progress(len(curve), job.spec["stage"]["epochs"])
                checkpointer.after_epoch(training, len(curve), own)
            case _:
                return curve, message


def _follow_training(
    job: Job,
    training: TrainingProcess,
    oracle: CountedOracle,
    checkpointer: Checkpointer,
    progress: Progress,
) -> tuple[list[Message], Mapping[str, Any]]:
    """Answer questions and collect epochs until the training process is done."""
    epochs: list[Message] = []

    def own() -> dict[str, Any]:
        kept = [(dict(epoch.values), dict(epoch.arrays)) for epoch in epochs]
        return {"epochs": kept, "oracle": dict(oracle.answers)}

    while True:
        message = training.receive()
        match message.kind:
            case "question":
                training.send(_answer(oracle, message))
            case "resumed":
                state = checkpointer.resume()
                epochs = [Message("epoch", *epoch) for epoch in state["epochs"]]
                # whatever the method asked in setting up again, it had been told before
                oracle.answers = Counter(state["oracle"])
            case "anew":
                checkpointer.restart(message.values["reason"])
            case "epoch":
                epochs.append(message)
                progress(len(epochs), job.spec["training"]["epochs"])
                checkpointer.after_epoch(training, len(epochs), own)
            case _:
                return epochs, message.values


def _answer(oracle: CountedOracle, message: Message) -> Message:
    match message.values["question"]:
        case "noise_rate":
            return Message("answer", {"answer": oracle.noise_rate()})
        case "noise_is_symmetric":
            return Message("answer", {"answer": oracle.noise_is_symmetric()})
        case "transition_matrix":
            matrix = oracle.transition_matrix()
            return Message("answer", {}, {} if matrix is None else {"answer": matrix})
        case _:
            labels = oracle.clean_labels(message.arrays["indices"])
            return Message("answer", {}, {"answer": labels})


def _run_arrays(
    images: DrawnImages, noise: DrawnNoise, epochs: list[Message]
) -> dict[str, NDArray[Any]]:
    """Stack the epochs' arrays beside the labels they are read against."""
    arrays: dict[str, NDArray[Any]] = {
        "test/labels": images.test.labels,
        "test/ids": images.test.ids,
        "validation/noisy_labels": noise.validation,
        "train/clean_labels": images.train.labels,
        "train/noisy_labels": noise.train,
        "train/ids": images.train.ids,
        "train/loss": np.array([message.values["loss"] for message in epochs]),
        "noise/realised_matrix": noise.realised,
    }
    if images.test.groups is not None:
        arrays["test/groups"] = images.test.groups
    if noise.matrix is not None:
        arrays["noise/transition_matrix"] = noise.matrix
    return {**arrays, **_stacked(epochs)}


#: What stands in an epoch in which a method reports nothing of a kind.
_NOT_REPORTED = {"train/selected": False, "train/clean_probability": np.nan, "train/corrected": -1}


def _stacked(epochs: list[Message]) -> dict[str, NDArray[Any]]:
    """Stack what the epochs brought; a method may report some things in some epochs only."""
    names = dict.fromkeys(name for message in epochs for name in message.arrays)
    stacked = {}
    for name in names:
        model = next(message.arrays[name] for message in epochs if name in message.arrays)
        nothing = np.full_like(model, _NOT_REPORTED.get(name, 0))
        stacked[name] = np.stack([message.arrays.get(name, nothing) for message in epochs])
    return stacked


def _pretraining_summary(weights: PretrainedWeights | None) -> dict[str, Any] | None:
    if weights is None:
        return None
    return {
        "key": weights.key,
        "loss": float(weights.loss[-1]),
        "accuracy": float(weights.accuracy[-1]),
        "chance": weights.chance,
    }


def _weight_arrays(weights: PretrainedWeights | None) -> dict[str, NDArray[Any]]:
    found = weights.weights if weights else {}
    return {WEIGHTS + name: array for name, array in found.items()}


def _prefixed(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def _public_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what was added to the spec for carrying it out."""
    return {name: value for name, value in spec.items() if not name.endswith("_key")}
