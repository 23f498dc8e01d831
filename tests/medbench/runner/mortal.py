"""Plugins whose processes are killed once, each in another stage of a job, as by a power cut.

The tests put this file into a distribution of its own; see test_interruption.py.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

import medbench.runner.local.evaluator
from medbench.interfaces import EpochReport, LearningTask, PretextStep
from medbench_plugins.methods.co_teaching import CoTeaching
from medbench_plugins.methods.dividemix import DivideMix
from medbench_plugins.methods.settings import CoTeachingSettings, DivideMixSettings
from medbench_plugins.noise.symmetric import SymmetricExclusive
from medbench_plugins.pretexts.rotation import Rotation
from medbench_plugins.pretexts.settings import RotationSettings

#: Where the tests look for marks, next to the folder that this file is installed in.
NOTES = Path(__file__).parents[1] / "notes"


def die_once(notes: str, who: str, pid: int) -> None:
    """Kill a process, unless that was done before."""
    mark = Path(notes) / who
    if not mark.exists():
        mark.touch()
        os.kill(pid, signal.SIGKILL)
        signal.pause()


class MortalDivideMixSettings(DivideMixSettings):
    notes: str = Field("", description="folder of the marks of who died")
    dies_in: int = Field(0, description="epoch in which the process is killed")


class MortalCoTeachingSettings(CoTeachingSettings):
    notes: str = Field("", description="folder of the marks of who died")
    dies_in: int = Field(0, description="epoch in which the process is killed")


class MortalRotationSettings(RotationSettings):
    notes: str = Field("", description="folder of the marks of who died")
    dies_at: int = Field(0, description="batch at which the process is killed")


class MortalDivideMix(DivideMix):
    """Dies within an epoch: the division is made, the networks have not learned from it."""

    Settings = MortalDivideMixSettings

    def _train(self, *arguments: Any) -> float:
        self._die(arguments[-1])
        return super()._train(*arguments)

    def _warm_up(self, number: int, network: Any, optimiser: Any, epoch: int) -> float:
        loss = super()._warm_up(number, network, optimiser, epoch)
        self._die(epoch)
        return loss

    def _die(self, epoch: int) -> None:
        if epoch == self.settings.dies_in:
            die_once(self.settings.notes, self.name, os.getpid())


class MortalCoTeaching(CoTeaching):
    """Asks the oracle when it starts, too; takes its evaluator process along."""

    Settings = MortalCoTeachingSettings

    def start(self, task: LearningTask) -> None:
        super().start(task)
        task.oracle.noise_rate()

    def train_epoch(self, epoch: int) -> EpochReport:
        report = super().train_epoch(epoch)
        if epoch == self.settings.dies_in:
            die_once(self.settings.notes, self.name, os.getppid())
        return report


class RaisesOnce(CoTeaching):
    """Fails by an error, which somebody fixes."""

    Settings = MortalCoTeachingSettings

    def train_epoch(self, epoch: int) -> EpochReport:
        mark = Path(self.settings.notes) / self.name
        if epoch == self.settings.dies_in and not mark.exists():
            mark.touch()
            raise RuntimeError("not fixed yet")
        return super().train_epoch(epoch)


class MortalRotation(Rotation):
    """Keeps a memory from batch to batch."""

    Settings = MortalRotationSettings

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        self.calls = 0
        self.memory = torch.zeros(4)

    def loss(self, *arguments: Any) -> PretextStep:
        self.calls += 1
        if self.calls == self.settings.dies_at:
            die_once(self.settings.notes, f"{self.name} {self.calls}", os.getpid())
        step = super().loss(*arguments)
        self.memory = self.memory * 0.9 + step.correct
        weight = 1 + self.memory.sum() / 1e4
        return PretextStep(step.loss * weight, step.correct, step.questions)


class MortalSymmetric(SymmetricExclusive):
    """Brings this module into the evaluator process, which draws the noise."""


_read_run = medbench.runner.local.evaluator.read_run


def _read_run_once_killed(arrays: Any, *arguments: Any) -> Any:
    """Evaluate; the first time of all, die instead."""
    die_once(str(NOTES), "evaluation", os.getpid())
    return _read_run(arrays, *arguments)


medbench.runner.local.evaluator.read_run = _read_run_once_killed
