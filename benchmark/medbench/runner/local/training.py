"""What the training process does: it runs pretexts and methods.

It starts before the job is known and receives, over a channel, only what a
method may see: images, noisy labels, settings and seeds already derived. Clean
labels, the noise rate and the run's axes are never in its memory.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import resource
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from medbench.engine.attention import AttentionInput, attend, check_layer
from medbench.engine.pretraining import PretrainingInput, PretrainingStage
from medbench.engine.refinement import RefinementInput, RefinementStage
from medbench.engine.timing import StageTimer
from medbench.engine.training import EpochResult, TrainingInput, TrainingStage
from medbench.errors import MedbenchError
from medbench.interfaces.backbone import Backbone
from medbench.interfaces.options import (
    AttentionOptions,
    ComputeOptions,
    PretrainingOptions,
    RefinementOptions,
    TrainingOptions,
)
from medbench.plugins.registry import Registry
from medbench.protocol.spec import PluginSpec
from medbench.runner.local.channel import Channel, Message
from medbench.runner.local.processes import limit_memory
from medbench.store.arrays import dumps, loads

Stage: TypeAlias = TrainingStage | PretrainingStage | RefinementStage


class RemoteOracle:
    """Sends a method's questions to the evaluator, which answers and counts them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def _ask(self, question: str, **arrays: NDArray[Any]) -> Any:
        self._channel.send(Message("question", {"question": question}, arrays))
        return self._channel.receive().values["answer"]

    def noise_rate(self) -> float:
        """Return the nominal noise rate, in [0, 1]."""
        return float(self._ask("noise_rate"))

    def noise_is_symmetric(self) -> bool:
        """Return whether the noise is the same for all pairs of classes."""
        return bool(self._ask("noise_is_symmetric"))

    def transition_matrix(self) -> NDArray[np.float64] | None:
        """Return the noise's transition matrix (K, K), where it has one."""
        matrix: NDArray[np.float64] | None = self._ask("transition_matrix")
        return matrix

    def clean_labels(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the true labels at ``indices``: one answer each."""
        asked = np.asarray(indices, np.int64)
        labels: NDArray[np.int64] = self._ask("clean_labels", indices=asked)
        return labels

    def expert_labels(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the labels that the expert sells for a round."""
        labels: NDArray[np.int64] = self._ask("expert_labels", indices=indices)
        return labels


def training_main(channel: Channel, registry: Registry) -> None:
    """Carry out one job; send what goes wrong to the evaluator, with the traceback."""
    sys.argv = ["medbench"]  # the command line may name a rate
    try:
        _print_to(recv_handle(channel.connection))
        job = channel.receive()
        if job.values["memory"] is not None and job.values["device"] == "cpu":
            limit_memory(job.values["memory"])
        backbone = PluginSpec(**job.values["backbone"]).create(registry, "backbone")
        carry_out = _train if "method" in job.values else _pretrain
        carry_out(job, channel, registry, backbone)
    except EOFError:
        return  # the evaluator is gone
    except BaseException as error:  # noqa: BLE001 - failure is data, of any kind
        prefix = "" if isinstance(error, MedbenchError) else f"{type(error).__name__}: "
        reason = f"{prefix}{error}".splitlines()[0]
        state = "out-of-memory" if _out_of_memory(error) else "failed"
        trace = traceback.format_exc()
        sys.stderr.write(trace)  # into the log, as it is reported: readers see it once
        channel.send(Message("failed", {"reason": reason, "traceback": trace, "state": state}))
        sys.exit(1)


def _print_to(log: int) -> None:
    """Let this process print to an open file, which is closed."""
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)


def _out_of_memory(error: BaseException) -> bool:
    """Return whether memory was exhausted; of the CPU's, torch says so in the message only."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error)
    )


def _pretrain(job: Message, channel: Channel, registry: Registry, backbone: Backbone) -> None:
    values, given = job.values, job.values["input"]
    images = job.arrays["noisy"][: given.pop("images")]
    options = {
        "stage": PretrainingOptions.model_validate(given["stage"]),
        "compute": ComputeOptions.model_validate(given["compute"]),
    }
    pretext = PluginSpec(**values["pretext"]).create(registry, "pretext")
    given = PretrainingInput(**{**given, **options}, images=images)
    stage = PretrainingStage(given, backbone, pretext, values["device"])
    for epoch in stage.epochs(_resume(job, stage, channel)):
        channel.send(Message("epoch", {"loss": epoch.loss, "accuracy": epoch.accuracy}))
        _wait(channel, stage)
    end = {
        "weights": stage.weights(),
        "initial": dict(stage.initial),
        "chance": stage.pretext.chance(min(given.stage.batch_size, len(stage.images))),
        "usage": _resources(stage.device, stage.timer),
    }
    channel.send(Message("end", end))


def _train(job: Message, channel: Channel, registry: Registry, backbone: Backbone) -> None:
    values, given = job.values, job.values["input"]
    options = {
        "training": TrainingOptions.model_validate(given["training"]),
        "compute": ComputeOptions.model_validate(given["compute"]),
    }
    method = PluginSpec(**values["method"]).create(registry, "method")
    count = len(given["train_labels"])
    images = {
        "train_images": job.arrays["noisy"][:count],
        "validation_images": job.arrays["noisy"][count:],
        "test_images": job.arrays["test"],
    }
    given = TrainingInput(**{**given, **options, **images})
    oracle = RemoteOracle(channel)
    stage = TrainingStage(given, backbone, method, oracle, values["device"])
    attention = _attention(values)
    if attention:
        check_layer(stage, attention.options)
    if "acquisition" in values:
        refinement = _refinement(values, stage, oracle, registry)
        for result in refinement.rounds(_resume(job, refinement, channel)):
            channel.send(_epoch_message(result))
            _wait(channel, refinement)
    else:
        for result in stage.epochs(_resume(job, stage, channel)):
            channel.send(_epoch_message(result))
            _wait(channel, stage)
    began = time.monotonic()
    looks = attend(stage, attention) if attention else {}
    seconds = {"attention_seconds": round(time.monotonic() - began, 4)} if attention else {}
    cost = {
        **_resources(stage.device, stage.timer),
        "parameters": stage.harness.parameters,
        **seconds,
    }
    channel.send(Message("end", cost, looks))


def _attention(values: Mapping[str, Any]) -> AttentionInput | None:
    """Return what attention is computed of, if the protocol asks for it."""
    given = values.get("attention")
    if given is None:
        return None
    return AttentionInput(**{**given, "options": AttentionOptions.model_validate(given["options"])})


def _refinement(
    values: Mapping[str, Any], stage: TrainingStage, oracle: RemoteOracle, registry: Registry
) -> RefinementStage:
    """Restore the first phase and prepare the rounds that follow."""
    _restore(stage, values["state"], "at the end of the first phase")
    acquisition = PluginSpec(**values["acquisition"]).create(registry, "acquisition")
    options = RefinementOptions.model_validate(values["refinement"]["options"])
    given = RefinementInput(**{**values["refinement"], "options": options})
    return RefinementStage(stage, acquisition, given, oracle.expert_labels)


def _resume(job: Message, stage: Stage, channel: Channel) -> int:
    """Restore the state of a checkpoint, if there is one; return the epoch to begin with."""
    resume = job.values.get("resume")
    if resume is None:
        return 0
    if resume["sources"] != _sources(stage):
        channel.send(Message("restarted", {"reason": "the source of a plugin has changed since"}))
        return 0
    _restore(stage, resume["state"], f"after epoch {resume['epoch']}")
    channel.send(Message("resumed"))
    return int(resume["epoch"])


def _restore(stage: Stage, state: bytes, when: str) -> None:
    try:
        stage.state.load(loads(state, stage.device))
    except Exception as error:
        raise MedbenchError(
            f"the state {when} cannot be restored ({type(error).__name__}: {error}); "
            "--retry-failed starts the run from its first epoch"
        ) from error


def _wait(channel: Channel, stage: Stage) -> None:
    """Wait for "continue" from the evaluator; send it the state if it asks for a checkpoint."""
    while channel.receive().kind == "checkpoint":
        values = {"state": dumps(stage.state.save()), "sources": _sources(stage)}
        channel.send(Message("state", values))


def _sources(stage: Stage) -> dict[str, str]:
    """Return the SHA-256 of the source of each plugin: it may change while the version does not."""
    found = {}
    for plugin in stage.plugins():
        with suppress(TypeError, OSError):  # it was not written in a file
            source = Path(inspect.getfile(type(plugin)))
            found[type(plugin).__name__] = hashlib.sha256(source.read_bytes()).hexdigest()
    return found


def _epoch_message(result: EpochResult) -> Message:
    report = result.report
    arrays: dict[str, NDArray[Any]] = {
        "train/predicted": result.predicted,
        "train/noisy_loss": result.loss,
        "validation/probabilities": result.validation,
        "test/probabilities": result.test,
    }
    if report.selected is not None:
        arrays["train/selected"] = report.selected
    if report.clean_probability is not None:
        arrays["train/clean_probability"] = report.clean_probability.astype(np.float32)
    if report.corrected is not None:
        arrays["train/corrected"] = report.corrected.astype(np.int16)
    return Message("epoch", {"loss": float(report.loss)}, arrays)


def _resources(device: torch.device, timer: StageTimer) -> dict[str, Any]:
    cuda, timing = device.type == "cuda", timer.summary()
    return {
        "timing": timing,
        "cpu_seconds": time.process_time(),
        "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "gpu_seconds": sum(timing[n] for n in ("input", "step", "evaluation")) if cuda else None,
        "gpu_bytes": int(torch.cuda.max_memory_allocated(device)) if cuda else None,
    }
