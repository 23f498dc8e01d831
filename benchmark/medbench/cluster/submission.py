"""Submissions: what is kept of one in the results folder, and how it is made."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import medbench
from medbench.cluster import slurm
from medbench.cluster.options import ClusterOptions, seconds_of
from medbench.cluster.script import arrays, directives, script
from medbench.errors import ClusterError
from medbench.plain import plain
from medbench.runner.origin import LIBRARIES, version_of
from medbench.store.atomic import reading, write_text, writing

#: Seconds between Slurm's signal and the time limit, beyond those a run gets to end its epoch.
MARGIN = 60
#: Options that say where a job may run; the probe is run with them.
_PLACE = (
    "partition", "account", "qos", "constraint", "reservation", "nodelist", "exclude", "clusters",
    "licenses",
)  # fmt: skip
#: Seconds that the probe waits for a free node, and that it may take.
_PROBE_WAIT, _PROBE = 5, 60


@dataclass(frozen=True)
class Submission:
    """Workers that were submitted together; the file ``cluster/N.json``.

    Parameters
    ----------
    number : int
        N, from 1.
    workers : int
        How many.
    results, cache : str
        Folders that each node must see.
    versions : mapping of str to str
        What a node must have, by name.
    datasets : mapping of str to str
        Content hash by name, of the prepared datasets.
    arrays : tuple of str
        Slurm's job ids; empty until Slurm has accepted them.
    submitted : float
        Seconds since the epoch.
    host : str
        Machine that submitted.
    """

    number: int
    workers: int
    results: str
    cache: str
    versions: Mapping[str, str]
    datasets: Mapping[str, str]
    arrays: tuple[str, ...] = ()
    submitted: float = field(default_factory=time.time)
    host: str = field(default_factory=platform.node)


def cluster_folder(results: Path) -> Path:
    """Return the folder of submissions in a results folder."""
    return results / "cluster"


def read_submission(path: Path) -> Submission:
    """Read a submission.

    Raises
    ------
    StoreError
        If the file is missing or damaged.
    """
    with reading(path):
        values = json.loads(path.read_text(encoding="utf-8"))
        return Submission(**{**values, "arrays": tuple(values["arrays"])})


def submissions(results: Path) -> list[Submission]:
    """Return what was submitted for a results folder, the oldest first.

    Raises
    ------
    StoreError
        If a file is damaged.
    """
    found = [read_submission(path) for path in cluster_folder(results).glob("*.json")]
    return sorted((each for each in found if each.arrays), key=lambda each: each.number)


def _write(submission: Submission, path: Path) -> None:
    with writing(path):
        write_text(path, json.dumps(asdict(submission), indent=1))


def versions_here() -> dict[str, str]:
    """Return the versions that decide bits: the same on all nodes."""
    python = ".".join(platform.python_version_tuple()[:2])
    libraries = {name: version_of(name) for name in LIBRARIES}
    return {"medbench": medbench.__version__, "Python": python, **libraries}


def margin_for(options: ClusterOptions, epoch: float | None) -> int:
    """Return how long before the time limit workers are asked to stop, in seconds.

    Parameters
    ----------
    options : ClusterOptions
        Its ``stop_before`` is taken as it is.
    epoch : float or None
        Seconds that the longest epoch takes, if known.

    Raises
    ------
    ClusterError
        If the time limit leaves no time for an epoch.
    """
    margin = options.stop_before or max(2 * MARGIN, math.ceil(1.5 * (epoch or 0.0)) + MARGIN)
    limit = seconds_of(options.sbatch.get("time", "UNLIMITED"))
    needed = margin + (epoch or 0.0)
    if limit <= needed:
        takes = f"an epoch takes up to {epoch:.0f} s here and " if epoch else ""
        raise ClusterError(
            f"time={options.sbatch['time']} is too short: {takes}workers stop {margin} s before "
            f"the limit; give more than {math.ceil(needed / 60)} minutes"
        )
    return margin


@dataclass(frozen=True)
class Submitter:
    """Submits workers of one command.

    Parameters
    ----------
    options : ClusterOptions
        How.
    results, cache : pathlib.Path
        Folders, absolute.
    arguments : sequence of str
        What follows ``medbench run --all``, without ``--protocol``, ``--results`` and ``--cache``.
    largest : int
        Tasks that an array may have.
    margin : int
        Seconds before the time limit at which workers stop.
    """

    options: ClusterOptions
    results: Path
    cache: Path
    arguments: Sequence[str]
    largest: int
    margin: int

    def scripts(self, number: int) -> list[str]:
        """Return the scripts of submission ``number``: one an array."""
        folder = cluster_folder(self.results)
        protocol = ["--protocol", str(folder / f"{number}.toml")]
        words = [*protocol, "--results", str(self.results), *self.arguments]
        words += ["--stop-within", str(max(6, self.margin - MARGIN))]
        words += ["--idle", str(self.options.idle)]
        words += [] if self.options.scratch else ["--cache", str(self.cache)]
        split = arrays(self.options.workers, self.options.at_once, self.largest)
        return [
            script(self.options, folder, number, words, tasks, cap, self.margin)
            for tasks, cap in split
        ]

    def next_number(self) -> int:
        """Return the number of the next submission."""
        found = (path.stem for path in cluster_folder(self.results).glob("*.toml"))
        return max((int(stem) for stem in found if stem.isdigit()), default=0) + 1

    def check(self) -> None:
        """Ask Slurm whether it would accept the scripts; nothing is submitted.

        Raises
        ------
        ClusterError
            In Slurm's words, with what was asked.
        """
        for text in self.scripts(self.next_number()):
            self._sbatch(text, "--test-only")

    def submit(self, protocol: str, datasets: Mapping[str, str]) -> tuple[Submission, str]:
        """Submit the workers.

        Parameters
        ----------
        protocol : str
            Text of the protocol that they run.
        datasets : mapping of str to str
            Content hash of each prepared dataset.

        Returns
        -------
        Submission
            With Slurm's job ids.
        str
            Why no node could be probed; empty if one was.

        Raises
        ------
        ClusterError
            If Slurm refuses or a node fails the check; then nothing is left submitted.
        UnwritableError
            If the results folder cannot be written.
        """
        number = self._claim(protocol)
        file = cluster_folder(self.results) / f"{number}.json"
        where = str(self.results), str(self.cache)
        made = Submission(number, self.options.workers, *where, versions_here(), datasets)
        try:
            _write(made, file)
            unprobed = self._probe(file)
            for place, text in enumerate(self.scripts(number)):
                with writing(file):
                    write_text(file.with_name(f"{number}.{place}.sh"), text)
                job = self._sbatch(text, "--parsable").strip().partition(";")[0]
                made = replace(made, arrays=(*made.arrays, job))
                _write(made, file)
        except BaseException:
            if made.arrays:
                slurm.cancel(made.arrays)
            for path in file.parent.glob(f"{number}.*"):
                path.unlink(missing_ok=True)
            raise
        return made, unprobed

    def _claim(self, protocol: str) -> int:
        """Save the protocol under the next number that no other command has; return that."""
        folder = cluster_folder(self.results)
        number = self.next_number()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    with (folder / f"{number}.toml").open("x", encoding="utf-8") as file:
                        file.write(protocol)
                    return number
                except FileExistsError:
                    number += 1

    def _sbatch(self, text: str, *words: str) -> str:
        try:
            return slurm.call("sbatch", *words, text=text)
        except ClusterError as error:
            asked = " ".join(directives(dict(self.options.sbatch))) or "no options"
            raise ClusterError(f"Slurm refuses the workers: {error} (asked: {asked})") from error

    def _probe(self, file: Path) -> str:
        """Check one node, if one is free at once; return why none was checked."""
        place = {key: self.options.sbatch[key] for key in _PLACE if key in self.options.sbatch}
        where = [f"--{key}={value}" for key, value in place.items()]
        srun = ["srun", *where, f"--immediate={_PROBE_WAIT}", "--ntasks=1", "--time=2"]
        srun += ["--job-name=medbench-probe", "--quiet", "--chdir=/"]
        lines = ["set -e", *self.options.setup, f'{self.options.command} node "$1"']
        ended = slurm.run(*srun, "bash", "-c", "\n".join(lines), "bash", str(file), timeout=_PROBE)
        if not ended.returncode:
            return ""
        said = [line for line in ended.stderr.splitlines() if not line.startswith("srun: ")]
        if not said:  # no node was free
            return slurm.last_error(ended.stderr)
        raise ClusterError(plain(said[-1].removeprefix("medbench: ")))
