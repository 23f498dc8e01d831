"""The evaluator's side of checkpoints: when one is due, what is in it, and resuming from it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from medbench.errors import MedbenchError, RecordError
from medbench.interfaces.executor import Job
from medbench.runner.local.channel import Message
from medbench.runner.local.stopping import StoppedError, StopRequest
from medbench.runner.local.training_process import TrainingProcess
from medbench.store.checkpoints import Checkpoint, Checkpoints


class Checkpointer:
    """Writes the checkpoints of one job, and finds the newest that can be used.

    Parameters
    ----------
    job : Job
        Says how often.
    checkpoints : Checkpoints
        Where.
    made_by : mapping
        What must be the same for a checkpoint to be used: libraries, plugins, kind of
        device. With others the bits would differ from those of an uninterrupted run.
    stop : StopRequest
        Whether the job is to stop.
    """

    def __init__(
        self, job: Job, checkpoints: Checkpoints, made_by: Mapping[str, Any], stop: StopRequest
    ) -> None:
        self._job = job
        self._checkpoints = checkpoints
        self._made_by = made_by
        self._stop = stop
        self.found = self._newest()
        self.resumed: list[int] = []
        self._saved_epoch = self.found.epoch if self.found else 0
        self._began = self._saved_at = time.monotonic()

    def with_state(self, message: Message) -> Message:
        """Return the message that starts training, with the state to continue from."""
        if self.found is None:
            return message
        found = self.found
        resume = {"epoch": found.epoch, "state": found.training, "sources": found.sources}
        return replace(message, values={**message.values, "resume": resume})

    def resume(self) -> Mapping[str, Any]:
        """Return the evaluator's own state from the checkpoint in use."""
        if self.found is None:
            raise MedbenchError("the training process reports a checkpoint that it was not sent")
        state = self.found.evaluator
        self.resumed = [*state["resumed"], self.found.epoch]
        note(f"continues after epoch {self.found.epoch}, from a checkpoint")
        return state

    def restart(self, reason: str) -> None:
        """Note that the training process does not use the checkpoint."""
        note(f"starts from its first epoch: {reason}")
        self.found, self._saved_epoch = None, 0

    def continue_training(
        self, process: TrainingProcess, epoch: int, own: Callable[[], Mapping[str, Any]]
    ) -> None:
        """Continue training after an epoch; save a checkpoint first if one is due.

        Parameters
        ----------
        process : TrainingProcess
            Waits for a message to continue.
        epoch : int
            Epochs done.
        own : callable
            Returns the evaluator's own state.

        Raises
        ------
        StoppedError
            If the job is to stop; a checkpoint is saved first where that is possible.
        """
        stopping = self._stop.asked
        if stopping or self._due(epoch):
            process.send(Message("checkpoint"))
            self._save(epoch, own(), process.receive())
        if stopping:
            raise StoppedError(f"stopped after epoch {epoch}, {self._saved()}")
        process.send(Message("continue"))

    @property
    def seconds_before(self) -> float:
        """Seconds of training in the attempts that this one continues."""
        return self.found.seconds if self.found else 0.0

    def remove(self) -> None:
        """Remove all checkpoints of the job."""
        with suppress(OSError):  # the next `medbench run` tries again
            self._checkpoints.remove()

    def _saved(self) -> str:
        if not self._saved_epoch:
            return "it will start from its first epoch"
        return f"it will continue after epoch {self._saved_epoch}"

    def _due(self, epoch: int) -> bool:
        job = self._job
        if job.checkpoint_epochs:
            return epoch - self._saved_epoch >= job.checkpoint_epochs
        if job.checkpoint_seconds is not None:
            return time.monotonic() - self._saved_at >= job.checkpoint_seconds
        return False

    def _save(self, epoch: int, own: Mapping[str, Any], message: Message) -> None:
        """Write a checkpoint; where that fails the run continues without."""
        checkpoint = Checkpoint(
            key=self._job.key,
            epoch=epoch,
            made_by=self._made_by,
            sources=message.values["sources"],
            seconds=self.seconds_before + time.monotonic() - self._began,
            evaluator={**own, "resumed": self.resumed},
            training=message.values["state"],
        )
        try:
            self._checkpoints.write(checkpoint)
        except (OSError, RecordError) as error:
            note(f"the checkpoint of epoch {epoch} was not saved: {error}; the run continues")
        else:
            self._saved_epoch = epoch
        self._saved_at = time.monotonic()  # also where it failed: to try each epoch would cost

    def _newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that can be used; note what is wrong with others."""
        paths = self._checkpoints.paths()
        for path in paths:
            try:
                found = self._checkpoints.read(path)
            except RecordError as error:
                note(str(error))
                continue
            different = [n for n, v in self._made_by.items() if found.made_by.get(n) != v]
            if not different:
                return found
            note(f"{path} was made with another {different[0]}; it is not used")
        if paths:
            note("no checkpoint can be used: it starts from its first epoch")
        return None


def note(text: str) -> None:
    """Write a line to the job's log."""
    sys.stderr.write(f"medbench: {text}\n")
    sys.stderr.flush()
