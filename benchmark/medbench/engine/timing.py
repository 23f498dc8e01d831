"""What the seconds of a training are spent on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

#: What is measured: making mini-batches, learning from them, predictions after an epoch, and
#: saving and sending what an epoch leaves.
PARTS = ("input", "step", "evaluation", "bookkeeping")

#: Intervals that are kept until they are added up: on a CUDA device that waits for it.
_MOST = 4096

Drawn = TypeVar("Drawn")


class StageTimer:
    """Seconds of a stage by part, without its warm-up.

    The first mini-batch of a process is the warm-up: memory is allocated and kernels are chosen.
    Nothing is counted before the second is asked for. On a CUDA device events of the current
    stream are timed, so that a step does not wait for the device.

    Parameters
    ----------
    device : torch.device
        Where the stage trains.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cuda = device.type == "cuda"
        self._images = 0
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._intervals: list[tuple[str, Any, Any]] = []
        self._part: tuple[str, Any] | None = None
        self._batches, self._warm = 0, False

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what is done inside as ``name``, and not as the part around it."""
        around = self._part[0] if self._part else None
        self._switch(name)
        try:
            yield
        finally:
            self._switch(around)

    def batches(self, drawn: Iterable[Drawn], size: Callable[[Drawn], int]) -> Iterator[Drawn]:
        """Yield mini-batches; making them is ``input``, and their images are counted."""
        iterator = iter(drawn)
        while True:
            with self.part("input"):
                self._warm = self._batches > 0
                batch = next(iterator, None)
            if batch is None:
                return
            self._images += size(batch) if self._warm else 0
            self._batches += 1
            yield batch

    def summary(self) -> dict[str, float]:
        """Return seconds by part, and ``images``: those of the mini-batches that were timed."""
        self._add_up()
        return {"images": self._images, **{n: round(s, 4) for n, s in self._seconds.items()}}

    def _add_up(self) -> None:
        if self._cuda:
            torch.cuda.synchronize(self._device)
        for name, start, end in self._intervals:
            self._seconds[name] += start.elapsed_time(end) / 1000 if self._cuda else end - start
        self._intervals.clear()

    def _switch(self, name: str | None) -> None:
        """End the part that is counted and begin another."""
        now = self._now()
        if self._part and self._warm:
            self._intervals.append((*self._part, now))
            if len(self._intervals) >= _MOST:
                self._add_up()
        self._part = None if name is None else (name, now)

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event
