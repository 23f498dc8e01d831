"""The batch script of a worker."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from medbench.cluster.options import ClusterOptions
from medbench.errors import ClusterError

#: Exit status of ``medbench run --idle`` where only other commands have something to do.
LEFT = 3
#: Minutes after which such a worker looks again.
AWAY = 30
#: Exit status of a worker whose node failed the check.
NODE_FAULT = 75

_SCRIPT = """\
#!/bin/bash
{directives}

set -e
{setup}
set +e
task=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
scratch={scratch}

# Requeue this worker. A node on which workers failed twice gets no further ones.
requeue() {{
    trap '' TERM
    scontrol requeue "$task"
    bad=$(sort {faults} 2>/dev/null | uniq -d | paste -sd,)
    [ -z "$bad" ] || scontrol update JobId="$SLURM_ARRAY_JOB_ID" ExcNodeList="$bad"
}}

if ! {check}; then
    echo "$SLURMD_NODENAME" >> {faults}
    [ "${{SLURM_RESTART_COUNT:-0}}" -ge 5 ] || requeue
    exit {node_fault}
fi

# Slurm sends USR1 before the time limit, TERM where the worker is cancelled or pre-empted.
trap 'limit=near; kill -TERM $worker' USR1
trap 'kill -TERM $worker' TERM
{run} &
worker=$!
# A signal interrupts wait; of a worker that has ended, wait tells the status as often as asked.
wait $worker
while kill -0 $worker 2>/dev/null; do wait $worker; done
wait $worker
status=$?
[ -z "$limit" ] || [ $status -ne 143 ] || requeue
# Only other workers have something to do: leave the node, and look again later.
if [ $status -eq {left} ]; then
    requeue
    scontrol update JobId="$task" StartTime=now+{away}minutes
fi
exit $status
"""


def script(
    options: ClusterOptions,
    folder: Path,
    number: int,
    arguments: Sequence[str],
    tasks: range,
    at_once: int | None,
    margin: int,
) -> str:
    """Return the script of an array of workers.

    Parameters
    ----------
    options : ClusterOptions
        How.
    folder : pathlib.Path
        ``cluster`` in the results folder.
    number : int
        Of the submission.
    arguments : sequence of str
        What follows ``medbench run``, without ``--cache``, which is the last of them if there
        is no scratch folder.
    tasks : range
        Indices of the array.
    at_once : int or None
        Workers of the array that may run at once.
    margin : int
        Seconds before the time limit at which Slurm sends the signal to stop.
    """
    cap = f"%{at_once}" if at_once else ""
    own = {
        "array": f"{tasks.start}-{tasks.stop - 1}{cap}",
        "output": f"{str(folder).replace('%', '%%')}/%A_%a.log",
        "open-mode": "append",
        "ntasks": "1",
        "requeue": "",
        "signal": f"B:USR1@{margin}",
    }
    given = {**options.sbatch, **own}
    check = f"{options.command} node {shlex.quote(str(folder / f'{number}.json'))}"
    run = f"{options.command} run {shlex.join(arguments)}"
    if options.scratch:
        check, run = f'{check} --scratch "$scratch"', f'{run} --cache "$scratch"'
    return _SCRIPT.format(
        directives="\n".join(f"#SBATCH {word}" for word in directives(given)),
        setup="\n".join(options.setup),
        scratch=f'"{options.scratch}"',
        faults=shlex.quote(str(folder / "node-faults")),
        check=check,
        run=run,
        node_fault=NODE_FAULT,
        left=LEFT,
        away=AWAY,
    )


def directives(options: dict[str, str]) -> list[str]:
    """Return options of sbatch as words of its command line."""
    return [
        f"--{name}={shlex.quote(value)}" if value else f"--{name}"
        for name, value in options.items()
    ]


def arrays(workers: int, at_once: int | None, largest: int) -> list[tuple[range, int | None]]:
    """Split workers into arrays of at most ``largest``, each with its share of ``at_once``.

    Slurm caps each array by itself.

    Raises
    ------
    ClusterError
        If fewer may run at once than there are arrays.
    """
    found = [range(min(largest, workers - first)) for first in range(0, workers, largest)]
    if at_once is None:
        return [(tasks, None) for tasks in found]
    share, more = divmod(at_once, len(found))
    if not share:
        raise ClusterError(
            f"at-once={at_once}: {workers} workers need {len(found)} arrays on this cluster "
            f"(MaxArraySize), of which each runs one at least; ask for fewer workers"
        )
    return [(tasks, share + (place < more)) for place, tasks in enumerate(found)]
