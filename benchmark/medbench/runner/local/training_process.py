"""The training process as the evaluator sees it: started, sent messages, and ended."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import connection as pipes
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import send_handle
from typing import Any

from medbench.interfaces.executor import JobState
from medbench.plugins.registry import Registry
from medbench.runner.local import processes
from medbench.runner.local.channel import Channel, Message
from medbench.runner.local.stopping import StoppedError, StopRequest
from medbench.runner.local.training import training_main

#: Seconds between two checks of whether a silent training process is alive.
_INTERVAL = 1.0
#: Seconds that a training process has to leave once it is terminated.
TERM_SECONDS = 1.0


class TrainingFailedError(Exception):
    """The training process reported a failure or died; ``traceback`` is its own."""

    def __init__(self, reason: str, traceback: str = "", state: JobState = "failed") -> None:
        super().__init__(reason)
        self.traceback = traceback
        self.state = state


@dataclass(frozen=True)
class TrainingProcess:
    """A running training process, and whether the job is to stop."""

    process: BaseProcess
    channel: Channel
    stop: StopRequest
    killed_before: int = 0

    def assigned(self) -> TrainingProcess:
        """Let the process print where this one does, now that there is a job."""
        with suppress(OSError):  # it is gone, which send() will say
            send_handle(self.channel.connection, sys.stdout.fileno(), None)
        return replace(self, killed_before=processes.kills_for_memory())

    def send(self, message: Message) -> None:
        """Send a message; if the training process is gone, raise the reason that it sent."""
        try:
            self.channel.send(message)
        except (BrokenPipeError, ConnectionResetError):
            while True:
                self.receive()  # raises at the latest when the pipe is empty

    def receive(self) -> Message:
        """Wait for the training process's next message.

        Raises
        ------
        TrainingFailedError
            If it failed or died.
        StoppedError
            If the job is to stop and the training process did not answer in time.
        """
        try:
            self._wait()
            message = self.channel.receive()
        except (EOFError, ConnectionResetError):
            self.process.join(5)
            raise self._death() from None
        if message.kind == "failed":
            raise TrainingFailedError(**message.values)
        return message

    def end(self) -> None:
        """End the process: close the connection, terminate it, kill it."""
        self.process.join(0.2)
        self.channel.connection.close()
        self.process.terminate()
        self.process.join(TERM_SECONDS)
        self.process.kill()
        self.process.join()

    def _death(self) -> TrainingFailedError:
        """Return why the process is gone."""
        status = self.process.exitcode
        if status == -signal.SIGKILL and processes.kills_for_memory() > self.killed_before:
            reason = "the machine ran out of memory, and the system killed the training process"
            return TrainingFailedError(reason, state="out-of-memory")
        if status is not None and status < 0:
            reason = f"the training process was killed by signal {-status}"
            state: JobState = "interrupted" if status in processes.KILLED else "failed"
            return TrainingFailedError(reason, state=state)
        reason = f"the training process ended by itself with exit status {status}"
        return TrainingFailedError(reason)

    def _wait(self) -> None:
        """Wait for a message or the training process's death.

        A process that a plugin forked may hold the pipe open after the training process
        is gone, so the end of the pipe is not enough to know.
        """
        connection = self.channel.connection
        while True:
            # once asked, its descriptor would always be ready
            awaited: list[Any] = [connection] if self.stop.asked else [connection, self.stop]
            ready = pipes.wait(awaited, timeout=max(0.0, min(_INTERVAL, self.stop.left())))
            if connection in ready:
                return
            if self.stop.left() <= 0:
                raise StoppedError("stopped within an epoch; the last checkpoint counts")
            if self.process.exitcode is not None and not connection.poll(0):
                raise EOFError


def start_training_process(
    registry: Registry, parent: Connection, stop: StopRequest
) -> TrainingProcess:
    """Start a training process, before the job is known.

    Parameters
    ----------
    registry : Registry
        The plugins.
    parent : multiprocessing.connection.Connection
        The evaluator's connection to the runner, which the training process must not have.
    stop : StopRequest
        Whether the job is to stop.
    """
    forks = sys.platform == "linux"
    context: Any = get_context("fork" if forks else "spawn")
    mine, theirs = context.Pipe()
    # a forked training process must close what it inherits
    inherited = (mine, parent) if forks else ()
    arguments = (os.getpid(), theirs, registry.to_json(), *inherited)
    process = context.Process(target=_training_entry, args=arguments)
    process.start()
    theirs.close()
    return TrainingProcess(process, Channel(mine), stop)


def _training_entry(
    evaluator: int, connection: Connection, announced: str, *inherited: Connection
) -> None:
    processes.die_with_parent(evaluator)
    processes.prefer_for_killing(processes.TRAINING_SCORE)
    # Ctrl-C and a cluster's SIGTERM reach every process of a job; the evaluator decides
    # whether the training process finishes its epoch
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_if_alone(connection))
    os.register_at_fork(after_in_child=_plain_signals)
    for pipe in inherited:
        pipe.close()  # the training process must not reach the runner
    training_main(Channel(connection), Registry.from_json(announced))


def _leave_if_alone(connection: Connection) -> Callable[[int, Any], None]:
    """Return a handler that exits once the evaluator has closed its end of the connection."""
    peer = socket.socket(fileno=os.dup(connection.fileno()))

    def leave(signum: int, frame: Any) -> None:
        with suppress(BlockingIOError):
            if not peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                raise SystemExit(128 + signum)

    return leave


def _plain_signals() -> None:
    """Restore the default signals in processes that a plugin forks."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
