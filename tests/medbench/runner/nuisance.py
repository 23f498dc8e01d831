"""Methods that misbehave, each in its own way, as a third party's package.

The tests put this file into a distribution of its own; see test_local.py.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import numpy as np
import torch

from medbench import Plugin, hookimpl
from medbench.interfaces import EpochReport, LearningTask
from medbench.interfaces.method import MethodSettings
from medbench_plugins.methods.cross_entropy import CrossEntropy


class NotedSettings(MethodSettings):
    """``notes`` is a folder for what the method has to tell the test."""

    notes: str = ""


class Nuisance(CrossEntropy):
    """Cross-entropy that misbehaves in its second epoch."""

    Settings = NotedSettings

    def train_epoch(self, epoch: int) -> EpochReport:
        report = super().train_epoch(epoch)
        if epoch == 1:
            self.misbehave()
        return report

    def misbehave(self) -> None:
        raise NotImplementedError

    def note(self, name: str, text: object) -> None:
        path = Path(self.settings.notes) / name
        path.with_suffix(".part").write_text(str(text))
        path.with_suffix(".part").rename(path)


class Raises(Nuisance):
    def misbehave(self) -> None:
        raise ValueError("no good\nand a second line with ümläuts")


class RaisesAtFirst(Nuisance):
    """Works once the file ``fixed`` is there."""

    def misbehave(self) -> None:
        if not (Path(self.settings.notes) / "fixed").exists():
            raise RuntimeError("not fixed yet")


class FailsToStart(Nuisance):
    def start(self, task: LearningTask) -> None:
        raise KeyError("network")


class Exits(Nuisance):
    def misbehave(self) -> None:
        sys.exit(5)


class Vanishes(Nuisance):
    def misbehave(self) -> None:
        os._exit(7)


class Segfaults(Nuisance):
    def misbehave(self) -> None:
        ctypes.string_at(0)


class KillsItself(Nuisance):
    def misbehave(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class KillsItsParent(Nuisance):
    def misbehave(self) -> None:
        self.note("orphan", os.getpid())
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)


class KilledOnce(Nuisance):
    """Its first attempt is killed, as by the system or a person."""

    def misbehave(self) -> None:
        once = Path(self.settings.notes) / type(self).__name__
        if not once.exists():
            once.touch()
            self.kill()

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class ParentKilledOnce(KilledOnce):
    def kill(self) -> None:
        os.kill(os.getppid(), signal.SIGKILL)


class ParentTerminatedOnce(KilledOnce):
    def kill(self) -> None:
        os.kill(os.getppid(), signal.SIGTERM)


class ForksAndVanishes(Nuisance):
    """The child holds every pipe open that its parent had."""

    def misbehave(self) -> None:
        if os.fork() == 0:
            self.note("forked", os.getpid())
            time.sleep(600)
        while not (Path(self.settings.notes) / "forked").exists():
            time.sleep(0.01)
        os._exit(9)


class LeavesChild(Nuisance):
    def misbehave(self) -> None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        self.note("child", child.pid)


class LeavesDaemon(Nuisance):
    """Its grandchild leaves session and group, and has no parent in the job any more."""

    def misbehave(self) -> None:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                self.note("daemon", os.getpid())
                time.sleep(600)
            os._exit(0)
        while not (Path(self.settings.notes) / "daemon").exists():
            time.sleep(0.01)


class LeavesThread(Nuisance):
    """A thread that is no daemon keeps a process from ending by itself."""

    def misbehave(self) -> None:
        self.note("threaded", os.getpid())
        Thread(target=time.sleep, args=(600,)).start()


class EatsMemory(Nuisance):
    def misbehave(self) -> None:
        self.eaten = bytearray(3 * 1024**3)


class ChildrenEatMemory(Nuisance):
    """Each within the limit, all of them together beyond."""

    def misbehave(self) -> None:
        for _ in range(5):
            if os.fork() == 0:
                eaten = bytearray(b"x") * (400 * 1024**2)
                time.sleep(600)
                del eaten
        time.sleep(600)


class Floods(Nuisance):
    def misbehave(self) -> None:
        sys.stdout.write("the first line\n")
        for number in range(300):
            sys.stdout.write(f"{number:099}\n" * 1000)
        sys.stdout.write("the last line\n")


class Slow(Nuisance):
    """Takes its time while the file ``slow`` is there, and says when it has begun."""

    def train_epoch(self, epoch: int) -> EpochReport:
        report = CrossEntropy.train_epoch(self, epoch)
        if (Path(self.settings.notes) / "slow").exists():
            self.note("at-work", epoch)
            time.sleep(0.4)
        return report


class Hangs(Nuisance):
    def misbehave(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.note("hanging", f"{os.getpid()} {os.getppid()}")
        while True:
            time.sleep(600)


class Prints(Nuisance):
    def misbehave(self) -> None:
        print('{"state": "done", "reason": ""}')  # noqa: T201
        sys.stderr.write("stderr, too\n")
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor in (1, 2):
            os.write(descriptor, bytes(range(256)) * 400)


class Meddles(Nuisance):
    """Changes all that a process shares with itself."""

    def misbehave(self) -> None:
        os.chdir("/")
        os.environ.clear()
        os.umask(0o777)
        sys.path.clear()
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)


class WrongShape(Nuisance):
    """Gives a single column where there are two classes."""

    def misbehave(self) -> None:
        pass

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return super().predict(images)[:, :1]


WAYS = {
    "raises": Raises,
    "raises-at-first": RaisesAtFirst,
    "fails-to-start": FailsToStart,
    "exits": Exits,
    "vanishes": Vanishes,
    "segfaults": Segfaults,
    "kills-itself": KillsItself,
    "kills-its-parent": KillsItsParent,
    "killed-once": KilledOnce,
    "parent-killed-once": ParentKilledOnce,
    "parent-terminated-once": ParentTerminatedOnce,
    "forks-and-vanishes": ForksAndVanishes,
    "leaves-child": LeavesChild,
    "leaves-daemon": LeavesDaemon,
    "leaves-thread": LeavesThread,
    "eats-memory": EatsMemory,
    "children-eat-memory": ChildrenEatMemory,
    "floods": Floods,
    "slow": Slow,
    "hangs": Hangs,
    "prints": Prints,
    "meddles": Meddles,
    "wrong-shape": WrongShape,
}


@hookimpl
def medbench_methods() -> list[Plugin]:
    found = [
        Plugin(
            name=name,
            target=f"nuisance:{way.__name__}",
            summary="misbehaves",
            interface=1,
            settings="nuisance:NotedSettings",
        )
        for name, way in WAYS.items()
    ]
    # a module that ends the process that imports it
    exits = Plugin(
        name="exits-when-imported",
        target="nuisance_exits:Method",
        summary="misbehaves",
        interface=1,
        settings="nuisance:NotedSettings",
    )
    return [*found, exits]
