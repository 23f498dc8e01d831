"""Methods that search their process for what they may not know, as a third party's package.

The tests put this file into a distribution of its own; see test_stealth.py.
What is searched for is never named here or in the settings, or it would be
found: labels are known by their SHA-256, the rate by its double, and the
pattern of memory by every word less one.
"""

from __future__ import annotations

import gc
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from medbench import Plugin, hookimpl
from medbench.engine.oracle import CountedOracle
from medbench.engine.samples import NoisyLabels, RunImages
from medbench.interfaces import EpochReport
from medbench.interfaces.dataset import DataContext, Dataset, LabelledImages
from medbench.interfaces.method import MethodSettings
from medbench.interfaces.noise import CleanLabels
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import discover
from medbench_plugins.methods.cross_entropy import CrossEntropy

#: What holds clean labels or leads to them.
HOLDERS = (Dataset, LabelledImages, CleanLabels, RunImages, NoisyLabels, CountedOracle, h5py.File)


class BurglarSettings(MethodSettings):
    """``hints`` is a file that says what to look for, ``loot`` one for what was found."""

    hints: str
    loot: str


class Burglar(CrossEntropy):
    """Searches after its last epoch, when all has passed that will pass."""

    Settings = BurglarSettings

    def search(self, hints: dict[str, Any]) -> list[str]:
        return [*search_objects(hints), *search_memory(hints)]

    def train_epoch(self, epoch: int) -> EpochReport:
        report = super().train_epoch(epoch)
        if epoch == self.task.epochs - 1:
            hints = json.loads(Path(self.settings.hints).read_text())
            Path(self.settings.loot).write_text(json.dumps(self.search(hints)))
        return report


class Asker(Burglar):
    """Asks the oracle first: shows that the search finds what there is."""

    def train_epoch(self, epoch: int) -> EpochReport:
        if epoch == 0:
            self.rate = self.task.oracle.noise_rate()
            self.labels = self.task.oracle.clean_labels(np.arange(len(self.task.train)))
            self.doubled = self.rate * 2
        return super().train_epoch(epoch)


#: What the opener keeps open.
OPENED: list[Any] = []


class Opener(Burglar):
    """Opens a dataset by itself, against all rules: shows that the search finds one."""

    def train_epoch(self, epoch: int) -> EpochReport:
        if epoch == 0:
            entry = discover().get(kind_named("dataset"), "pneumonia-mnist")
            dataset = entry.create("pneumonia-mnist", {})
            # not in the plugin's state, which holds nothing that cannot be saved
            opened = ExitStack()
            data = opened.enter_context(dataset.open(DataContext(Path())))
            OPENED.extend([dataset, opened, data])
        return super().train_epoch(epoch)

    def search(self, hints: dict[str, Any]) -> list[str]:
        return [*search_objects(hints)]


def everything() -> Iterator[Any]:
    """Yield every object that can be reached from anywhere in this process."""
    pending: list[Any] = [*gc.get_objects(), *sys.modules.values(), sys.argv, sys.orig_argv]
    for frame in sys._current_frames().values():
        here = frame
        while here is not None:
            pending += [here.f_locals, here.f_globals]
            here = here.f_back
    kept = []  # what is made on the way stays, so that no address is seen twice
    seen = {id(pending), id(kept)}
    while pending:
        thing = pending.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        kept.append(thing)
        yield thing
        pending.extend(gc.get_referents(thing))


def search_objects(hints: dict[str, Any]) -> Iterator[str]:
    """Yield what is found among the objects of this process, its command line and environment."""
    for thing in everything():
        kind = type(thing)
        if kind is float:
            if is_rate(thing, hints):
                yield "rate as a number"
        elif kind is str:
            if len(thing) < 1_000_000 and has_rate(thing, hints):
                yield f"rate in the text {thing[:200]!r}"
        elif kind in (bytes, bytearray):
            if len(thing) < 1_000_000 and has_rate(thing.decode("latin-1"), hints):
                yield f"rate in the bytes {bytes(thing[:200])!r}"
        elif issubclass(kind, HOLDERS):
            yield f"a {kind.__name__}"
        elif issubclass(kind, (np.ndarray, torch.Tensor, list, tuple)):
            yield from search_array(thing, hints)
    for file in ("cmdline", "environ"):
        if has_rate(Path("/proc/self", file).read_bytes().decode("latin-1"), hints):
            yield f"rate in /proc/self/{file}"
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists the folder is closed again
            if descriptor.readlink().suffix == ".h5":
                yield "an open image file or record"


def search_array(thing: Any, hints: dict[str, Any]) -> Iterator[str]:
    try:
        array = thing.detach().cpu().numpy() if isinstance(thing, torch.Tensor) else thing
        if not isinstance(array, np.ndarray):
            if len(array) not in hints["sizes"]:
                return
            array = np.array(array)
        if array.dtype.kind not in "iufb" or array.size > 100_000:
            return
        if array.ndim == 2 and len(array) in hints["sizes"]:
            array = array.argmax(axis=1)  # one-hot
        flat = array.reshape(-1)
    except Exception:  # noqa: BLE001 - not every list is an array
        return
    if flat.dtype.kind == "f" and any(is_rate(value, hints) for value in flat[:2000]):
        yield "rate in an array"
    if flat.size in hints["sizes"] and np.isfinite(flat.astype(float)).all():
        digest = hashlib.sha256(flat.astype("<i8").tobytes()).hexdigest()
        if digest in hints["digests"]:
            yield f"{hints['digests'][digest]} labels in a {type(thing).__name__}"


def is_rate(value: float, hints: dict[str, Any]) -> bool:
    doubled = hints["doubled"]
    # the rate, or the share of right labels
    return abs(value * 2 - doubled) < 1e-7 or abs((1 - value) * 2 - doubled) < 1e-7


def has_rate(text: str, hints: dict[str, Any]) -> bool:
    numbers = re.findall(r"0\.\d{4,17}", text) if "0." in text else ()
    return any(is_rate(float(number), hints) for number in numbers)


def search_memory(hints: dict[str, Any]) -> Iterator[str]:
    """Yield what is found in the process's raw memory, freed or not."""
    patterns = {what: np.array(words, np.int64) for what, words in hints["less_one"].items()}
    longest = max(map(len, patterns.values())) * 8
    step = 16 * 1024**2
    regions = [line.split()[:2] for line in Path("/proc/self/maps").read_text().splitlines()]
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for span, access in regions:
            if not access.startswith("rw"):
                continue
            start, end = (int(side, 16) for side in span.split("-"))
            for place in range(start, end, step):
                try:
                    memory.seek(place)
                    piece = memory.read(min(end - place, step + longest))
                except (OSError, ValueError):
                    break
                # less one here too: the search must not put the words into memory
                words = np.frombuffer(piece, np.int64, len(piece) // 8) - 1
                for what, pattern in patterns.items():
                    if occurs(pattern, words):
                        yield f"{what} in memory"


def occurs(pattern: np.ndarray, words: np.ndarray) -> bool:
    if len(words) < len(pattern):
        return False
    starts = np.flatnonzero(words[: len(words) - len(pattern) + 1] == pattern[0])
    for offset in range(1, len(pattern)):
        if not len(starts):
            return False
        starts = starts[words[starts + offset] == pattern[offset]]
    return bool(len(starts))


@hookimpl
def medbench_methods() -> list[Plugin]:
    return [
        Plugin(
            name=way.__name__.lower(),
            target=f"burglar:{way.__name__}",
            summary="searches",
            interface=1,
            settings="burglar:BurglarSettings",
        )
        for way in (Burglar, Asker, Opener)
    ]
