"""Slurm's commands, and what they print."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from medbench.errors import ClusterError

#: Seconds that a command of Slurm may take; its controller may be busy or restarting.
TIMEOUT = 60.0
#: States in which a job has not ended.
ALIVE = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "STAGE_OUT")
#: What Slurm calls the end of a job that held more memory than it asked for.
OUT_OF_MEMORY = "OUT_OF_MEMORY"
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Worker:
    """A worker as Slurm knows it.

    Parameters
    ----------
    job : str
        ``"17_3"``: array and index.
    state : str
        Slurm's own word: ``"PENDING"``, ``"RUNNING"``, ``"OUT_OF_MEMORY"``, …
    reason : str
        Why it is pending, or its exit status where it has ended.
    node : str
        Where it runs or ran.
    requeued : int
        How often it was requeued.
    seconds, limit : float
        How long it has run since it last started, and may run; the limit is 0 if unknown.
    memory, memory_asked : float
        Bytes: the most seen, and those it asked for; 0 if unknown.
    cpu_seconds : float
        Of all its processes; 0 if unknown.
    cpus : int
        How many it has.
    """

    job: str
    state: str
    reason: str = ""
    node: str = ""
    requeued: int = 0
    seconds: float = 0.0
    limit: float = 0.0
    memory: float = 0.0
    memory_asked: float = 0.0
    cpu_seconds: float = 0.0
    cpus: int = 0

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.state in ALIVE


def run(
    *command: str, text: str | None = None, timeout: float = TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Run a command of Slurm.

    Raises
    ------
    ClusterError
        If the command is missing or takes too long.
    """
    try:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=timeout, check=False
        )
    except FileNotFoundError:
        raise ClusterError(
            f"there is no {command[0]} on this machine; use a login node of the Slurm cluster"
        ) from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{command[0]} gave no answer within {timeout:g} s") from None


def call(*command: str, text: str | None = None, timeout: float = TIMEOUT) -> str:
    """Run a command of Slurm and return what it prints.

    Raises
    ------
    ClusterError
        As :func:`run`, or if the command fails; in Slurm's own words.
    """
    ended = run(*command, text=text, timeout=timeout)
    if ended.returncode:
        raise ClusterError(f"{command[0]}: {last_error(ended.stderr) or 'failed'}")
    return ended.stdout


def last_error(stderr: str) -> str:
    """Return the last line of Slurm's errors without the command's name."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return re.sub(r"^\w+: (error|fatal): ", "", lines[-1]) if lines else ""


def known_options() -> set[str]:
    """Return the long options of this cluster's sbatch.

    Raises
    ------
    ClusterError
        If there is no sbatch, or it belongs to no cluster.
    """
    ended = run("sbatch", "--help")
    if ended.returncode:
        why = last_error(ended.stderr)
        raise ClusterError(f"sbatch: {why or 'failed'}; use a login node of the Slurm cluster")
    return set(re.findall(r"--([a-z][a-z0-9-]+)", ended.stdout))


def largest_array() -> int:
    """Return how many tasks an array may have (``MaxArraySize``)."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", call("scontrol", "show", "config"))
    return int(found[1]) if found and int(found[1]) > 0 else 1001


def job_ids(arrays: Sequence[str]) -> str:
    """Return arrays as an argument of Slurm's commands."""
    return ",".join(arrays)


def workers_of(arrays: Sequence[str]) -> tuple[list[Worker], str]:
    """Return the workers of some arrays as Slurm knows them now.

    Returns
    -------
    list of Worker
        By array and index.
    str
        What is missing and why; empty if nothing is.
    """
    queued, missing = _asked(["squeue", "-h", "-r", "-j", job_ids(arrays), "-o", _SQUEUE])
    if "Invalid job id" in missing:  # the controller has forgotten jobs that have ended
        missing = ""
    ended, no_accounts = _asked(["sacct", "-n", "-P", "-D", "-j", job_ids(arrays), "-o", _SACCT])
    found = {worker.job: worker for worker in from_sacct(ended)}
    for worker in from_squeue(queued):
        known = found.get(worker.job, worker)
        found[worker.job] = replace(
            known, state=worker.state, reason=worker.reason, node=worker.node,
            seconds=worker.seconds, limit=worker.limit,
        )  # fmt: skip
    return sorted(found.values(), key=_order), missing or no_accounts


def _asked(command: Sequence[str]) -> tuple[str, str]:
    try:
        return call(*command, timeout=20), ""
    except ClusterError as error:
        return "", str(error)


def _order(worker: Worker) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", worker.job)))


_SQUEUE = "%i|%T|%r|%N|%M|%l"
_SACCT = "JobID,State,ExitCode,NodeList,ElapsedRaw,TimelimitRaw,ReqMem,ReqCPUS,TotalCPU,MaxRSS"


def from_squeue(text: str) -> list[Worker]:
    """Return the workers in the output of squeue, in the format :data:`_SQUEUE`."""
    workers = []
    for line in text.splitlines():
        job, state, reason, node, elapsed, limit = line.split("|", 5)
        reason = "" if reason == "None" else reason
        workers.append(
            Worker(job, state, reason, node, seconds=_seconds(elapsed), limit=_seconds(limit))
        )
    return workers


def from_sacct(text: str) -> list[Worker]:
    """Return the workers in the output of sacct, in the format :data:`_SACCT`.

    A requeued worker has one row for each time it started, the last of which counts. Its
    steps, as ``17_3.batch``, say what it used.
    """
    found: dict[str, Worker] = {}
    for line in text.splitlines():
        job, state, status, node, elapsed, limit, asked, cpus, cpu, used = line.split("|", 9)
        name, _, step = job.partition(".")
        if "[" in name:  # those that are pending together: squeue lists each
            continue
        if step:
            if name in found:
                worker = found[name]
                most = max(worker.memory, _bytes(used))
                found[name] = replace(worker, memory=most)
            continue
        state = state.split()[0]  # CANCELLED by 0
        found[name] = Worker(
            name,
            state,
            "" if state in (*ALIVE, "COMPLETED") else _ended(status),
            "" if node == "None assigned" else node,
            requeued=found[name].requeued + 1 if name in found else 0,
            seconds=float(elapsed or 0),
            limit=60.0 * int(limit) if limit.isdigit() else 0.0,
            memory=0.0,
            memory_asked=_bytes(asked),
            cpu_seconds=_seconds(cpu),
            cpus=int(cpus or 0),
        )
    return [_with_cause(worker) for worker in found.values()]


def _with_cause(worker: Worker) -> Worker:
    """Say out of memory where Slurm does not: with ``OverMemoryKill`` it kills without a word."""
    over = 0 < 0.95 * worker.memory_asked <= worker.memory
    if worker.state == "FAILED" and worker.reason == "signal 9" and over:
        return replace(worker, state=OUT_OF_MEMORY)
    return worker


def _ended(status: str) -> str:
    code, _, signal = status.partition(":")
    return f"signal {signal}" if signal not in ("", "0") else f"exit status {code}"


def _seconds(text: str) -> float:
    """Return the seconds of a duration as Slurm prints it: ``1-02:03:04``, ``02:03.45``."""
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(re.fullmatch(r"\d+(\.\d+)?", part) for part in parts):
        return 0.0  # UNLIMITED, NOT_SET, INVALID
    seconds = 0.0
    for part in parts:
        seconds = 60 * seconds + float(part)
    return seconds + 86400.0 * int(days or 0)


def _bytes(text: str) -> float:
    """Return the bytes of an amount as Slurm prints it: ``1200K``, ``4G``, ``4000Mn``."""
    found = re.match(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    return float(found[1]) * _UNITS[found[2]] if found else 0.0


def worker_named(job: str) -> Worker | None:
    """Return one worker as the accounts know it; ``None`` if they do not or cannot be asked."""
    said, _ = _asked(["sacct", "-n", "-P", "-D", "-j", job, "-o", _SACCT])
    return next((worker for worker in from_sacct(said) if worker.job == job), None)


def cancel(arrays: Iterable[str]) -> None:
    """Cancel arrays, running workers too.

    Raises
    ------
    ClusterError
        If Slurm refuses.
    """
    call("scancel", *arrays)
