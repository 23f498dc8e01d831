"""A second executor: one subprocess a job, as a cluster's scheduler would start it."""

from __future__ import annotations

import json
import platform
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread
from typing import Any

from medbench.interfaces.executor import Executor, Job, JobEnd, JobHandle, JobProgress
from medbench.runner.one_job import line_to_event
from medbench.store.attempts import Attempt
from medbench.store.results import ResultsFolder


class Apart(Executor):
    """Starts ``python -m medbench.runner.one_job`` for each job and reads what it says."""

    def __init__(self, slots: int, settings: Any = None, modules: Sequence[str] = ()) -> None:
        super().__init__(slots, settings, modules)
        self._said: queue.Queue[tuple[Job, subprocess.Popen[str], str]] = queue.Queue()
        self._running: dict[str, subprocess.Popen[str]] = {}

    def submit(self, job: Job) -> JobHandle:
        folder = job.results / "submitted"
        folder.mkdir(exist_ok=True)
        file = folder / f"{job.key}.{job.attempt}.json"
        file.write_text(json.dumps(job.to_json()))
        process = subprocess.Popen(
            [sys.executable, "-m", "medbench.runner.one_job", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._running[job.key] = process
        Thread(target=self._listen, args=(job, process), daemon=True).start()
        return JobHandle(job.key, f"process {process.pid}")

    def _listen(self, job: Job, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._said.put((job, process, line))
        self._said.put((job, process, ""))  # the end of what it says

    def events(self, wait: float) -> Sequence[JobProgress | JobEnd]:
        until = time.monotonic() + wait
        while (left := until - time.monotonic()) > 0:
            with suppress(queue.Empty):
                job, process, line = self._said.get(timeout=left)
                # else it was cancelled, or has ended and is repeated
                if self._running.get(job.key) is process:
                    return [self._event(job, line)]
        return []

    def _event(self, job: Job, line: str) -> JobProgress | JobEnd:
        event = line_to_event(line) if line else self._vanished(job)
        if isinstance(event, JobEnd):
            self._running.pop(job.key).wait()
        return event

    def _vanished(self, job: Job) -> JobEnd:
        """Keep what became of a job whose process ended without a word."""
        reason = f"the job's process ended with exit status {self._running[job.key].wait()}"
        ResultsFolder(job.results).write_attempt(
            Attempt(
                *(job.key, job.label, job.kind, job.attempt, "failed", reason),
                host=platform.node(),
                alone=job.alone,
            )
        )
        return JobEnd(job.key, "failed", reason)

    def cancel(self, handle: JobHandle) -> None:
        process = self._running.pop(handle.key)
        process.kill()  # what is below it ends when its runner is gone
        process.wait()

    def stop(self, seconds: float) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        for key in list(self._running):
            self.cancel(JobHandle(key, ""))
