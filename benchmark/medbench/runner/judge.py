"""The judge: the process that holds the clean labels, the oracle and the record.

A job is a pair of processes. The judge draws images and noise, hands the
trainer what a method may see, answers and counts its questions, evaluates what
it predicts and writes the record. The trainer is forked before the judge knows
the job, so nothing of it can be found in the trainer's memory.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import connection as pipes
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.engine.draw import DrawnImages, DrawnNoise, draw_images, draw_noise, network_seed
from medbench.engine.oracle import CountedOracle
from medbench.engine.readings import read_run
from medbench.engine.streams import derive_seed
from medbench.errors import MedbenchError
from medbench.interfaces.dataset import DataContext
from medbench.interfaces.executor import Job, JobState
from medbench.plugins.registry import Registry, discover
from medbench.protocol.runs import AXES
from medbench.runner.channel import Channel, Message
from medbench.runner.provenance import provenance
from medbench.runner.trainer import INITIAL, WEIGHTS, trainer_main
from medbench.runner.usage import Meter
from medbench.store.attempts import Attempt
from medbench.store.records import make_record, write_record
from medbench.store.results import Results
from medbench.store.weights import PretrainedWeights, read_weights, write_weights

Progress = Callable[[int, int], None]

#: Seconds between two looks at whether a silent trainer is alive.
_LOOK = 1.0


class TrainerFailedError(Exception):
    """The trainer reported a failure or died; ``traceback`` is its own."""

    def __init__(self, reason: str, traceback: str = "", state: JobState = "failed") -> None:
        super().__init__(reason)
        self.traceback = traceback
        self.state = state


@dataclass(frozen=True)
class Trainer:
    """The trainer as the judge sees it."""

    process: BaseProcess
    channel: Channel

    def send(self, message: Message) -> None:
        """Send a message; if the trainer is gone, raise what it left as its reason."""
        try:
            self.channel.send(message)
        except (BrokenPipeError, ConnectionResetError):
            while True:
                self.receive()  # raises at the latest when the pipe is empty

    def receive(self) -> Message:
        """Wait for the trainer's next message.

        Raises
        ------
        TrainerFailedError
            If it failed or died.
        """
        try:
            self._wait()
            message = self.channel.receive()
        except (EOFError, ConnectionResetError):
            self.process.join(5)
            raise TrainerFailedError(_death(self.process.exitcode)) from None
        if message.kind == "failed":
            raise TrainerFailedError(**message.values)
        return message

    def end(self) -> None:
        """See to it that the process is gone."""
        self.process.join(0.2)
        self.process.kill()
        self.process.join()

    def _wait(self) -> None:
        """Wait for a message or the trainer's death.

        A process that a plugin forked may hold the pipe open after the trainer
        is gone, so the pipe's end alone does not tell.
        """
        connection = self.channel.connection
        while not connection.poll(_LOOK):
            if self.process.exitcode is not None and not connection.poll(0):
                raise EOFError


def judge_main(connection: Connection, log: str) -> None:
    """Serve one job, received over ``connection``; tell progress and the end over it."""
    os.setsid()  # so that the job can be ended as one process group
    _redirect_output(Path(log))
    registry = discover()
    trainer = _start_trainer(registry, connection)
    try:
        end = _serve(connection, registry, trainer)
    finally:
        # whatever happened: a trainer left waiting would keep this process from ending
        trainer.end()
    connection.send_bytes(json.dumps(end).encode())


def _serve(connection: Connection, registry: Registry, trainer: Trainer) -> dict[str, str]:
    """Receive the job and carry it out; return how it ended."""
    try:
        job = Job.from_json(json.loads(connection.recv_bytes()))
    except EOFError:
        raise SystemExit("the runner is gone") from None
    Thread(target=_end_with_runner, args=(connection,), daemon=True).start()
    results, meter = Results(job.results), Meter()

    def progress(done: int, total: int) -> None:
        try:
            connection.send_bytes(json.dumps({"done": done, "total": total}).encode())
        except (BrokenPipeError, ConnectionResetError):
            raise SystemExit("the runner is gone") from None

    try:
        if job.kind == "run":
            judge_run(job, results, registry, trainer, progress)
        else:
            judge_pretraining(job, results, registry, trainer, progress)
    except Exception as error:  # noqa: BLE001 - failure is data: whatever it is, it is kept
        trainer.end()  # what it cost is known only then
        attempt = _attempt(error, job, meter)
        results.write_attempt(attempt)
        return {"state": attempt.state, "reason": attempt.reason}
    return {"state": "done", "reason": ""}


def judge_run(
    job: Job, results: Results, registry: Registry, trainer: Trainer, progress: Progress
) -> None:
    """Carry a run out and write its record."""
    clock, meter = Clock(), Meter()
    spec = job.spec
    context = DataContext(job.cache)
    images = draw_images(spec, registry, context)
    noise = draw_noise(spec, registry, images)
    oracle = CountedOracle(spec["rate"], noise.matrix, images.train.labels)
    start = spec["pretraining"]
    pretrained = read_weights(results.pretraining_path(spec["pretraining_key"])) if start else None
    clock.lap("data")
    trainer.send(_training_message(job, images, noise, pretrained))
    epochs, usage = _follow_training(job, trainer, oracle, progress)
    clock.lap("training")

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
    axes = _axes(spec)
    accidents = {
        "provenance": provenance(registry, job),
        "times": clock.times,
        "resources": meter.read(usage),
    }
    record = make_record(
        job.key, axes, _public_spec(spec), summary, {**arrays, **curves}, accidents
    )
    write_record(results.record_path(job.key), record)


def judge_pretraining(
    job: Job, results: Results, registry: Registry, trainer: Trainer, progress: Progress
) -> None:
    """Carry a pretraining out and write its weights."""
    clock, meter = Clock(), Meter()
    spec = job.spec
    images = draw_images(spec, registry, DataContext(job.cache), train_only=True)
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
    }
    clock.lap("data")
    arrays = {"images": images.train.images, **_weight_arrays(before)}
    trainer.send(Message("pretraining", values, arrays))
    curve: list[tuple[float, float]] = []
    while (message := trainer.receive()).kind == "epoch":
        curve.append((message.values["loss"], message.values["accuracy"]))
        progress(len(curve), spec["stage"]["epochs"])
    clock.lap("training")
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
            accidents={
                "provenance": provenance(registry, job),
                "times": clock.times,
                "resources": meter.read(message.values["usage"]),
            },
        ),
    )


class Clock:
    """Wall seconds by stage: true, but no part of the science."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, stage: str) -> None:
        """Count the time since the last lap as ``stage``."""
        now = time.monotonic()
        self.times[stage] = round(now - self._since, 4)
        self._since = now


def _training_message(
    job: Job, images: DrawnImages, noise: DrawnNoise, pretrained: PretrainedWeights | None
) -> Message:
    """Put together what a method may see, and no more."""
    spec = job.spec
    axes = _axes(spec)
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


def _follow_training(
    job: Job, trainer: Trainer, oracle: CountedOracle, progress: Progress
) -> tuple[list[Message], Mapping[str, Any]]:
    """Answer questions and collect epochs until the trainer is done."""
    epochs: list[Message] = []
    while True:
        message = trainer.receive()
        match message.kind:
            case "question":
                trainer.send(_answer(oracle, message))
            case "epoch":
                epochs.append(message)
                progress(len(epochs), job.spec["training"]["epochs"])
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


def _axes(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dataset": spec["dataset"]["name"],
        "noise": spec["noise"]["name"],
        "rate": spec["rate"],
        "pretext": spec["pretext"],
        "method": spec["method"]["name"],
        "seed": spec["seed"],
    }


def _public_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what was added to the spec for carrying it out."""
    return {name: value for name, value in spec.items() if not name.endswith("_key")}


def _start_trainer(registry: Registry, parent: Connection) -> Trainer:
    forks = sys.platform == "linux"
    context: Any = get_context("fork" if forks else "spawn")
    mine, theirs = context.Pipe()
    # a forked trainer has the registry and must close what it inherits; a spawned one has neither
    inherited = (registry, mine, parent) if forks else ()
    process = context.Process(target=_trainer_entry, args=(theirs, *inherited))
    process.start()
    theirs.close()
    return Trainer(process, Channel(mine))


def _trainer_entry(
    connection: Connection, registry: Registry | None = None, *inherited: Connection
) -> None:
    for pipe in inherited:
        pipe.close()  # the trainer has no way to the runner
    trainer_main(Channel(connection), registry or discover())


def _end_with_runner(connection: Connection) -> None:
    """End the whole job once the runner is gone: nobody else would end one that hangs."""
    pipes.wait([connection])  # the runner sends nothing after the job
    os.killpg(0, signal.SIGKILL)


def _redirect_output(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _attempt(error: Exception, job: Job, meter: Meter) -> Attempt:
    """Return what is kept of a job that an error ended."""
    state: JobState = "out-of-memory" if isinstance(error, MemoryError) else "failed"
    reason, trace = str(error), traceback.format_exc()
    if isinstance(error, TrainerFailedError):
        state, trace = error.state, error.traceback
    elif not isinstance(error, MedbenchError):
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return Attempt(
        key=job.key,
        label=job.label,
        kind=job.kind,
        attempt=job.attempt,
        state=state,
        reason=reason,
        traceback=trace,
        host=platform.node(),
        resources=meter.read(),
        alone=job.alone,
    )


def _death(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"the training process was killed by signal {-exitcode}"
    return f"the training process ended by itself with exit status {exitcode}"
