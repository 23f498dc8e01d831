"""The evaluator: it holds the clean labels and the oracle, and writes the record.

A job is a pair of processes. The evaluator loads images, draws noisy labels, sends the
training process what a method may see, answers and counts its questions, evaluates its
predictions and writes the record. The training process is forked before the evaluator
receives the job, so nothing of it is in the training process's memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medbench.attention import balanced, by_hash, quantised, read_attention, to_cells
from medbench.engine.label_noise import Arrays, estimate_noise, splits_as_given
from medbench.engine.masks import read_masks
from medbench.engine.oracle import CountedOracle, Expert, SilentOracle, expert_labels
from medbench.engine.readings import read_run
from medbench.engine.samples import (
    NoisyLabels,
    RunImages,
    corrupt_labels,
    load_images,
    network_seed,
)
from medbench.engine.selection import in_channels
from medbench.engine.streams import derive_seed, numpy_stream
from medbench.errors import MedbenchError
from medbench.interfaces.dataset import LABELS_AS_GIVEN, DataContext
from medbench.interfaces.executor import Job
from medbench.interfaces.options import AttentionOptions
from medbench.metrics import score
from medbench.plugins.registry import Registry
from medbench.protocol.spec import PretrainingSpec, RunSpec
from medbench.runner.local.channel import Message
from medbench.runner.local.checkpointer import Checkpointer
from medbench.runner.local.training_process import TrainingFailedError, TrainingProcess
from medbench.runner.local.usage import Meter
from medbench.runner.provenance import made_by, provenance
from medbench.store.phases import FirstPhase, guessed_clean, read_phase, write_phase
from medbench.store.records import Record, make_record, read_header, write_record
from medbench.store.results import ResultsFolder
from medbench.store.weights import PretrainedWeights, read_weights, write_weights

Progress = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Training:
    """A finished training: its epochs, last message and checkpoints; its state where it is kept."""

    epochs: list[Message]
    end: Message
    checkpointer: Checkpointer
    state: bytes = b""


@dataclass(frozen=True)
class Evaluator:
    """Carries out one job.

    Parameters
    ----------
    job : Job
        What to do.
    registry : Registry
        Where the plugins are.
    process : TrainingProcess
        Trains; has not received anything yet.
    progress : callable
        Called after each epoch: epochs done, epochs in all, scores of this one.
    """

    job: Job
    registry: Registry
    process: TrainingProcess
    progress: Progress

    def evaluate(self) -> None:
        """Carry the job out and write its record or weights."""
        spec = self.job.spec
        if isinstance(spec, RunSpec):
            self._run(spec)
        else:
            self._pretrain(spec)

    def _run(self, spec: RunSpec) -> None:
        clock, meter = Clock(), Meter()
        images = self._images(spec)
        noise = corrupt_labels(
            spec.noise.create(self.registry, "noise"),
            *(spec.rate, images, spec.dataset.name, spec.root_seed, spec.seed),
        )
        oracle = _oracle(spec, images, noise)
        pretrained = self._starting_weights(spec.pretraining)
        phase = self._first_phase(spec)
        shown = self._shown(spec, images)
        clock.lap("data")
        given = {
            "train_labels": noise.train,
            "validation_labels": noise.validation,
            "num_classes": images.card.num_classes,
            "training": spec.training.model_dump(),
            "evaluation_batch": spec.evaluation.batch_size,
            "training_seed": derive_seed(spec.root_seed, "training", *spec.axes.values()),
        }
        plugins = {"method": spec.method.to_json(), **_refinement(spec, phase)}
        if shown is not None:
            plugins["attention"] = shown.given(images)
        if phase is not None:
            oracle.restore({"oracle": phase.oracle})

        def scores(epoch: Message) -> dict[str, float]:
            return _scores(spec.evaluation.primary, images.test.labels, noise.validation, epoch)

        pixels = {"noisy": images.with_noisy_labels, "test": images.test.images}
        training = self._train(plugins, given, pixels, scores, pretrained, oracle)
        clock.lap("training", before=training.checkpointer.seconds_before)

        arrays = _run_arrays(images, noise, training.epochs)
        about_noise, matrices = _about_noise(spec, images, noise, arrays)
        arrays |= matrices
        if isinstance(oracle, Expert) and phase is not None:
            arrays |= oracle.arrays(noise.train)
            arrays["refinement/guessed_clean"] = np.asarray(phase.guessed_clean)
        if shown is not None:
            arrays |= shown.arrays(training.end.arrays)
        readings, curves = read_run(arrays, spec.evaluation.primary, spec.last_epochs)
        summary = {
            "card": images.card.to_json(),
            "classes": list(images.card.class_names),
            "epochs": len(training.epochs),
            "noise": about_noise,
            "oracle": dict(sorted(oracle.answers.items())),
            "pretraining": _pretraining_summary(pretrained),
            "readings": readings,
            **({"first_phase": phase.key} if phase else {}),
        }
        if spec.attention is not None:
            summary["attention"] = read_attention(arrays, spec.attention.top)
        if "test" not in images.card.trusted:
            summary["scored_against"] = LABELS_AS_GIVEN
        clock.lap("evaluation")
        usage = meter.read(training.end.values)
        metadata = self._metadata(clock, training, usage, pretrained)
        named = (spec.key, spec.axes, spec.to_json())
        record = make_record(*named, summary, {**arrays, **curves}, metadata)
        if self.job.keep_state:
            self._keep_state(record, training, oracle)
        write_record(self._results.record_path(spec.key), record)
        training.checkpointer.remove()

    def _pretrain(self, spec: PretrainingSpec) -> None:
        clock, meter = Clock(), Meter()
        images = self._images(spec, train_only=True)
        before = self._starting_weights(spec.parent)
        axes = (spec.dataset.name, spec.pretext.name, spec.seed, spec.step)
        clock.lap("data")
        given = {
            "images": len(images.train.labels),  # of those that it receives
            "stage": spec.stage.model_dump(),
            "training_seed": derive_seed(spec.root_seed, "pretraining", *axes),
        }

        def scores(epoch: Message) -> dict[str, float]:
            return {f"pretraining/{name}": epoch.values[name] for name in ("loss", "accuracy")}

        pixels = {"noisy": in_channels(images.with_noisy_labels, spec.channels)}
        training = self._train({"pretext": spec.pretext.to_json()}, given, pixels, scores, before)
        clock.lap("training", before=training.checkpointer.seconds_before)
        end = training.end.values
        write_weights(
            self._results.pretraining_path(spec.key),
            PretrainedWeights(
                key=spec.key,
                spec=spec.to_json(),
                weights=end["weights"],
                initial=end["initial"],
                loss=np.array([epoch.values["loss"] for epoch in training.epochs]),
                accuracy=np.array([epoch.values["accuracy"] for epoch in training.epochs]),
                chance=end["chance"],
                metadata=self._metadata(clock, training, meter.read(end["usage"]), before),
            ),
        )
        training.checkpointer.remove()

    @property
    def _results(self) -> ResultsFolder:
        return ResultsFolder(self.job.results)

    def _images(self, spec: RunSpec | PretrainingSpec, *, train_only: bool = False) -> RunImages:
        named, pixels = spec.dataset.to_json(), self._results.pixels
        return load_images(
            spec.dataset.create(self.registry, "dataset"),
            DataContext(self.job.cache),
            *(spec.images, spec.root_seed, spec.seed),
            content_hash=spec.dataset.content_hash,
            train_only=train_only,
            cache=lambda what, *made: pixels.get([named, *what], *made),
        )

    def _shown(self, spec: RunSpec, images: RunImages) -> Shown | None:
        """Choose the images whose attention is computed, and read their masks."""
        if spec.attention is None:
            return None
        test = images.test
        chosen = balanced(test.ids, test.labels, spec.attention.images)
        dataset = spec.dataset.create(self.registry, "dataset")
        with dataset.open(DataContext(self.job.cache)) as data:
            named = (spec.dataset.name, test.ids[chosen], spec.images.size)
            return Shown(spec.attention, chosen, read_masks(data, *named))

    def _starting_weights(self, start: PretrainingSpec | None) -> PretrainedWeights | None:
        return read_weights(self._results.pretraining_path(start.key)) if start else None

    def _first_phase(self, spec: RunSpec) -> FirstPhase | None:
        if spec.first_phase is None:
            return None
        phase = read_phase(self._results.phase_path(spec.first_phase.key))
        if phase.guessed_clean is None:
            raise MedbenchError(
                f"method {spec.method.name} reports neither a selection nor clean probabilities, "
                "so that nothing is known to be clean: it cannot be refined"
            )
        return phase

    def _keep_state(self, record: Record, training: Training, oracle: CountedOracle) -> None:
        """Keep what refinements start from.

        Raises
        ------
        MedbenchError
            If the run was done before and came out otherwise.
        """
        key = record.header.key
        path = self._results.record_path(key)
        if path.exists() and read_header(path).digest != record.header.digest:
            raise MedbenchError(
                f"trained once more, for its final state, it differs from {path}, which other "
                "versions or another device made; move that file away and run again"
            )
        arrays = [epoch.arrays for epoch in training.epochs]
        losses = np.stack([each["train/noisy_loss"] for each in arrays])
        loss = training.epochs[-1].values["loss"]
        given = (guessed_clean(arrays), oracle.state()["oracle"], training.state)
        write_phase(self._results.phase_path(key), FirstPhase(key, loss, losses, *given))

    def _metadata(
        self,
        clock: Clock,
        training: Training,
        resources: Mapping[str, Any],
        start: PretrainedWeights | None,
    ) -> dict[str, Any]:
        resumed, origin = training.checkpointer.resumed, provenance(self.registry, self.job)
        about = {"times": clock.times, "resumed": resumed, "resources": resources}
        # here, too, since results are passed on without the weights
        before = {"pretraining": start.cost} if start else {}
        return {"provenance": origin, **about, **before}

    def _train(
        self,
        plugin: Mapping[str, Any],
        given: Mapping[str, Any],
        pixels: Mapping[str, NDArray[np.uint8]],
        scores: Callable[[Message], Mapping[str, float | None]],
        start: PretrainedWeights | None,
        oracle: CountedOracle | None = None,
    ) -> Training:
        """Start training and follow it to its end: answer questions, collect epochs.

        Parameters
        ----------
        plugin : mapping
            The method or pretext by its kind, as JSON.
        given : mapping
            What it may see besides what all trainings get.
        pixels : mapping of str to ndarray of uint8
            Images, as the training process finds them in the message's arrays.
        scores : callable
            Returns what is reported of an epoch; what has no finite value is left out.
        start : PretrainedWeights, optional
            What it starts from.
        oracle : CountedOracle, optional
            Answers its questions.
        """
        checkpoints = self._results.checkpoints(self.job.key)
        origin = made_by(self.registry, self.job)
        checkpointer = Checkpointer(self.job, checkpoints, origin, self.process.stop)
        epochs: list[Message] = []
        final = b""

        def own_state() -> dict[str, Any]:
            saved = [(dict(epoch.values), dict(epoch.arrays)) for epoch in epochs]
            return {"epochs": saved, **(oracle.state() if oracle else {})}

        message = _training_message(self.job, plugin, given, pixels, start)
        self.process.send(checkpointer.with_state(message))
        with _checkpoints_dropped_after_error(checkpointer):
            while True:
                received = self.process.receive()
                match received.kind:
                    case "question" if oracle:
                        self.process.send(_answer(oracle, received))
                    case "resumed":
                        state = checkpointer.resume()
                        epochs[:] = [Message("epoch", *epoch) for epoch in state["epochs"]]
                        if oracle:  # what the method asked in start() was counted before
                            oracle.restore(state)
                        final = checkpointer.found.training if checkpointer.found else b""
                    case "restarted":
                        checkpointer.restart(received.values["reason"])
                    case "epoch":
                        epochs.append(received)
                        self.progress(len(epochs), self.job.spec.epochs, _finite(scores(received)))
                        if self.job.keep_state and len(epochs) == self.job.spec.epochs:
                            self.process.send(Message("checkpoint"))
                            final = self.process.receive().values["state"]
                        checkpointer.continue_training(self.process, len(epochs), own_state)
                    case _:
                        return Training(epochs, received, checkpointer, final)


@dataclass(frozen=True)
class Shown:
    """What attention is computed of, and the masks that it is compared with.

    Parameters
    ----------
    options : AttentionOptions
        The protocol's.
    chosen : ndarray of int64, shape (N,)
        Positions of the test images.
    masks : ndarray of uint8, shape (N, H, W), optional
        Their masks, 0 and 1. The training process gets none of them.
    """

    options: AttentionOptions
    chosen: NDArray[np.int64]
    masks: NDArray[np.uint8] | None

    def given(self, images: RunImages) -> dict[str, Any]:
        """Return what the training process receives: no labels, no masks."""
        options, test, train = self.options, images.test, images.train
        count = options.check_images if options.check == "occlusion" else 0
        checked = balanced(test.ids, test.labels, min(count, len(self.chosen)))
        # the mean colour, so that what is blanked is no brighter or darker than images are
        blank = np.round(train.images.mean(axis=(0, 1, 2))).astype(np.uint8)
        given = {
            "options": options.model_dump(),
            "images": self.chosen,
            "occluded": checked,
            "blank": blank,
            "features": np.sort(by_hash(train.ids)[: options.features]),
        }
        if self.masks is not None:
            whole, inside = test.images[self.chosen], self.masks[..., None] == 1
            given["blanked"] = np.stack(
                [np.where(inside, whole, blank), np.where(inside, blank, whole)]
            )
        return given

    def arrays(self, found: Arrays) -> dict[str, NDArray[Any]]:
        """Return what a record holds: what was found, and the masks as shares of its cells."""
        if self.masks is None:
            return dict(found)
        cells = found["attention/maps"].shape[1:]
        return {**found, "attention/masks": quantised(to_cells(self.masks, *cells))}


def _scores(
    primary: str, test: NDArray[Any], validation: NDArray[Any], epoch: Message
) -> dict[str, float]:
    """Return the scores of a run's epoch against test labels and noisy validation labels."""
    labels = {"test": test, "validation": validation}
    found = {
        f"{split}/{primary}": score(primary, labels[split], epoch.arrays[f"{split}/probabilities"])
        for split in labels
    }
    return {"train/loss": epoch.values["loss"], **found}


def _finite(scores: Mapping[str, float | None]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in scores.items()
        if value is not None and np.isfinite(value)
    }


class Clock:
    """Wall seconds by stage, for the record's metadata."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, stage: str, before: float = 0.0) -> None:
        """Count the time since the last lap, and ``before``, as ``stage``."""
        now = time.monotonic()
        self.times[stage] = round(before + now - self._since, 4)
        self._since = now


def _training_message(
    job: Job,
    plugin: Mapping[str, Any],
    given: Mapping[str, Any],
    pixels: Mapping[str, NDArray[np.uint8]],
    start: PretrainedWeights | None,
) -> Message:
    """Return what the training process may see, and no more."""
    spec = job.spec
    common = {
        "normalise": spec.images.normalise,
        "compute": spec.compute.model_dump(),
        "network_seed": network_seed(spec.root_seed, spec.dataset.name, spec.seed),
        "weights": dict(start.weights) if start else None,
    }
    values = {
        **plugin,
        "backbone": spec.backbone.to_json(),
        "device": job.device,
        "memory": job.memory,
        "input": {**common, **given},
    }
    return Message("start", values, pixels)


@contextmanager
def _checkpoints_dropped_after_error(checkpointer: Checkpointer) -> Iterator[None]:
    """Remove the checkpoints of a job whose plugin raised an error.

    The job is repeated once the plugin is fixed, and must not build on epochs of the faulty
    version. A job that died or was stopped continues from its checkpoint.
    """
    try:
        yield
    except TrainingFailedError as error:
        if error.traceback and error.state == "failed":
            checkpointer.remove()
        raise


def _oracle(spec: RunSpec, images: RunImages, noise: NoisyLabels) -> CountedOracle:
    """Return the oracle of a run; of a refinement, the expert."""
    if noise.realised is None:
        return SilentOracle(spec.noise.name)
    known = (spec.rate, noise.matrix, images.train.labels)
    if spec.refinement is None:
        return CountedOracle(*known)
    options = spec.refinement.options
    rng = numpy_stream(spec.root_seed, "expert", spec.dataset.name, spec.seed)
    labels = images.train.labels, images.card.num_classes
    answers = expert_labels(*labels, options.expert_error, rng)
    return Expert(*known, answers, rounds=options.rounds, budget=options.budget)


def _refinement(spec: RunSpec, phase: FirstPhase | None) -> dict[str, Any]:
    """Return what the training process receives for a refinement."""
    if spec.refinement is None or phase is None:
        return {}
    given = {name: getattr(phase, name) for name in ("guessed_clean", "losses", "loss")}
    return {
        "acquisition": spec.refinement.acquisition.to_json(),
        "refinement": {"options": spec.refinement.options.model_dump(), **given},
        "state": phase.state,
    }


def _answer(oracle: CountedOracle, message: Message) -> Message:
    questions: dict[str, Callable[..., Any]] = {
        "noise_rate": oracle.noise_rate,
        "noise_is_symmetric": oracle.noise_is_symmetric,
        "transition_matrix": oracle.transition_matrix,
        "clean_labels": oracle.clean_labels,
    }
    if isinstance(oracle, Expert):
        questions["expert_labels"] = oracle.sell
    answer = questions[message.values["question"]](*message.arrays.values())
    return Message("answer", {"answer": answer})


def _about_noise(
    spec: RunSpec, images: RunImages, noise: NoisyLabels, arrays: Arrays
) -> tuple[dict[str, Any], Arrays]:
    """Return what the record says of the noise: as it was drawn, or estimated."""
    known = noise.realised is not None
    about: dict[str, Any] = {
        "nominal_rate": spec.rate if known else None,
        "realised_rate": float(np.mean(noise.train != images.train.labels)) if known else None,
        "labels_hash": noise.labels_hash(),
        "learnable": noise.learnable,
    }
    if known:
        return about, {}
    splits = splits_as_given(images.card.trusted)
    about["estimate"], matrices = estimate_noise(arrays, splits, spec.evaluation.last_epochs)
    return about, matrices


def _run_arrays(
    images: RunImages, noise: NoisyLabels, epochs: list[Message]
) -> dict[str, NDArray[Any]]:
    """Return the epochs' arrays, stacked, and the labels that they are compared with."""
    arrays: dict[str, NDArray[Any]] = {
        "test/labels": images.test.labels,
        "test/ids": images.test.ids,
        "validation/noisy_labels": noise.validation,
        "train/noisy_labels": noise.train,
        "train/ids": images.train.ids,
        "train/loss": np.array([message.values["loss"] for message in epochs]),
    }
    if noise.realised is not None:
        arrays["train/clean_labels"] = images.train.labels
        arrays["noise/realised_matrix"] = noise.realised
    if images.test.groups is not None:
        arrays["test/groups"] = images.test.groups
    if noise.matrix is not None:
        arrays["noise/transition_matrix"] = noise.matrix
    return {**arrays, **_stacked(epochs)}


#: Values of an epoch in which a method does not report an array.
_NOT_REPORTED = {"train/selected": False, "train/clean_probability": np.nan, "train/corrected": -1}


def _stacked(epochs: list[Message]) -> dict[str, NDArray[Any]]:
    """Stack the arrays of all epochs; a method may report some of them in some epochs only."""
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
    curves = {"loss": weights.loss, "accuracy": weights.accuracy}
    last = {name: float(curve[-1]) if len(curve) else None for name, curve in curves.items()}
    return {"key": weights.key, **last, "chance": weights.chance}
