"""The workers of a Slurm cluster as ``medbench status`` shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.text import Text

from medbench.cli.common import clock
from medbench.cluster.slurm import Worker, workers_of
from medbench.cluster.submission import submissions
from medbench.plain import plain
from medbench.store.results import ResultsFolder

#: Workers with a fault that are shown one by one; more of them are counted.
_FAULTS = 5


@dataclass(frozen=True)
class Workers:
    """The workers of a results folder, and why Slurm could not be asked, if it could not."""

    arrays: tuple[str, ...]
    workers: Sequence[Worker] = ()
    missing: str = ""


def read_workers(results: ResultsFolder) -> Workers | None:
    """Ask Slurm for the workers of a results folder; ``None`` if none were submitted.

    Of all but the last submission only those that have not ended are of interest.
    """
    made = submissions(results.root)
    if not made:
        return None
    workers, missing = workers_of([array for each in made for array in each.arrays])
    last = made[-1].arrays
    shown = [each for each in workers if each.alive or each.job.partition("_")[0] in last]
    arrays = dict.fromkeys([*(each.job.partition("_")[0] for each in shown), *last])
    return Workers(tuple(arrays), shown, missing)


def workers_view(found: Workers) -> RenderableType:
    """Return the workers by Slurm's states, those with a fault, and what was asked and used."""
    counts = Counter((_word(w), w.reason if w.state == "PENDING" else "") for w in found.workers)
    words = [
        f"{count} {word}{f' ({reason})' if reason else ''}"
        for (word, reason), count in counts.most_common()
    ]
    head = f"workers of Slurm job {', '.join(found.arrays)}: {', '.join(words) or 'unknown'}"
    lines = [Text(plain(head, 2000))]
    if found.missing:
        lines.append(Text(plain(found.missing), style="yellow"))
    if requeued := sum(worker.requeued for worker in found.workers):
        lines.append(Text(f"requeued {requeued} times"))
    faults = [w for w in found.workers if not w.alive and w.state not in ("COMPLETED", "CANCELLED")]
    for worker in faults[:_FAULTS]:
        text = f"{worker.job} on {worker.node or '?'}: {_word(worker)}, {worker.reason}"
        lines.append(Text(plain(text), style="red"))
    if len(faults) > _FAULTS:
        lines.append(Text(f"and {len(faults) - _FAULTS} more"))
    if used := _used(found.workers):
        lines.append(Text(used, style="dim"))
    return Group(*lines)


def _word(worker: Worker) -> str:
    if worker.state == "FAILED" and worker.reason == "exit status 1":
        return "ended, some runs failed"  # the exit status of medbench run
    return worker.state.lower().replace("_", " ")


def _used(workers: Sequence[Worker]) -> str:
    """Return what was used of what was asked."""
    parts = []
    started = [worker for worker in workers if worker.seconds]
    if started:
        longest = max(started, key=lambda worker: worker.seconds)
        limit = f" of {clock(longest.limit)}" if longest.limit else ""
        parts.append(f"up to {clock(longest.seconds)}{limit}")
    measured = [worker for worker in started if worker.memory]
    if measured:
        most = max(measured, key=lambda worker: worker.memory)
        asked = f" of {decimal(round(most.memory_asked))}" if most.memory_asked else ""
        parts.append(f"up to {decimal(round(most.memory))}{asked} of memory")
    busy = [worker for worker in started if worker.cpu_seconds and worker.cpus]
    if busy:
        share = sum(w.cpu_seconds for w in busy) / sum(w.seconds * w.cpus for w in busy)
        parts.append(f"{share:.0%} of the CPU time")
    return f"used: {', '.join(parts)}" if parts else ""
